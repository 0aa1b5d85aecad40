package main

import (
	"sort"
	"strings"
	"syscall"
)

// appEnvironment is the container's environment, below it the agent's defaults, above it what the agent gives (PORT, HOST, …), and
// a HOME that can be written to: package managers keep caches there, and a user id without an entry in /etc/passwd lands on "/".
func appEnvironment(base []string, given, defaults map[string]string) []string {
	made := make([]string, 0, len(base)+len(given)+len(defaults)+1)
	set := map[string]bool{"HOME": true}
	for name := range given {
		set[name] = true
	}
	home := ""
	for _, one := range base {
		name, value, _ := strings.Cut(one, "=")
		set[name] = true
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
	start := len(made)
	for name, value := range given {
		made = append(made, name+"="+value)
	}
	for name, value := range defaults {
		if !set[name] {
			made = append(made, name+"="+value)
		}
	}
	sort.Strings(made[start:])
	return made
}
