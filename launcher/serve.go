package main

import (
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"
)

const (
	readBytes = 1 << 16
	// leftoverGrace is for what a command leaves behind when it ends by itself.
	leftoverGrace = time.Second
	shutdownGrace = 1500 * time.Millisecond
	shutdownTime  = 2 * time.Second
)

// launcher is an event loop: one goroutine, one epoll, no waiting anywhere else.
type launcher struct {
	settings    settings
	environment []string // the container's, for commands
	measured    isolation
	epoll       int
	ready       map[int]func(events uint32) // by descriptor
	outbox      *outbox
	link        link
	runs        map[int]*run // by the pid of the keeper
	strayEnded  bool
	walkAt      time.Time
	watch       *watch // nil where the kernel bounds all
	lookAt      time.Time
	exitAt      time.Time // set once the container was told to end
	tellEnding  bool      // and the agent was not told yet
	piece       [readBytes]byte
}

// serve is the launcher proper: PID 1 in a pod, a subreaper elsewhere (tests). It returns the exit code.
func serve(words []string) int {
	s, err := parseSettings(words)
	if err == nil {
		var given []string
		if given, err = take(keptOver); err == nil {
			return newLauncher(s, given).run()
		}
	}
	fmt.Fprintf(os.Stderr, "launcher: %s\n", err)
	return 1
}

func newLauncher(s settings, environment []string) *launcher {
	setName("launcher")
	if os.Getpid() != 1 {
		prctl(prSetChildSubreaper, 1)
	}
	if s.scratch != "" {
		empty(s.scratch) // what cannot be removed stays
	}
	l := &launcher{
		settings: s, environment: environment, measured: measure(s.landlock, s.processes),
		ready: map[int]func(uint32){}, outbox: newOutbox(bufferBytes), runs: map[int]*run{}, link: newLink(s.agentPort), lookAt: time.Now(),
	}
	if l.measured.Kernel == "gVisor" {
		l.watch = newWatch(s.processes)
	}
	return l
}

// run returns after SIGTERM or SIGINT, with the exit code.
func (l *launcher) run() int {
	var err error
	if l.epoll, err = syscall.EpollCreate1(syscall.EPOLL_CLOEXEC); err == nil {
		err = l.hearSignals()
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "launcher: cannot wait for events: %s\n", err)
		return 1
	}
	debug.FreeOSMemory()
	for {
		if l.link.fd < 0 && !time.Now().Before(l.link.retryAt) {
			l.connect()
		}
		l.wait()
		l.bound()
		l.careForRuns()
		l.flush()
		if !l.exitAt.IsZero() && (len(l.runs) == 0 || !time.Now().Before(l.exitAt)) {
			return 0
		}
	}
}

// hearSignals turns signals into bytes of a pipe. Each kind has a channel of its own, as one that is full drops what comes: an end of
// a child is told by any other, a request to end is not.
//
// All else that can be sent is ignored, as the runtime would end this process on most of it: a session of exec may signal what it likes.
func (l *launcher) hearSignals() error {
	var ends [2]int
	if err := syscall.Pipe2(ends[:], syscall.O_CLOEXEC); err != nil {
		return err
	}
	syscall.SetNonblock(ends[0], true)
	for mark, numbers := range map[byte][]os.Signal{'c': {syscall.SIGCHLD}, 'e': {syscall.SIGTERM, syscall.SIGINT}} {
		heard := make(chan os.Signal, 1)
		signal.Notify(heard, numbers...)
		go func(mark byte) {
			for range heard {
				syscall.Write(ends[1], []byte{mark})
			}
		}(mark)
	}
	for number := syscall.Signal(1); number <= signals; number++ {
		switch number {
		case syscall.SIGCHLD, syscall.SIGTERM, syscall.SIGINT, syscall.SIGURG: // the last one is the runtime's own
		default:
			signal.Ignore(number)
		}
	}
	return l.register(ends[0], syscall.EPOLLIN, func(uint32) {
		count, _ := syscall.Read(ends[0], l.piece[:])
		for index := 0; index < count; index++ {
			if l.piece[index] == 'e' && l.exitAt.IsZero() {
				l.exitAt = time.Now().Add(shutdownTime)
				l.tellEnding = true
			}
		}
	})
}

func (l *launcher) register(fd int, events uint32, ready func(uint32)) error {
	l.ready[fd] = ready
	return syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
}

// forget closes a descriptor, which takes it out of epoll: nobody else has it.
func (l *launcher) forget(fd int) {
	delete(l.ready, fd)
	syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_DEL, fd, &syscall.EpollEvent{})
	syscall.Close(fd)
}

func (l *launcher) wait() {
	var events [64]syscall.EpollEvent
	count, _ := syscall.EpollWait(l.epoll, events[:], l.timeout())
	for index := 0; index < count; index++ {
		if ready := l.ready[int(events[index].Fd)]; ready != nil {
			ready(events[index].Events)
		}
	}
}

// timeout is in milliseconds until something is due, -1 to wait for an event.
func (l *launcher) timeout() int {
	var first time.Time
	due := func(at time.Time) {
		if first.IsZero() || at.Before(first) {
			first = at
		}
	}
	if !l.exitAt.IsZero() {
		due(l.exitAt)
	}
	if l.watch != nil {
		due(l.lookAt)
	}
	if l.link.fd < 0 {
		due(l.link.retryAt)
	}
	for _, one := range l.runs {
		if one.ending() {
			due(l.walkAt)
		}
	}
	if first.IsZero() {
		return -1
	}
	left := time.Until(first)
	if left <= 0 {
		return 0
	}
	return int((left + time.Millisecond - 1) / time.Millisecond)
}
