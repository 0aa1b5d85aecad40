package main

import (
	"bytes"
	"strings"
	"syscall"
	"unsafe"
)

// handedOver is the descriptor at which a process of ours finds the strings that another one gave it.
const handedOver = 3

// keptOver is the descriptor that survives when a process of ours executes itself. A small number may be one that the Go runtime
// waits at (its epoll): to take that from it ends the process.
const keptOver = 100

// give keeps strings, which hold no NUL, in a file of memory for a process that is started with it as its descriptor handedOver.
// A command line can be read by everybody, and an environment would be obeyed by the runtime.
func give(words []string) (int, error) {
	name := [...]byte{'g', 'i', 'v', 'e', 'n', 0}
	result, _, number := syscall.Syscall(sysMemfdCreate, uintptr(unsafe.Pointer(&name)), memfdCloseOnExec, 0)
	if number != 0 {
		return -1, number
	}
	fd := int(result)
	left := []byte(strings.Join(words, "\x00"))
	for len(left) > 0 {
		count, err := syscall.Write(fd, left)
		if err != nil {
			syscall.Close(fd)
			return -1, err
		}
		left = left[count:]
	}
	if _, err := syscall.Seek(fd, 0, 0); err != nil {
		syscall.Close(fd)
		return -1, err
	}
	return fd, nil
}

// passOn makes fd the one that survives an exec of this process as keptOver.
func passOn(fd int) error {
	if fd == keptOver {
		_, _, number := syscall.RawSyscall(syscall.SYS_FCNTL, uintptr(fd), syscall.F_SETFD, 0)
		return errorOf(number)
	}
	return syscall.Dup3(fd, keptOver, 0)
}

// take reads what was given, and closes it.
func take(fd int) ([]string, error) {
	defer syscall.Close(fd)
	var all bytes.Buffer
	piece := make([]byte, 1<<14)
	for {
		count, err := syscall.Read(fd, piece)
		if err == syscall.EINTR {
			continue
		}
		if err != nil {
			return nil, err
		}
		if count == 0 {
			break
		}
		all.Write(piece[:count])
	}
	if all.Len() == 0 {
		return nil, nil
	}
	return strings.Split(all.String(), "\x00"), nil
}

func errorOf(number syscall.Errno) error {
	if number != 0 {
		return number
	}
	return nil
}
