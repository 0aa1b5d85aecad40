package main

import (
	"encoding/binary"
	"strings"
	"syscall"
	"unsafe"
)

type entry struct {
	name      string
	directory bool
	link      bool
}

// entriesOf lists the open directory fd, without "." and "..". Links are not followed.
func entriesOf(fd int) ([]entry, error) {
	var found []entry
	buffer := make([]byte, 1<<13)
	for {
		count, err := syscall.ReadDirent(fd, buffer)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || count == 0 {
			return found, err
		}
		// struct linux_dirent64: inode and offset of 8 bytes each, length of 2, type of 1, name up to a NUL
		for rest := buffer[:count]; len(rest) >= 19; {
			length := binary.LittleEndian.Uint16(rest[16:])
			name, _, _ := strings.Cut(string(rest[19:length]), "\x00")
			kind := rest[18]
			rest = rest[length:]
			if name == "." || name == ".." {
				continue
			}
			if kind == syscall.DT_UNKNOWN {
				kind = kindAt(fd, name)
			}
			found = append(found, entry{name, kind == syscall.DT_DIR, kind == syscall.DT_LNK})
		}
	}
}

// kindAt asks for what a file system does not tell in its listing.
func kindAt(fd int, name string) byte {
	var found syscall.Stat_t
	text, err := syscall.BytePtrFromString(name)
	if err != nil {
		return syscall.DT_UNKNOWN
	}
	call := [...]uintptr{uintptr(fd), uintptr(unsafe.Pointer(text)), uintptr(unsafe.Pointer(&found)), atSymlinkNoFollow}
	if _, _, number := syscall.Syscall6(sysFstatat, call[0], call[1], call[2], call[3], 0, 0); number != 0 {
		return syscall.DT_UNKNOWN
	}
	switch found.Mode & syscall.S_IFMT {
	case syscall.S_IFDIR:
		return syscall.DT_DIR
	case syscall.S_IFLNK:
		return syscall.DT_LNK
	}
	return syscall.DT_REG
}

// list opens and lists a directory.
func list(path string) ([]entry, error) {
	fd, err := syscall.Open(path, syscall.O_RDONLY|syscall.O_DIRECTORY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	defer syscall.Close(fd)
	return entriesOf(fd)
}
