package main

import (
	"syscall"
	"unsafe"
)

// Of the kernel's headers; the same on every architecture that we build for.
const (
	prSetName             = 15
	prSetChildSubreaper   = 36
	prSetNoNewPrivileges  = 38
	prGetNoNewPrivileges  = 39
	fSetPipeSize          = 1031
	rlimitProcesses       = 6
	memfdCloseOnExec      = 1
	atFdCwd               = -100
	atRemoveDirectory     = 0x200
	atSymlinkNoFollow     = 0x100
	statfsReadOnly        = 1
	rlimitInfinity        = ^uint64(0)
	openPath              = 0x200000
	signals               = 64
	signalDefault         = 0
	signalIgnore          = 1
	signalSetBytes        = 8
	klogReadAll           = 3
	niceOffset            = 20
	accessWrite           = 2
	errnoNotSupportedByFs = syscall.EOPNOTSUPP
)

func prctl(option, value uintptr) error {
	_, _, number := syscall.RawSyscall6(syscall.SYS_PRCTL, option, value, 0, 0, 0, 0)
	return errorOf(number)
}

// setName is what ps and pkill know this process by; called from its first thread.
func setName(name string) {
	text := append([]byte(name), 0)
	prctl(prSetName, uintptr(unsafe.Pointer(&text[0])))
}

// setSignal makes a signal have its default effect, or none.
func setSignal(number syscall.Signal, effect uintptr) {
	action := struct{ handler, flags, restorer, mask uint64 }{handler: uint64(effect)}
	syscall.RawSyscall6(syscall.SYS_RT_SIGACTION, uintptr(number), uintptr(unsafe.Pointer(&action)), 0, signalSetBytes, 0, 0)
}

// sendSignal reaches a process, or the group -pid; one that is gone is fine.
func sendSignal(pid int, number syscall.Signal) {
	syscall.Kill(pid, number)
}

// readFile is for files of /proc and /sys; what is beyond limit bytes is left out.
func readFile(path string, limit int) ([]byte, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fd)
	content := make([]byte, 0, limit)
	for len(content) < limit {
		count, err := syscall.Read(fd, content[len(content):limit])
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if count == 0 {
			break
		}
		content = content[:len(content)+count]
	}
	return content, nil
}
