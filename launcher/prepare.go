package main

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
)

const ownProgram = "/proc/self/exe"

// The environment of our own processes. Commands run elsewhere, so one processor is enough, and threads count against the limit of
// processes. A small heap is collected often: an idle launcher keeps little, and its buffer is bounded.
var (
	launcherEnvironment = []string{"GOMAXPROCS=1", "GOGC=50"}
	keeperEnvironment   = []string{"GOMAXPROCS=1", "GOGC=off"}
)

// prepare sets what holds for all that follows, and turns this process into the launcher proper.
//
// That one has an environment of ours: GODEBUG, GOMAXPROCS and the like of the user or the image would steer its runtime. The
// given environment is data, handed on in memory (handing.go). no_new_privs belongs to a thread in Linux, and reaches every later
// thread only through an exec by the thread that set it. Landlock is tried in a thread that ends, as a kernel may have it and a
// filter forbid it.
func prepare(words []string) int {
	s, err := parseSettings(words)
	if err != nil {
		fmt.Fprintf(os.Stderr, "launcher: %s\n%s", err, usage)
		return 2
	}
	runtime.LockOSThread()
	if err := s.limit(); err != nil {
		fmt.Fprintf(os.Stderr, "launcher: %s\n", err)
		return 1
	}
	if s.landlock == landlockAny {
		s.landlock = usableLandlock(s.noNewPrivileges)
	}
	given, err := give(os.Environ())
	if err == nil {
		err = passOn(given)
	}
	if err == nil {
		own := append([]string{os.Args[0], "serve"}, s.words()...)
		err = syscall.Exec(ownProgram, own, launcherEnvironment)
	}
	fmt.Fprintf(os.Stderr, "launcher: cannot start again without its environment: %s\n", err)
	return 1
}

// limit sets what every process of the container has, the launcher too. No core is ever dumped: memory holds what the user typed.
// It is for the thread that calls exec afterwards.
func (s settings) limit() error {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		return fmt.Errorf("cannot switch core dumps off: %s", err)
	}
	if s.openFiles > 0 {
		var now syscall.Rlimit
		if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now); err != nil {
			return fmt.Errorf("cannot read the limit of open files: %s", err)
		}
		most := s.openFiles
		if most > now.Max {
			most = now.Max
		}
		if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: most, Max: most}); err != nil {
			return fmt.Errorf("cannot limit the number of open files: %s", err)
		}
	}
	if s.noNewPrivileges {
		if err := prctl(prSetNoNewPrivileges, 1); err != nil {
			return fmt.Errorf("cannot set no_new_privs: %s", err)
		}
	}
	return nil
}
