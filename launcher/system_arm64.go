package main

import "syscall"

// Numbers of system calls that package syscall does not know, or names otherwise on another architecture.
const (
	sysMemfdCreate = 279
	sysFstatat     = syscall.SYS_FSTATAT
)
