package main

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"sort"
	"strings"
)

// Kinds of frames. A frame is 4 bytes of length (big-endian, of what follows), one byte of kind, and the payload; that of output and
// of words begins with the id of its run in 4 bytes. runner_agent/frames.py is the other end.
const (
	kindControl byte = iota
	kindStdout
	kindStderr
	kindSystem
)

const (
	headerBytes       = 5
	outputHeaderBytes = headerBytes + 4
	maxFrame          = 1 << 20
	// ownWords stands in the place of a run's id: no run in particular.
	ownWords = 0
	// bufferBytes is kept of what the agent does not read, for all runs together.
	bufferBytes = 4 << 20
	// frameOverhead is what a small frame costs beside its text, about; without it a flood of one-byte writes would cost a
	// hundredfold.
	frameOverhead = 100
)

// told is a run as the agent knows it.
type told struct {
	ID    uint32 `json:"id"`
	Pid   int    `json:"pid"`
	Label string `json:"label"`
}

type waiting struct {
	kind  byte
	run   uint32
	frame []byte
	told  []told // of a control frame: what runs when it is written
}

func (w waiting) cost() int { return len(w.frame) - outputHeaderBytes + frameOverhead }

// outbox holds frames for the agent, in order. Output beyond the limit is dropped, the oldest of the run that holds most of it: a
// loud one does not take a quiet one's lines. Control frames are never dropped.
type outbox struct {
	limit   int
	frames  []waiting
	sent    int // bytes of the first frame
	bytes   map[uint32]int
	total   int
	dropped map[uint32]int
	// told are the runs that the agent knows about, from the last control frame that was handed to the kernel whole.
	told []told
}

func newOutbox(limit int) *outbox {
	return &outbox{limit: limit, bytes: map[uint32]int{}, dropped: map[uint32]int{}, told: []told{}}
}

func (o *outbox) empty() bool { return len(o.frames) == 0 && len(o.dropped) == 0 }

func (o *outbox) output(kind byte, run uint32, text []byte) {
	one := waiting{kind: kind, run: run, frame: outputFrame(kind, run, text)}
	o.frames = append(o.frames, one)
	o.bytes[run] += one.cost()
	o.total += one.cost()
	if o.total > o.limit {
		o.makeRoom()
	}
}

// system tells people something, in the log of a run.
func (o *outbox) system(text string, run uint32) {
	o.frames = append(o.frames, words(text, run))
}

// control tells the agent something; running are the runs that it knows about once it has read this.
func (o *outbox) control(message any, running []told) {
	o.frames = append(o.frames, waiting{kind: kindControl, frame: controlFrame(message), told: running})
}

// reopen is for a new connection: what was half sent is sent again from its start.
func (o *outbox) reopen() { o.sent = 0 }

// fill copies what comes next to buffer and returns how much that is.
func (o *outbox) fill(buffer []byte) int {
	o.tellDropped()
	filled, skip := 0, o.sent
	for _, one := range o.frames {
		copied := copy(buffer[filled:], one.frame[skip:])
		filled += copied
		if skip+copied < len(one.frame) {
			break
		}
		skip = 0
	}
	return filled
}

// advance is told how much of it the kernel took.
func (o *outbox) advance(count int) {
	o.sent += count
	for len(o.frames) > 0 && o.sent >= len(o.frames[0].frame) {
		one := o.frames[0]
		o.frames[0] = waiting{}
		o.frames = o.frames[1:]
		o.sent -= len(one.frame)
		switch one.kind {
		case kindControl:
			o.told = one.told
		case kindStdout, kindStderr:
			o.forget(one)
		}
	}
	if len(o.frames) == 0 {
		o.frames = nil
	}
}

func (o *outbox) tellDropped() {
	if len(o.dropped) == 0 {
		return
	}
	var first []waiting
	for run, count := range o.dropped {
		text := fmt.Sprintf("%d bytes of output were dropped: the app wrote faster than the agent could read\n", count)
		first = append(first, words(text, run))
	}
	at := 0
	if o.sent > 0 && len(o.frames) > 0 {
		at = 1 // behind the frame that is half sent
	}
	o.frames = append(append(append([]waiting{}, o.frames[:at]...), first...), o.frames[at:]...)
	o.dropped = map[uint32]int{}
}

func (o *outbox) forget(one waiting) {
	o.total -= one.cost()
	o.bytes[one.run] -= one.cost()
	if o.bytes[one.run] == 0 {
		delete(o.bytes, one.run)
	}
}

// makeRoom drops in one walk what makes room for many frames: a sixteenth below the limit.
func (o *outbox) makeRoom() {
	aim := o.limit - o.limit/16
	runs := make([]uint32, 0, len(o.bytes))
	for run := range o.bytes {
		runs = append(runs, run)
	}
	sort.Slice(runs, func(i, j int) bool { return o.bytes[runs[i]] > o.bytes[runs[j]] })
	for _, loudest := range runs {
		kept := make([]waiting, 0, len(o.frames))
		for index, one := range o.frames {
			output := one.kind == kindStdout || one.kind == kindStderr
			halfSent := index == 0 && o.sent > 0
			if o.total <= aim || halfSent || !output || one.run != loudest {
				kept = append(kept, one)
				continue
			}
			o.forget(one)
			o.dropped[loudest] += len(one.frame) - outputHeaderBytes
		}
		o.frames = kept
		if o.total <= aim {
			return
		}
	}
}

func outputFrame(kind byte, run uint32, text []byte) []byte {
	made := make([]byte, outputHeaderBytes+len(text))
	binary.BigEndian.PutUint32(made, uint32(len(made)-4))
	made[4] = kind
	binary.BigEndian.PutUint32(made[headerBytes:], run)
	copy(made[outputHeaderBytes:], text)
	return made
}

func words(text string, run uint32) waiting {
	return waiting{kind: kindSystem, run: run, frame: outputFrame(kindSystem, run, []byte(strings.ToValidUTF8(text, "?")))}
}

func controlFrame(message any) []byte {
	payload, err := json.Marshal(message)
	if err != nil {
		panic(err) // our own records have nothing that JSON has not
	}
	made := make([]byte, headerBytes, headerBytes+len(payload))
	binary.BigEndian.PutUint32(made, uint32(len(payload)+1))
	made[4] = kindControl
	return append(made, payload...)
}
