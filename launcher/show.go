package main

import (
	"strings"
	"syscall"
	"unsafe"
)

// show makes a file that changed in another container known to the watchers in this one: gVisor tells each container of its own
// changes only. The times that are set are those it has, so that nothing else changes. Of what is gone, the nearest directory that
// is there is shown.
func show(root, path string) {
	for {
		place := root + "/" + path
		err := setOwnTimes(place)
		if (err != syscall.ENOENT && err != syscall.ENOTDIR) || path == "" {
			return // done, or not the app's own, or no path
		}
		path = path[:strings.LastIndexByte("/"+path, '/')]
		path = strings.TrimRight(path, "/")
	}
}

func setOwnTimes(place string) error {
	var found syscall.Stat_t
	if err := syscall.Lstat(place, &found); err != nil {
		return err
	}
	text, err := syscall.BytePtrFromString(place)
	if err != nil {
		return err
	}
	times := [2]syscall.Timespec{found.Atim, found.Mtim}
	here := atFdCwd
	where, what := uintptr(unsafe.Pointer(text)), uintptr(unsafe.Pointer(&times))
	_, _, number := syscall.Syscall6(syscall.SYS_UTIMENSAT, uintptr(here), where, what, atSymlinkNoFollow, 0, 0)
	return errorOf(number)
}
