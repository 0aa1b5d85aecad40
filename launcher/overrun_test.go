package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

const mib = 1 << 20

// watched has memory in MiB.
func watched(used, total, processes, limit, files int) *watch {
	taken := syscall.Sysinfo_t{Totalram: uint64(total) * mib, Freeram: uint64(total-used) * mib, Procs: uint16(processes), Unit: 1}
	w := newWatch(uint64(limit))
	w.take = func() syscall.Sysinfo_t { return taken }
	w.fileBytes = func() int64 { return int64(files) * mib }
	return w
}

func TestWhatOverrunsAPod(t *testing.T) {
	const memory = "out of memory: the limit of the pod is "
	for _, one := range []struct {
		what string
		w    *watch
		why  string
	}{
		{"what an app was promised it may take", watched(2048+120, 2432, 0, 512, 0), ""},
		{"memory beyond what is kept for the agent", watched(2200, 2432, 0, 512, 0), memory + "2432 MiB"},
		{"memory of files is none", watched(2200, 2432, 0, 512, 30), ""},
		{"of a small pod a third is kept", watched(198, 300, 0, 512, 0), ""},
		{"and no more", watched(202, 300, 0, 512, 0), memory + "300 MiB"},
		{"a process counts", watched(2100, 2432, 100, 512, 0), ""},
		{"for more than its memory", watched(2100, 2432, 200, 512, 0), memory},
		{"processes to their number", watched(100, 2432, 512, 512, 0), ""},
		{"and beyond it", watched(100, 2432, 513, 512, 0), "more than 512 processes and threads"},
		{"any number", watched(100, 64_000, 40_000, 0, 0), ""},
		{"a kernel that tells nothing", watched(0, 0, 0, 512, 0), ""},
	} {
		found := one.w.look()
		if !strings.HasPrefix(found.why, one.why) || (found.why == "") != (one.why == "") {
			t.Errorf("%s: %q", one.what, found.why)
		}
		if found.memory != strings.HasPrefix(one.why, memory) {
			t.Errorf("%s: for memory: %v", one.what, found.memory)
		}
	}
}

func TestItLooksMoreOftenTheLessIsLeft(t *testing.T) {
	calm, close, over := watched(100, 2432, 0, 4000, 0), watched(2100, 2432, 0, 512, 0), watched(100, 2432, 600, 512, 0)
	for _, one := range []*watch{calm, close, over} {
		one.look()
	}
	if calm.pause != longestPause || over.pause != shortestPause || close.pause <= shortestPause || close.pause >= longestPause {
		t.Error(calm.pause, close.pause, over.pause)
	}
}

func TestThisMachineTellsItsMemoryAndProcesses(t *testing.T) {
	if here := sysinfo(); here.Totalram <= here.Freeram || here.Procs < 2 {
		t.Error(here)
	}
}

func TestMemoryOfFilesIsReadFromMeminfo(t *testing.T) {
	file := filepath.Join(t.TempDir(), "meminfo")
	for text, size := range map[string]int64{"MemFree: 7 kB\nMapped:  28620 kB\n": 28620 * 1024, "MemFree: 7 kB\n": 0} {
		os.WriteFile(file, []byte(text), 0o600)
		if found := mappedBytes(file); found != size {
			t.Errorf("%q: %d", text, found)
		}
	}
	if mappedBytes(file+"-none") != 0 {
		t.Error("a file that is not there tells nothing")
	}
}
