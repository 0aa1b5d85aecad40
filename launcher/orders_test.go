package main

import (
	"encoding/binary"
	"fmt"
	"testing"
)

// mute writes down what it was asked for, and starts nothing.
type mute struct{ heard []string }

func (m *mute) start(id int64, command []string, cwd string, env, defaults map[string]string, label string) {
	m.heard = append(m.heard, fmt.Sprint("start", id, command, cwd, env, label))
}

func (m *mute) stop(id int64, grace float64) {
	if !(grace >= 0 && grace < maxGrace) {
		panic("a grace that is none")
	}
	m.heard = append(m.heard, fmt.Sprint("stop", id, grace))
}

func (m *mute) show(root, path string) { m.heard = append(m.heard, fmt.Sprint("show", root, path)) }

func (m *mute) usage() { m.heard = append(m.heard, "usage") }

func hear(pieces ...[]byte) (heard []string, cut bool) {
	var m mute
	var inbox []byte
	for _, piece := range pieces {
		left, understood := obeyFrames(append(inbox, piece...), &m)
		if !understood {
			return m.heard, true
		}
		inbox = append([]byte(nil), left...)
	}
	return m.heard, false
}

func framed(payload string) []byte {
	made := binary.BigEndian.AppendUint32(nil, uint32(len(payload)+1))
	return append(append(made, kindControl), payload...)
}

func TestWhatTheAgentSaysIsObeyed(t *testing.T) {
	came := framed(`{"type":"start","id":9,"command":["a","b"],"cwd":"/","env":{"X":"1"},"label":"web"}`)
	came = append(came, framed(`{"type":"stop","id":9,"gracePeriodSeconds":0.5}`)...)
	came = append(came, framed(`{"type":"show","root":"/w","paths":["a","b"]}`)...)
	came = append(came, framed(`{"type":"of a later version"}`)...)
	came = append(came, framed(`{"type":"usage"}`)...)
	heard, cut := hear(came)
	want := `[start9 [a b] /map[X:1]web stop9 0.5 show/w a show/w b usage]`
	if cut || len(heard) != 5 {
		t.Errorf("%v %v, not %s", heard, cut, want)
	}
}

func FuzzOrders(f *testing.F) {
	for _, payload := range []string{
		`{"type":"usage"}`, `{"type":"stop","id":1,"gracePeriodSeconds":NaN}`, `{"type":"stop","id":1e999}`, `7`, `null`, `[[[[`,
		`{"type":"start","id":9,"command":["true"],"cwd":"/","env":{},"label":"web"}`, `{"type":"show","root":"/","paths":["a\u0000"]}`,
	} {
		f.Add(framed(payload), uint(7))
	}
	f.Add([]byte{255, 255, 255, 255, 0}, uint(1))
	// What PID 1 reads from whoever has the agent's port: it ends the connection or obeys, never panics, and the same in whatever
	// pieces.
	f.Fuzz(func(t *testing.T, came []byte, size uint) {
		heard, cut := hear(append([]byte(nil), came...))
		var pieces [][]byte
		for size = size%64 + 1; len(came) > 0; {
			count := int(size)
			if count > len(came) {
				count = len(came)
			}
			pieces = append(pieces, append([]byte(nil), came[:count]...))
			came = came[count:]
		}
		if again, cutAgain := hear(pieces...); cut != cutAgain || fmt.Sprint(heard) != fmt.Sprint(again) {
			t.Errorf("%v %v, in pieces %v %v", heard, cut, again, cutAgain)
		}
	})
}
