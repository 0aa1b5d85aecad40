package main

import (
	"bytes"
	"fmt"
	"syscall"
)

// keeperIgnores are signals that are not meant for a keeper, though it may be in reach of who sends them.
var keeperIgnores = []syscall.Signal{
	syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM, syscall.SIGABRT,
}

// keep is the life of a keeper, the subreaper of one run: whatever loses its parent becomes the keeper's child, never the
// launcher's, so that runs do not mix.
//
// It reports "started <pid>" or "failed <why>", then "ended <wait status>", a line each, and exits with 0 when no child is left,
// and then only: so the launcher knows exactly that nothing is. Where Landlock cannot keep it from that, an app may kill its keeper,
// as both have one user id; what it kept is then PID 1's, and is killed.
//
// The command's standard input is a pipe that nobody writes to and the keeper holds open: esbuild, tailwind and others take the end
// of their input for the wish that they end.
func keep() int {
	for _, number := range keeperIgnores {
		setSignal(number, signalIgnore)
	}
	for _, fd := range []int{handedOver, keeperReport, keeperStdout, keeperStderr} {
		syscall.CloseOnExec(fd)
	}
	setName("keeper") // `pkill launcher` is not meant for it
	prctl(prSetChildSubreaper, 1)
	child, failure := startCommand()
	for _, fd := range []int{handedOver, keeperStdout, keeperStderr} {
		syscall.Close(fd)
	}
	if failure != "" {
		report("failed %s\n", failure)
	} else {
		report("started %d\n", child)
	}
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		if err == syscall.ECHILD {
			return 0
		}
		if pid == child {
			report("ended %d\n", int(status))
		}
	}
}

func report(format string, value any) {
	syscall.Write(keeperReport, []byte(fmt.Sprintf(format, value)))
}

// startCommand returns once the command runs, or why it does not; then its process, which has ended, is a child all the same.
func startCommand() (child int, failure string) {
	var input, failed [2]int
	if err := syscall.Pipe2(input[:], syscall.O_CLOEXEC); err != nil {
		return -1, "cannot make its standard input: " + err.Error()
	}
	if err := syscall.Pipe2(failed[:], syscall.O_CLOEXEC); err != nil {
		return -1, "cannot watch it start: " + err.Error()
	}
	attributes := &syscall.ProcAttr{
		Env:   launcherEnvironment,
		Files: []uintptr{uintptr(input[0]), keeperStdout, keeperStderr, handedOver, uintptr(failed[1])},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	}
	child, err := syscall.ForkExec(ownProgram, []string{"launcher", "become"}, attributes)
	syscall.Close(input[0])
	syscall.Close(failed[1]) // the other one is closed by a successful exec
	if err != nil {
		return -1, "cannot keep it: " + err.Error()
	}
	text := make([]byte, 1000)
	filled := 0
	for filled < len(text) {
		count, err := syscall.Read(failed[0], text[filled:])
		if err == syscall.EINTR {
			continue
		}
		if err != nil || count == 0 {
			break
		}
		filled += count
	}
	syscall.Close(failed[0])
	return child, string(bytes.ReplaceAll(text[:filled], []byte("\n"), []byte(" ")))
}
