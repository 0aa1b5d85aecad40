package main

import (
	"os"
	"syscall"
	"time"
)

const (
	// walkPause is between two looks for processes that were not told to end yet.
	walkPause = 20 * time.Millisecond
	// forkBombTime of killing by process and by process group passes before everything in the PID namespace is killed at once, all
	// runs and sessions of exec included: against what forks into new sessions faster than it can be found.
	forkBombTime = time.Second
	// enoughQuietWalks find nothing, and nothing that ended in between, before what a killed keeper left counts as gone.
	enoughQuietWalks = 3
	everything       = -1
)

// end sends SIGTERM to all of a run now, SIGKILL after the grace; a second call can only shorten the wait.
func (l *launcher) end(r *run, grace time.Duration) {
	killAt := time.Now().Add(grace)
	if r.killAt.IsZero() || killAt.Before(r.killAt) {
		r.killAt = killAt
	}
	l.walkAt = time.Now()
}

func (l *launcher) careForRuns() {
	if l.tellEnding {
		l.tellEnding = false
		l.say(ending{"ending"})
	}
	l.reap()
	anyEnding := false
	for _, one := range l.runs {
		if one.killAt.IsZero() && !l.exitAt.IsZero() {
			l.end(one, shutdownGrace)
		} else if one.killAt.IsZero() && one.status != nil {
			l.end(one, leftoverGrace)
		}
		anyEnding = anyEnding || one.ending()
	}
	now := time.Now()
	if !anyEnding || now.Before(l.walkAt) {
		return
	}
	for _, one := range l.runs {
		if !one.killAt.IsZero() && !now.Before(one.killAt) && one.pid != 0 && one.status == nil {
			// before a look at all that lives, for which a fork bomb leaves us little time
			sendSignal(-one.pid, syscall.SIGKILL)
		}
	}
	seen := look()
	for _, one := range l.runs {
		if !one.lostAt.IsZero() {
			l.clearAfter(one, seen, now)
		} else if !one.killAt.IsZero() {
			press(one, seen, now)
		}
	}
	l.strayEnded = false
	l.walkAt = time.Now().Add(walkPause)
}

// bound ends what passed a limit that the kernel does not keep. Sessions of exec take of the same, so all of the container ends.
func (l *launcher) bound() {
	if l.watch == nil || time.Now().Before(l.lookAt) {
		return
	}
	if found := l.watch.look(); found.why != "" && os.Getpid() == 1 {
		for _, one := range l.runs {
			if one.overran.why == "" {
				one.overran = found
			}
		}
		sendSignal(everything, syscall.SIGKILL)
	}
	l.lookAt = time.Now().Add(l.watch.pause)
}

// reap collects ended children: keepers, and what had none above it.
func (l *launcher) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, syscall.WNOHANG, nil)
		if err == syscall.EINTR {
			continue
		}
		if err != nil || pid == 0 {
			return
		}
		one := l.runs[pid]
		if one == nil {
			l.strayEnded = true
			continue
		}
		l.readReport(one)
		if status.Exited() && status.ExitStatus() == 0 {
			l.finish(one)
		} else {
			one.lostAt = time.Now()
			l.walkAt = one.lostAt
		}
	}
}

// press takes one step towards the end of all that is below a living keeper.
func press(r *run, seen table, now time.Time) {
	found := seen.below(r.keeper, nil)
	if now.Before(r.killAt) {
		for _, pid := range found {
			if !r.terminated[pid] {
				r.terminated[pid] = true
				sendSignal(pid, syscall.SIGTERM)
			}
		}
		return
	}
	sendSignal(r.keeper, syscall.SIGCONT) // the app may have stopped it
	for _, group := range seen.groupsOf(r.pid, found) {
		sendSignal(-group, syscall.SIGKILL) // at once: what forks within its group cannot outrun this
	}
	// what was killed and is still there waits for a disk; what is new, or hides from every look, forks on
	forks := len(found) == 0
	for _, pid := range found {
		sendSignal(pid, syscall.SIGKILL)
		forks = forks || !r.killed[pid]
		r.killed[pid] = true
	}
	if forks && !now.Before(r.killAt.Add(forkBombTime)) {
		if os.Getpid() == 1 {
			sendSignal(everything, syscall.SIGKILL)
		} else {
			sendSignal(r.keeper, syscall.SIGKILL)
		}
	}
}

// clearAfter kills what a killed keeper left to us, until nothing is seen and nothing unseen ends either.
func (l *launcher) clearAfter(r *run, seen table, now time.Time) {
	strays := seen.below(os.Getpid(), l.runs)
	for _, pid := range strays {
		sendSignal(pid, syscall.SIGKILL)
	}
	r.quietWalks++
	if len(strays) > 0 || l.strayEnded {
		r.quietWalks = 0
	}
	if r.quietWalks >= enoughQuietWalks {
		l.finish(r)
	} else if !now.Before(r.lostAt.Add(forkBombTime)) && os.Getpid() == 1 {
		sendSignal(everything, syscall.SIGKILL)
	}
}
