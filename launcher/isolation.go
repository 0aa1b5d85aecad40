package main

import (
	"bytes"
	"strconv"
	"strings"
	"syscall"
)

// isolation is what isolates this container, as its own kernel tells it: measured, not what the pod's spec asked for. What cannot be
// read is null, or empty. runner_agent/isolation.py is the agent's twin, for its own container; both speak the JSON that
// sandbox_protocol/measurement.py checks.
type isolation struct {
	Kernel        string `json:"kernel"`
	KernelRelease string `json:"kernelRelease"`
	// UserNamespace is whether user ids here are others than on the node.
	UserNamespace   *bool            `json:"userNamespace"`
	Seccomp         string           `json:"seccomp"`
	NoNewPrivileges *bool            `json:"noNewPrivileges"`
	Capabilities    string           `json:"capabilities"`
	AppArmor        string           `json:"appArmor"`
	ReadOnlyRoot    bool             `json:"readOnlyRoot"`
	Landlock        int              `json:"landlock"`
	Limits          map[string]int64 `json:"limits"`
}

// measure says what holds for commands: landlock is the version that confines them, 0 for none; processes is a limit that they have
// and this process has not, 0 for none.
func measure(landlock int, processes uint64) isolation {
	status := fieldsOf(text("/proc/self/status"))
	found := isolation{
		Kernel:          "Linux",
		KernelRelease:   cut64(kernelRelease()),
		UserNamespace:   userNamespace(text("/proc/self/uid_map")),
		Seccomp:         map[string]string{"0": "Disabled", "1": "Strict", "2": "Filter"}[status["Seccomp"]],
		NoNewPrivileges: noNewPrivileges(),
		AppArmor:        appArmor(),
		ReadOnlyRoot:    readOnly("/"),
		Landlock:        landlock,
		Limits:          limits(),
	}
	if isGVisor() {
		found.Kernel = "gVisor"
	}
	if mask, told := status["CapEff"]; told {
		found.Capabilities = strings.TrimLeft(mask, "0")
		if found.Capabilities == "" {
			found.Capabilities = "0"
		}
	}
	if processes > 0 {
		found.Limits["processes"] = int64(processes)
	}
	return found
}

// isGVisor tells by the name of the kernel, or by the first line that its system log always has (syslog is refused to us on Linux).
func isGVisor() bool {
	if strings.Contains(strings.ToLower(kernelRelease()+text("/proc/version")), "gvisor") {
		return true
	}
	log := make([]byte, 8192)
	count, err := syscall.Klogctl(klogReadAll, log)
	if err != nil {
		return false
	}
	first, _, _ := bytes.Cut(log[:count], []byte("\n"))
	return bytes.Contains(first, []byte("] Starting gVisor..."))
}

// userNamespace is false where the only line of uid_map maps the whole range to itself: no namespace is between here and the node.
func userNamespace(uidMap string) *bool {
	lines := strings.Split(strings.TrimSpace(uidMap), "\n")
	if lines[0] == "" {
		return nil
	}
	mapped := len(lines) > 1 || strings.Join(strings.Fields(lines[0]), " ") != "0 0 4294967295"
	return &mapped
}

func noNewPrivileges() *bool {
	answer, _, number := syscall.RawSyscall6(syscall.SYS_PRCTL, prGetNoNewPrivileges, 0, 0, 0, 0, 0)
	if number != 0 {
		return nil
	}
	set := answer != 0
	return &set
}

func appArmor() string {
	said := text("/proc/self/attr/apparmor/current")
	if said == "" {
		said = text("/proc/self/attr/current")
	}
	return cut64(strings.Trim(said, "\x00\n "))
}

func readOnly(path string) bool {
	var found syscall.Statfs_t
	return syscall.Statfs(path, &found) == nil && found.Flags&statfsReadOnly != 0
}

func kernelRelease() string {
	var names syscall.Utsname
	if syscall.Uname(&names) != nil {
		return ""
	}
	var release []byte
	for _, letter := range names.Release {
		if letter == 0 {
			break
		}
		release = append(release, byte(letter))
	}
	return string(release)
}

// limits are what is bounded, in bytes, thousandths of a processor, and numbers. What has no bound is absent.
func limits() map[string]int64 {
	found := map[string]int64{}
	set := func(name string, paths ...string) {
		for _, path := range paths {
			if value, ok := number(text(path)); ok {
				found[name] = value
				return
			}
		}
	}
	set("memoryBytes", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
	set("pids", "/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max")
	if quota, period, ok := cpu(); ok {
		found["cpuMillis"] = quota * 1000 / period
	}
	for name, kind := range map[string]int{
		"processes": rlimitProcesses, "openFiles": syscall.RLIMIT_NOFILE, "coreBytes": syscall.RLIMIT_CORE,
	} {
		var bound syscall.Rlimit
		if syscall.Getrlimit(kind, &bound) == nil && bound.Max != rlimitInfinity {
			found[name] = int64(bound.Max)
		}
	}
	return found
}

func cpu() (quota, period int64, ok bool) {
	words := strings.Fields(text("/sys/fs/cgroup/cpu.max"))
	if len(words) != 2 {
		words = []string{text("/sys/fs/cgroup/cpu/cpu.cfs_quota_us"), text("/sys/fs/cgroup/cpu/cpu.cfs_period_us")}
	}
	quota, bounded := number(words[0])
	period, known := number(words[1])
	return quota, period, bounded && known && period > 0
}

// number is one that bounds something; cgroup v1 says "no limit" as the largest number of pages.
func number(said string) (int64, bool) {
	value, err := strconv.ParseInt(strings.TrimSpace(said), 10, 64)
	return value, err == nil && value >= 0 && value < 1<<60
}

func fieldsOf(status string) map[string]string {
	found := map[string]string{}
	for _, line := range strings.Split(status, "\n") {
		name, value, _ := strings.Cut(line, ":")
		found[name] = strings.TrimSpace(value)
	}
	return found
}

func text(path string) string {
	content, _ := readFile(path, 8192)
	return string(content)
}

func cut64(said string) string {
	if len(said) > 64 {
		return said[:64]
	}
	return said
}
