package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// refused is why a command is not started, "" if it is.
func (l *launcher) refused(id int64, command []string) string {
	switch {
	case !l.exitAt.IsZero():
		return "the container is ending"
	case id <= ownWords || id > math.MaxUint32 || l.running(id) != nil:
		return "its id is taken"
	case len(l.runs) >= maxRuns:
		return fmt.Sprintf("%d commands run already", maxRuns)
	case len(command) == 0:
		return "there is no command"
	}
	return ""
}

func (l *launcher) start(id int64, command []string, cwd string, env, defaults map[string]string, label string) {
	var err error
	var made *run
	if why := l.refused(id, command); why != "" {
		err = errors.New(why)
	} else {
		made, err = startKeeper(order{l.settings.processes, l.settings.landlock, cwd, command, appEnvironment(l.environment, env, defaults), keptIn})
	}
	if err != nil {
		l.say(exited{Type: "exited", ID: id, Error: err.Error()})
		return
	}
	made.id, made.label = uint32(id), label
	l.runs[made.keeper] = made
	l.register(made.report, syscall.EPOLLIN, func(uint32) { l.readReport(made) })
	for fd := range made.pipes {
		fd := fd
		l.register(fd, syscall.EPOLLIN, func(uint32) { l.readOutput(made, fd) })
	}
}

func (l *launcher) stop(id int64, grace float64) {
	if one := l.running(id); one != nil {
		l.end(one, time.Duration(grace*float64(time.Second)))
		return
	}
	l.say(exited{Type: "exited", ID: id, Error: "it is not running"})
}

func (l *launcher) running(id int64) *run {
	for _, one := range l.runs {
		if int64(one.id) == id {
			return one
		}
	}
	return nil
}

// readOutput takes one piece of what the app wrote; false once there is nothing more to read now.
func (l *launcher) readOutput(r *run, fd int) bool {
	count, err := syscall.Read(fd, l.piece[:])
	if err == syscall.EINTR {
		return true
	}
	if err == syscall.EAGAIN {
		return false
	}
	if count > 0 {
		l.outbox.output(r.pipes[fd], r.id, l.piece[:count])
		return true
	}
	l.forget(fd)
	delete(r.pipes, fd)
	return false
}

// readReport takes what the keeper says. Only it can: nothing else ever had the other end.
func (l *launcher) readReport(r *run) {
	for r.report >= 0 {
		count, err := syscall.Read(r.report, l.piece[:])
		if err == syscall.EINTR {
			continue
		}
		if err == syscall.EAGAIN {
			break
		}
		if err != nil || count == 0 {
			l.forget(r.report)
			r.report = -1
			break
		}
		r.said = append(r.said, l.piece[:count]...)
	}
	for {
		line, rest, whole := bytes.Cut(r.said, []byte("\n"))
		if !whole {
			return
		}
		r.said = rest
		word, value, _ := strings.Cut(string(line), " ")
		switch word {
		case "started":
			r.pid, _ = strconv.Atoi(value)
			l.say(started{"started", r.id, r.pid})
		case "failed":
			r.err = value
			l.outbox.system(value+"\n", r.id)
		case "ended":
			number, _ := strconv.ParseUint(value, 10, 32)
			status := syscall.WaitStatus(number)
			r.status = &status
		}
	}
}

// finish is for a run of which nothing is left: its last words, then its end.
func (l *launcher) finish(r *run) {
	for fd := range r.pipes {
		for l.readOutput(r, fd) {
		}
		if _, open := r.pipes[fd]; open { // held by something outside the tree, such as a session of exec
			l.forget(fd)
			delete(r.pipes, fd)
		}
	}
	if r.report >= 0 {
		l.forget(r.report)
	}
	delete(l.runs, r.keeper)
	told := exited{Type: "exited", ID: int64(r.id), Error: r.err, OutOfMemory: oomKills() > r.oomKills}
	switch {
	case r.overran.why != "" && (r.status == nil || r.status.Signaled()):
		killed := int(syscall.SIGKILL)
		told.Error, told.OutOfMemory, told.Signal = r.overran.why, r.overran.memory, &killed
	case r.status == nil && told.Error == "":
		told.Error = "its keeper was killed"
	case r.status == nil:
	case r.status.Signaled():
		number := int(r.status.Signal())
		told.Signal = &number
	default:
		code := r.status.ExitStatus()
		told.ExitCode = &code
	}
	if told.OutOfMemory && told.Error == "" {
		told.Error = fmt.Sprintf("out of memory: the limit of the container is %d MiB", l.measured.Limits["memoryBytes"]>>20)
	}
	l.say(told)
}
