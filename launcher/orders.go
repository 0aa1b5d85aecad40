package main

import (
	"encoding/json"
	"errors"
)

const (
	maxRuns = 16
	// maxGrace is in seconds.
	maxGrace = 24 * 3600.0
)

// said is any message of the agent; which fields there must be depends on its type.
type said struct {
	Type    string             `json:"type"`
	ID      *int64             `json:"id"`
	Command *[]string          `json:"command"`
	Cwd     *string            `json:"cwd"`
	Env     *map[string]string `json:"env"`
	// Defaults are for what neither Env nor the container's environment sets.
	Defaults map[string]string `json:"defaults"`
	Label    string            `json:"label"`
	Grace    *float64          `json:"gracePeriodSeconds"`
	Root     *string           `json:"root"`
	Paths    *[]string         `json:"paths"`
}

// obeying is what the agent can ask for.
type obeying interface {
	start(id int64, command []string, cwd string, env, defaults map[string]string, label string)
	stop(id int64, grace float64)
	show(root, path string)
	usage()
}

var errOrder = errors.New("the message makes no sense")

// obey does what one message asks for; a type that is not known is for a later version.
func obey(payload []byte, by obeying) error {
	var m said
	if err := json.Unmarshal(payload, &m); err != nil {
		return err
	}
	switch m.Type {
	case "":
		return errOrder
	case "start":
		if m.ID == nil || m.Command == nil || m.Cwd == nil || m.Env == nil {
			return errOrder
		}
		by.start(*m.ID, *m.Command, *m.Cwd, *m.Env, m.Defaults, m.Label)
	case "stop":
		if m.ID == nil || m.Grace == nil || *m.Grace < 0 || *m.Grace >= maxGrace {
			return errOrder
		}
		by.stop(*m.ID, *m.Grace)
	case "show":
		if m.Root == nil || m.Paths == nil {
			return errOrder
		}
		for _, path := range *m.Paths {
			by.show(*m.Root, path)
		}
	case "usage":
		by.usage()
	}
	return nil
}

type started struct {
	Type string `json:"type"`
	ID   uint32 `json:"id"`
	Pid  int    `json:"pid"`
}

// exited says that nothing of a run is left. One of code and signal is set, or neither when the error says why that is not known.
type exited struct {
	Type        string `json:"type"`
	ID          int64  `json:"id"`
	ExitCode    *int   `json:"exitCode"`
	Signal      *int   `json:"signal"`
	Error       string `json:"error"`
	OutOfMemory bool   `json:"outOfMemory"`
}

type used struct {
	Type        string `json:"type"`
	MemoryBytes int64  `json:"memoryBytes"`
}

type ending struct {
	Type string `json:"type"`
}

func (l *launcher) show(root, path string) { show(root, path) }

func (l *launcher) usage() { l.say(used{"usage", memoryBytes()}) }

// say tells the agent, with what runs at this moment: what it knows once it has read this.
func (l *launcher) say(message any) {
	running := make([]told, 0, len(l.runs))
	for _, one := range l.runs {
		running = append(running, one.told())
	}
	l.outbox.control(message, running)
}
