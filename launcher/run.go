package main

import (
	"errors"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// run is one command and everything it started.
type run struct {
	id     uint32
	label  string
	keeper int
	report int          // descriptor of what the keeper says, a line each; -1 once it was closed
	said   []byte       // of a line that is not whole yet
	pipes  map[int]byte // descriptors of its output, and their kinds of frame

	pid    int // 0 until the keeper has started the command
	err    string
	status *syscall.WaitStatus // of the command itself, once it ended

	killAt     time.Time // set while everything is being ended
	terminated map[int]bool
	killed     map[int]bool
	lostAt     time.Time // when its keeper was found killed
	quietWalks int
	oomKills   int     // before it began
	overran    overrun // why it was ended with all that ran
}

func (r *run) ending() bool { return !r.lostAt.IsZero() || !r.killAt.IsZero() }

func (r *run) told() told { return told{r.id, r.pid, r.label} }

// order is what a command is, and what bounds it, on its way to the process that becomes it.
type order struct {
	processes   uint64 // RLIMIT_NPROC, 0 for none
	landlock    int    // version, 0 for none
	cwd         string
	command     []string
	environment []string
	signals     signalling // always keptIn for what is handed on: only exec's commands signal others, and those become at once
}

var errNul = errors.New("its command, directory or environment holds a NUL byte")

func (o order) words() ([]string, error) {
	words := []string{strconv.FormatUint(o.processes, 10), strconv.Itoa(o.landlock), o.cwd, strconv.Itoa(len(o.command))}
	words = append(append(words, o.command...), o.environment...)
	for _, word := range words {
		if strings.IndexByte(word, 0) >= 0 {
			return nil, errNul
		}
	}
	return words, nil
}

func parseOrder(words []string) (order, error) {
	if len(words) < 4 {
		return order{}, errOrder
	}
	processes, err1 := strconv.ParseUint(words[0], 10, 64)
	landlock, err2 := strconv.Atoi(words[1])
	count, err3 := strconv.Atoi(words[3])
	if err1 != nil || err2 != nil || err3 != nil || count < 1 || count > len(words)-4 {
		return order{}, errOrder
	}
	return order{processes, landlock, words[2], words[4 : 4+count], words[4+count:], keptIn}, nil
}

// Descriptors of a keeper beside handedOver.
const (
	keeperReport = 4
	keeperStdout = 5
	keeperStderr = 6
)

// startKeeper starts a keeper that runs what is ordered, and does not wait for it. A keeper is another process of this program: Go
// cannot fork without exec.
func startKeeper(o order) (*run, error) {
	var opened []int
	closeAll := func() {
		for _, fd := range opened {
			syscall.Close(fd)
		}
	}
	words, err := o.words()
	if err != nil {
		return nil, err
	}
	given, err := give(words)
	if err != nil {
		return nil, err
	}
	opened = append(opened, given)
	var ends [6]int
	for i := 0; i < len(ends); i += 2 {
		if err := syscall.Pipe2(ends[i:i+2], syscall.O_CLOEXEC); err != nil {
			closeAll()
			return nil, err
		}
		opened = append(opened, ends[i], ends[i+1])
	}
	report, said, out, outEnd, errs, errsEnd := ends[0], ends[1], ends[2], ends[3], ends[4], ends[5]
	attributes := &syscall.ProcAttr{
		Env:   keeperEnvironment,
		Files: []uintptr{0, 1, 2, uintptr(given), uintptr(said), uintptr(outEnd), uintptr(errsEnd)},
	}
	pid, err := syscall.ForkExec(ownProgram, []string{"launcher", "keeper"}, attributes)
	if err != nil {
		closeAll()
		return nil, err
	}
	for _, fd := range []int{given, said, outEnd, errsEnd} {
		syscall.Close(fd)
	}
	for _, fd := range []int{report, out, errs} {
		syscall.SetNonblock(fd, true)
	}
	for _, fd := range []int{out, errs} {
		// may fail: the total of an unprivileged user is limited
		syscall.Syscall(syscall.SYS_FCNTL, uintptr(fd), fSetPipeSize, 1<<18)
	}
	return &run{
		keeper: pid, report: report, pipes: map[int]byte{out: kindStdout, errs: kindStderr},
		terminated: map[int]bool{}, killed: map[int]bool{}, oomKills: oomKills(),
	}, nil
}
