package main

import (
	"fmt"
	"syscall"
	"unsafe"
)

// empty removes all below a directory, follows no link, and leaves what it may not remove.
//
// Directories are moved up one by one and emptied there: neither recursion, nor open files, nor the length of a path grows with a
// depth that an app chose. The error says why the directory itself cannot be opened.
func empty(directory string) error {
	root, err := syscall.Open(directory, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(root)
	// names that nobody foresaw are free
	random, _ := readFile("/dev/urandom", 8)
	moves := 0
	free := func() string {
		moves++
		return fmt.Sprintf("%x-%d", random, moves)
	}
	pending := removeFiles(root)
	for len(pending) > 0 {
		name := pending[len(pending)-1]
		pending = append(pending[:len(pending)-1], emptied(root, name, free)...)
	}
	return nil
}

// emptied removes the directory name of root. What it held of directories is in root now, by the names returned.
func emptied(root int, name string, free func() string) (moved []string) {
	syscall.Fchmodat(root, name, 0o700, 0)
	fd, err := syscall.Openat(root, name, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_NOFOLLOW|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer syscall.Close(fd)
	for _, below := range removeFiles(fd) {
		syscall.Fchmodat(fd, below, 0o700, 0) // moving a directory writes to it
		if to := free(); syscall.Renameat(fd, below, root, to) == nil {
			moved = append(moved, to)
		}
	}
	unlink(root, name, atRemoveDirectory)
	return moved
}

// removeFiles removes all but directories in the directory of fd, and tells the names of those.
func removeFiles(fd int) (directories []string) {
	found, _ := entriesOf(fd)
	for _, one := range found {
		if one.directory {
			directories = append(directories, one.name)
		} else {
			unlink(fd, one.name, 0)
		}
	}
	return directories
}

func unlink(fd int, name string, flags uintptr) {
	if text, err := syscall.BytePtrFromString(name); err == nil {
		syscall.Syscall(syscall.SYS_UNLINKAT, uintptr(fd), uintptr(unsafe.Pointer(text)), flags)
	}
}
