package main

import (
	"encoding/binary"
	"runtime"
	"strings"
	"syscall"
	"unsafe"
)

// Of linux/landlock.h; the numbers of the system calls are the same on every architecture.
const (
	landlockCreateRuleset = 444
	landlockAddRule       = 445
	landlockRestrictSelf  = 446
	landlockAskVersion    = 1
	landlockPathBeneath   = 1
	landlockWrite         = 1 << 1
	landlockRefer         = 1 << 13
	landlockTruncate      = 1 << 14      // from version 3 on
	landlockDevices       = 1<<6 | 1<<11 // of characters, of blocks
	landlockScopeSignal   = 1 << 1       // in the last field of the attributes
	landlockScopes        = 6            // the version from which on signals can be kept in
	landlockNeeded        = 2            // version 1 would forbid every rename from one directory to another
	landlockTruncates     = 3
)

// terminationLog is a file of the node that the kubelet mounts into every container, for all to write to. Nothing bounds it: it
// counts neither as ephemeral storage nor against a quota, and an app that fills it fills the node's disk.
const terminationLog = "/dev/termination-log"

// landlockVersion is 0 where the kernel has none (gVisor, older than 5.13, switched off), or one that cannot be used.
func landlockVersion() int {
	version, _, number := syscall.RawSyscall(landlockCreateRuleset, 0, 0, landlockAskVersion)
	if number != 0 || int(version) < landlockNeeded {
		return 0
	}
	return int(version)
}

// usableLandlock is the version that commands can really be confined by: tried once, by a thread that ends.
func usableLandlock(noNewPrivileges bool) int {
	version := landlockVersion()
	if version == 0 {
		return 0
	}
	result := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with this function
		var err error
		if noNewPrivileges {
			err = prctl(prSetNoNewPrivileges, 1)
		}
		if err == nil {
			err = confine(version, terminationLog, keptIn)
		}
		result <- err
	}()
	if <-result != nil {
		return 0
	}
	return version
}

// signalling is whom a domain may send signals to.
type signalling bool

const (
	keptIn signalling = false
	// toAll is for what a person runs by exec: to end the app, or what an earlier session left, is what one enters for.
	toAll signalling = true
)

// confine puts this thread, and all that it will start or become, into a Landlock domain. It needs no_new_privs.
//
// A domain cannot trace or read the memory of what is outside it, mount anything, or make device nodes; from version 6 on signals can
// be kept in it, too. So no app reaches its keeper, the launcher, or another run, though all have one user id. Nothing that an
// app does to its own processes and files is forbidden, but for writing to the file forbidden.
func confine(version int, forbidden string, toWhom signalling) error {
	writing := uint64(landlockWrite)
	if version >= landlockTruncates {
		writing |= landlockTruncate
	}
	attributes := [3]uint64{landlockRefer | landlockDevices | writing} // files, network, scopes
	size := unsafe.Sizeof(attributes[0])
	if version >= landlockScopes && toWhom == keptIn {
		attributes[2] = landlockScopeSignal
		size = unsafe.Sizeof(attributes)
	}
	rules, _, number := syscall.RawSyscall(landlockCreateRuleset, uintptr(unsafe.Pointer(&attributes)), size, 0)
	if number != 0 {
		return number
	}
	defer syscall.Close(int(rules))
	if err := allow(int(rules), landlockRefer, "/"); err != nil {
		return err
	}
	for _, path := range allBut(forbidden) {
		if err := allow(int(rules), writing, path); err != nil {
			return err
		}
	}
	_, _, number = syscall.RawSyscall(landlockRestrictSelf, rules, 0, 0)
	return errorOf(number)
}

func allow(rules int, access uint64, path string) error {
	place, err := syscall.Open(path, openPath|syscall.O_CLOEXEC, 0)
	if err == syscall.ENOENT {
		return nil
	}
	if err != nil {
		return err
	}
	defer syscall.Close(place)
	var rule [12]byte // struct landlock_path_beneath_attr, packed
	binary.LittleEndian.PutUint64(rule[:], access)
	binary.LittleEndian.PutUint32(rule[8:], uint32(place))
	_, _, number := syscall.RawSyscall6(landlockAddRule, uintptr(rules), landlockPathBeneath, uintptr(unsafe.Pointer(&rule)), 0, 0, 0)
	return errorOf(number)
}

// allBut is what together holds every file but path: Landlock knows what is allowed, not what is forbidden. Links lead to what is
// in the list by its own name, or to nothing.
func allBut(path string) []string {
	var places []string
	here := ""
	for _, part := range strings.Split(strings.Trim(path, "/"), "/") {
		found, _ := list(here + "/")
		for _, one := range found {
			if one.name != part && !one.link {
				places = append(places, here+"/"+one.name)
			}
		}
		here += "/" + part
	}
	return places
}
