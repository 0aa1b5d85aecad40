package main

import (
	"errors"
	"fmt"
	"os"
	"runtime"
)

// Exit codes of the shell: there is no such program, and it cannot be run.
const (
	exitMissing = 127
	exitRefused = 126
)

// enter runs what a person starts by exec under what bounds every command. It returns only when the command cannot be run.
//
// The container runtime starts an exec'd command beside the launcher, with the container's own limits, which bound neither the number
// of processes nor what it may signal. What bounds it is read from the command line of PID 1, the launcher: the environment is the
// user's, and the caller's words are the command.
func enter(command []string) int {
	if len(command) == 0 {
		fmt.Fprintln(os.Stderr, "exec: no command")
		return exitRefused
	}
	cmdline, err := readFile("/proc/1/cmdline", 1<<14)
	if err == nil {
		err = enterAs(command, cmdline)
	}
	var failed *notRun
	if errors.As(err, &failed) {
		fmt.Fprintf(os.Stderr, "exec: %s: %s\n", command[0], failed.why)
		if failed.missing {
			return exitMissing
		}
		return exitRefused
	}
	fmt.Fprintf(os.Stderr, "exec: %s: %s\n", command[0], err)
	return exitRefused
}

func enterAs(command []string, cmdline []byte) error {
	s, err := settingsOf(cmdline)
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := s.limit(); err != nil {
		return err
	}
	if s.landlock == landlockAny { // the launcher is just finding out
		s.landlock = landlockVersion()
	}
	return order{s.processes, s.landlock, s.workspace, command, os.Environ(), toAll}.become()
}
