package main

import (
	"sort"
	"strings"
	"syscall"
)

// appEnvironment is the container's environment, what the agent gives (PORT, HOST, …), and a HOME that can be written to: package
// managers keep caches there, and a user id without an entry in /etc/passwd lands on "/".
func appEnvironment(base []string, given map[string]string) []string {
	made := make([]string, 0, len(base)+len(given)+1)
	home := ""
	for _, one := range base {
		name, value, _ := strings.Cut(one, "=")
		if _, replaced := given[name]; replaced {
			continue
		}
		if name == "HOME" {
			home = value
			continue
		}
		made = append(made, one)
	}
	if _, ours := given["HOME"]; !ours {
		if syscall.Access(home, accessWrite) != nil {
			home = "/tmp"
		}
		made = append(made, "HOME="+home)
	}
	names := make([]string, 0, len(given))
	for name := range given {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		made = append(made, name+"="+given[name])
	}
	return made
}
