package main

import (
	"fmt"
	"strconv"
	"strings"
)

const landlockAny = -1

// settings of the launcher come from its command line alone: the environment is the user's and the image's.
type settings struct {
	agentPort int
	// processes is RLIMIT_NPROC of every command, 0 for none.
	processes uint64
	// openFiles is RLIMIT_NOFILE of the launcher and of every command, 0 for the container's own.
	openFiles uint64
	// scratch is a directory that is emptied before anything runs: /tmp lies on the volume, and nothing in it should outlive the
	// container.
	scratch string
	// workspace is where a command of exec begins.
	workspace       string
	noNewPrivileges bool
	// landlock is the version that commands are confined by, 0 for none. On the command line of "launcher" it has no number, which is
	// landlockAny: the one that works is found, and stands on the command line of "serve".
	landlock int
}

func parseSettings(words []string) (settings, error) {
	s := settings{agentPort: 7071, workspace: "/workspace"}
	for _, word := range words {
		name, value, _ := strings.Cut(word, "=")
		var err error
		switch name {
		case "--agent-port":
			s.agentPort, err = strconv.Atoi(value)
		case "--processes":
			s.processes, err = strconv.ParseUint(value, 10, 63)
		case "--open-files":
			s.openFiles, err = strconv.ParseUint(value, 10, 63)
		case "--scratch":
			s.scratch = value
		case "--workspace":
			s.workspace = value
		case "--no-new-privileges":
			s.noNewPrivileges = true
		case "--landlock":
			s.landlock = landlockAny
			if value != "" {
				s.landlock, err = strconv.Atoi(value)
			}
		default:
			return s, fmt.Errorf("unknown option %q", word)
		}
		if err != nil {
			return s, fmt.Errorf("%s is no number: %q", name, value)
		}
	}
	return s, nil
}

// words is the command line that means these settings.
func (s settings) words() []string {
	words := []string{
		fmt.Sprintf("--agent-port=%d", s.agentPort),
		fmt.Sprintf("--processes=%d", s.processes),
		fmt.Sprintf("--open-files=%d", s.openFiles),
		"--scratch=" + s.scratch,
		"--workspace=" + s.workspace,
	}
	if s.noNewPrivileges {
		words = append(words, "--no-new-privileges")
	}
	if s.landlock != 0 {
		words = append(words, fmt.Sprintf("--landlock=%d", s.landlock))
	}
	return words
}

// settingsOf reads them from the command line of a launcher, as /proc/<pid>/cmdline has it.
func settingsOf(cmdline []byte) (settings, error) {
	words := strings.Split(strings.TrimSuffix(string(cmdline), "\x00"), "\x00")
	if len(words) < 2 || (words[1] != "launcher" && words[1] != "serve") {
		return settings{}, fmt.Errorf("process 1 is not the launcher")
	}
	return parseSettings(words[2:])
}
