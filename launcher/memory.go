package main

import (
	"strconv"
	"strings"
	"syscall"
)

// memoryBytes is the memory of the app's container: its cgroup, or the resident pages of all its processes where that is hidden
// (gVisor).
func memoryBytes() int64 {
	if text, err := readFile("/sys/fs/cgroup/memory.current", 64); err == nil {
		if bytes, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
			return bytes
		}
	}
	var total int64
	entries, _ := list("/proc")
	for _, one := range entries {
		if _, err := strconv.Atoi(one.name); err != nil {
			continue
		}
		text, err := readFile("/proc/"+one.name+"/statm", 256)
		if fields := strings.Fields(string(text)); err == nil && len(fields) > 1 {
			pages, _ := strconv.ParseInt(fields[1], 10, 64)
			total += pages * int64(syscall.Getpagesize())
		}
	}
	return total
}

// oomKills is how many processes of this container the kernel killed for its memory limit, so far (cgroup v2, v1); 0 where it is not
// told.
func oomKills() int {
	for _, path := range []string{"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"} {
		text, err := readFile(path, 4096)
		if err != nil {
			continue
		}
		for _, line := range strings.Split(string(text), "\n") {
			if name, value, _ := strings.Cut(line, " "); name == "oom_kill" {
				if count, err := strconv.Atoi(value); err == nil {
					return count
				}
			}
		}
	}
	return 0
}
