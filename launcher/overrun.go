package main

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Processes and memory that gVisor's kernel lets an app take until the pod's own limit is met, which takes the agent with it.
//
// That kernel keeps no RLIMIT_NPROC, and its memory is one for all containers of a pod. So the launcher looks, by one system call
// that tells both, and ends all that runs in its container before the pod is ended, as cgroup v2 does (memory.oom.group). This is
// no wall: what takes faster than it is looked at, and a fork bomb, for which that kernel leaves us no turn, meet the pod's limit.
const (
	// reserveBytes are kept for the agent at work, for gVisor itself (up to 80 MiB), and for what is taken between two looks. In
	// the shipped template the agent's own limit is 384 MiB, so an app has all that was promised to it.
	reserveBytes = 256 << 20
	// reserveShare: of a small pod no more than this part of its limit is kept.
	reserveShare = 3
	// processBytes is what gVisor and the node need for a process or thread beside its memory: 350 kB as seen from the node when it
	// rests.
	processBytes = 512 << 10
	// What an app may take in a second on two processors: about twice what was seen.
	bytesPerSecond     = 2 << 30
	processesPerSecond = 1000
	// Between two looks: shorter the less is left. A look takes 15 µs, one that also asks for the memory of files 150.
	shortestPause = 10 * time.Millisecond
	longestPause  = 250 * time.Millisecond
)

// overrun is why all that runs has to end, "" if it has not, and whether it is for memory.
type overrun struct {
	why    string
	memory bool
}

// watch looks at what the kernel does not bound. Anything that cannot be read is no overrun.
type watch struct {
	processes uint64 // how many, threads included, the pod may have; 0: any number
	take      func() syscall.Sysinfo_t
	fileBytes func() int64
	pause     time.Duration // until the next look
}

func newWatch(processes uint64) *watch {
	return &watch{processes, sysinfo, func() int64 { return mappedBytes("/proc/meminfo") }, longestPause}
}

func (w *watch) look() overrun {
	taken := w.take()
	unit := int64(taken.Unit)
	total, free := int64(taken.Totalram)*unit, int64(taken.Freeram)*unit
	reserve := int64(reserveBytes)
	if total/reserveShare < reserve {
		reserve = total / reserveShare
	}
	left := free - reserve - int64(taken.Procs)*processBytes
	if total > 0 && left < 0 {
		left += w.fileBytes() // the node takes that back when it needs it
	}
	due := float64(left) / bytesPerSecond
	over := false
	if w.processes > 0 {
		places := float64(w.processes) - float64(taken.Procs)
		over = places < 0
		if places/processesPerSecond < due {
			due = places / processesPerSecond
		}
	}
	w.pause = between(shortestPause, time.Duration(due/2*float64(time.Second)), longestPause)
	if over {
		return overrun{fmt.Sprintf("more than %d processes and threads", w.processes), false}
	}
	if total > 0 && left < 0 {
		return overrun{fmt.Sprintf("out of memory: the limit of the pod is %d MiB, and of that some is kept for its agent", total>>20), true}
	}
	return overrun{}
}

func between(least, value, most time.Duration) time.Duration {
	if value < least {
		return least
	}
	if value > most {
		return most
	}
	return value
}

// sysinfo: in gVisor Procs counts the threads of all containers of the pod, and Totalram is the pod's limit.
func sysinfo() (found syscall.Sysinfo_t) {
	syscall.Sysinfo(&found)
	return found
}

// mappedBytes is memory that holds what files hold.
func mappedBytes(meminfo string) int64 {
	text, _ := readFile(meminfo, 1<<13)
	for _, line := range strings.Split(string(text), "\n") {
		if strings.HasPrefix(line, "Mapped:") {
			if fields := strings.Fields(line); len(fields) > 1 {
				kilobytes, _ := strconv.ParseInt(fields[1], 10, 64)
				return kilobytes * 1024
			}
		}
	}
	return 0
}
