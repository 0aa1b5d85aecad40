package main

import (
	"bytes"
	"strconv"
)

// table is the living processes at one look. What moved while we looked is found by the next one.
type table struct {
	parent map[int]int
	group  map[int]int
}

func look() table {
	found := table{map[int]int{}, map[int]int{}}
	entries, _ := list("/proc")
	for _, one := range entries {
		pid, err := strconv.Atoi(one.name)
		if err != nil {
			continue
		}
		stat, err := readFile("/proc/"+one.name+"/stat", 512)
		if err != nil {
			continue
		}
		// "<pid> (<name>) <state> <parent> <group> …", where the name may hold anything
		fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
		if len(fields) < 3 || fields[0][0] == 'Z' || fields[0][0] == 'X' {
			continue
		}
		found.parent[pid], _ = strconv.Atoi(string(fields[1]))
		found.group[pid], _ = strconv.Atoi(string(fields[2]))
	}
	return found
}

// below are the descendants of root, but for those in without and what is below them. Sessions of exec have no parent here and are
// below nobody.
func (t table) below(root int, without map[int]*run) []int {
	var found []int
	for pid := range t.parent {
		ancestor := pid
		for ancestor != root && without[ancestor] == nil {
			parent, known := t.parent[ancestor]
			if !known {
				break
			}
			ancestor = parent
		}
		if ancestor == root && pid != root {
			found = append(found, pid)
		}
	}
	return found
}

// groupsOf are the process groups of what was found of a run: its first one, though nobody may be seen in it just now, and those of
// all that was found. One that holds anything else, such as ours, where a child without a session is, is not theirs.
func (t table) groupsOf(first int, found []int) []int {
	theirs := map[int]bool{first: true}
	seen := map[int]bool{}
	for _, pid := range found {
		theirs[t.group[pid]] = true
		seen[pid] = true
	}
	for pid, group := range t.group {
		if !seen[pid] {
			delete(theirs, group)
		}
	}
	delete(theirs, 0) // not known yet
	delete(theirs, 1) // a signal to the group -1 would reach everything
	groups := make([]int, 0, len(theirs))
	for group := range theirs {
		groups = append(groups, group)
	}
	return groups
}
