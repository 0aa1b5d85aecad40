package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

type sentFrame struct {
	kind byte
	run  uint32
	text string
}

// sent is all that waits, in order, taken in small pieces.
func sent(t *testing.T, o *outbox) (found []sentFrame) {
	t.Helper()
	var all bytes.Buffer
	buffer := make([]byte, 700)
	for !o.empty() {
		count := o.fill(buffer)
		all.Write(buffer[:count])
		o.advance(count)
	}
	for rest := all.Bytes(); len(rest) > 0; {
		length := binary.BigEndian.Uint32(rest)
		found = append(found, sentFrame{rest[4], binary.BigEndian.Uint32(rest[5:]), string(rest[outputHeaderBytes : 4+length])})
		rest = rest[4+length:]
	}
	return found
}

func TestALoudProcessTakesItsOwnLinesAndNotAQuietOnes(t *testing.T) {
	o := newOutbox(100_000)
	o.output(kindStdout, 1, []byte("quiet\n"))
	for range [500]int{} {
		o.output(kindStdout, 2, bytes.Repeat([]byte("x"), 1000))
	}
	o.output(kindStderr, 1, []byte("still quiet\n"))
	kept, quiet, told := 0, "", ""
	for _, one := range sent(t, o) {
		switch {
		case one.run == 1:
			quiet += one.text
		case one.kind == kindSystem:
			told += one.text
		default:
			kept += len(one.text)
		}
	}
	if quiet != "quiet\nstill quiet\n" {
		t.Errorf("of the quiet one there is %q", quiet)
	}
	if !strings.HasPrefix(told, fmt.Sprintf("%d bytes of output were dropped", 500_000-kept)) || strings.Count(told, "\n") != 1 {
		t.Errorf("kept %d bytes, told %q", kept, told)
	}
	if kept < 70_000 || kept > 100_000 {
		t.Errorf("kept %d bytes", kept)
	}
	if o.total != 0 || len(o.bytes) != 0 {
		t.Errorf("%d bytes are still counted", o.total)
	}
}

func TestWhatIsHalfSentIsNeverDropped(t *testing.T) {
	o := newOutbox(10_000)
	o.output(kindStdout, 1, bytes.Repeat([]byte("a"), 4000))
	o.advance(10)
	for range [100]int{} {
		o.output(kindStdout, 1, bytes.Repeat([]byte("b"), 1000))
	}
	buffer := make([]byte, 3999)
	if o.fill(buffer); !bytes.Equal(buffer, bytes.Repeat([]byte("a"), 3999)) {
		t.Error("the rest of the first frame does not come next")
	}
}

func TestWhatWasHalfSentIsSentAgainFromItsStartOnANewConnection(t *testing.T) {
	o := newOutbox(10_000)
	o.output(kindStdout, 7, []byte("whole"))
	o.advance(3)
	o.reopen()
	if found := sent(t, o); len(found) != 1 || found[0] != (sentFrame{kindStdout, 7, "whole"}) {
		t.Errorf("%v", found)
	}
}

func TestTheAgentKnowsWhatAControlFrameSaidOnceItIsSentWhole(t *testing.T) {
	o := newOutbox(10_000)
	o.control(ending{"ending"}, []told{{ID: 4}})
	whole := len(o.frames[0].frame)
	o.advance(whole - 1)
	if len(o.told) != 0 {
		t.Error("it is not sent whole")
	}
	o.advance(1)
	if len(o.told) != 1 || o.told[0].ID != 4 {
		t.Errorf("%v", o.told)
	}
}
