package main

import (
	"fmt"
	"runtime"
	"strings"
	"syscall"
)

// becomeFailure is the descriptor that the keeper reads until it is closed by a successful exec.
const becomeFailure = 4

// appNice is for commands, so that a thousand busy processes leave the launcher a fortieth of the container's processor time, not a
// thousandth: enough to end them. Beside other containers niceness means nothing; there cgroups are weighed.
const appNice = 15

// become turns this process, which has a session of its own already, into a command, or says why not.
func become() int {
	syscall.CloseOnExec(becomeFailure)
	words, err := take(handedOver)
	if err == nil {
		var o order
		if o, err = parseOrder(words); err == nil {
			err = o.become()
		}
	}
	text := err.Error()
	if len(text) > 1000 {
		text = text[:1000]
	}
	syscall.Write(becomeFailure, []byte(text))
	return 127
}

// become returns only an error, in words. Niceness and Landlock are a thread's, so all is done by the one that calls exec; the limit
// of processes comes late, as our own threads count.
func (o order) become() error {
	runtime.LockOSThread()
	for number := syscall.Signal(1); number <= signals; number++ {
		setSignal(number, signalDefault) // what is ignored, by whoever started us, would stay so
	}
	if err := syscall.Chdir(o.cwd); err != nil {
		return fmt.Errorf("cannot enter the working directory %s: %s", o.cwd, err)
	}
	beNice()
	if o.processes > 0 {
		if err := syscall.Setrlimit(rlimitProcesses, &syscall.Rlimit{Cur: o.processes, Max: o.processes}); err != nil {
			return fmt.Errorf("cannot limit the number of processes: %s", err)
		}
	}
	if o.landlock > 0 {
		if err := confine(o.landlock, terminationLog, o.signals); err != nil {
			return fmt.Errorf("cannot be confined by Landlock: %s", err)
		}
	}
	return execute(o.command, o.environment)
}

// beNice may fail where this is as nice already.
func beNice() {
	now, _, number := syscall.RawSyscall(syscall.SYS_GETPRIORITY, syscall.PRIO_PROCESS, 0, 0)
	if number == 0 {
		syscall.Setpriority(syscall.PRIO_PROCESS, 0, niceOffset-int(now)+appNice)
	}
}

// notRun says why a command cannot be run; missing is for a program that is not there, as the shell's exit codes tell it apart.
type notRun struct {
	command string
	why     string
	missing bool
}

func (e *notRun) Error() string { return "cannot run " + e.command + ": " + e.why }

// execute looks for the program in the PATH that the command is given, as a shell does. It returns only an error.
func execute(command, environment []string) error {
	name := command[0]
	var paths []string
	if strings.Contains(name, "/") {
		paths = []string{name}
	} else {
		for _, folder := range strings.Split(pathOf(environment), ":") {
			paths = append(paths, strings.TrimSuffix(folder, "/")+"/"+name)
		}
	}
	var refused error
	for _, path := range paths {
		switch err := syscall.Exec(path, command, environment); {
		case err == syscall.ENOENT && exists(path):
			refused = &notRun{name, "the program that runs it, named in its first line or by its format, is not in this image", false}
		case err == syscall.ENOENT || err == syscall.ENOTDIR:
		case refused == nil:
			refused = &notRun{name, reason(err), false}
		}
	}
	if refused != nil {
		return refused
	}
	if name == "sh" || name == "/bin/sh" {
		return &notRun{name, "this image has no shell; choose an image with one, or a command that needs none", true}
	}
	if strings.Contains(name, "/") {
		return &notRun{name, "there is no such file", true}
	}
	return &notRun{name, "this image has no such program, nor has a folder of PATH; install it, or choose an image that has it", true}
}

func exists(path string) bool {
	var found syscall.Stat_t
	return syscall.Stat(path, &found) == nil
}

func pathOf(environment []string) string {
	for _, one := range environment {
		if strings.HasPrefix(one, "PATH=") {
			return one[len("PATH="):]
		}
	}
	return "/bin:/usr/bin"
}

func reason(err error) string {
	switch err {
	case syscall.EACCES:
		return "it is not a program: the file may not be executed"
	case syscall.ENOEXEC:
		return "it is not a program that this machine can run: another processor's, or a script without #!"
	}
	return err.Error()
}
