package main

import (
	"reflect"
	"strings"
	"testing"
)

func cmdline(words ...string) []byte { return []byte(strings.Join(words, "\x00") + "\x00") }

func TestTheCommandLineOfTheLauncherProperMeansWhatItWasGiven(t *testing.T) {
	given := []string{"--processes=1024", "--open-files=300", "--scratch=/tmp", "--no-new-privileges", "--landlock=7", "--agent-port=9"}
	want, err := parseSettings(given)
	must(t, err)
	again, err := settingsOf(cmdline(append([]string{"/opt/sandbox/launcher", "serve"}, want.words()...)...))
	if err != nil || !reflect.DeepEqual(want, again) {
		t.Error(again, err)
	}
	if want.processes != 1024 || want.openFiles != 300 || want.landlock != 7 || !want.noNewPrivileges {
		t.Error(want)
	}
}

func TestLandlockWithoutANumberIsWhateverWorks(t *testing.T) {
	if s, err := parseSettings([]string{"--landlock"}); err != nil || s.landlock != landlockAny {
		t.Error(s, err)
	}
}

func TestWhatIsNoSettingIsNamed(t *testing.T) {
	for _, word := range []string{"--processes=many", "--processes=-1", "--open-files=", "--anything", "npm"} {
		if _, err := parseSettings([]string{word}); err == nil || !strings.Contains(err.Error(), strings.Split(word, "=")[0]) {
			t.Errorf("%s: %v", word, err)
		}
	}
}

func TestLimitsAreTakenFromNothingButALauncher(t *testing.T) {
	for _, words := range [][]string{{"/sbin/init"}, {"sh", "-c", "launcher"}, {"/opt/sandbox/launcher"}, {""}} {
		if _, err := settingsOf(cmdline(words...)); err == nil {
			t.Error(words)
		}
	}
}

func TestAnOrderArrivesAsItWasGiven(t *testing.T) {
	for _, one := range []order{
		{1024, 7, "/workspace", []string{"sh", "-c", "", "a\nb"}, []string{"A=", "B=x=y", ""}, keptIn},
		{0, 0, "", []string{"true"}, nil, keptIn},
	} {
		words, err := one.words()
		must(t, err)
		fd, err := give(words)
		must(t, err)
		words, err = take(fd)
		must(t, err)
		again, err := parseOrder(words)
		must(t, err)
		if !reflect.DeepEqual(one.command, again.command) || strings.Join(one.environment, "|") != strings.Join(again.environment, "|") {
			t.Errorf("%v became %v", one, again)
		}
		if one.processes != again.processes || one.landlock != again.landlock || one.cwd != again.cwd {
			t.Errorf("%v became %v", one, again)
		}
	}
	if _, err := (order{command: []string{"a\x00b"}}).words(); err != errNul {
		t.Error(err)
	}
}

func TestTheAppGetsItsEnvironmentTheAgentsAndAHome(t *testing.T) {
	found := appEnvironment([]string{"PATH=/bin", "HOME=/nowhere", "PORT=1"}, map[string]string{"PORT": "3000", "HOST": "::"}, map[string]string{"PORT": "1", "PATH": "/", "BROWSER": "none"})
	if want := "PATH=/bin HOME=/tmp BROWSER=none HOST=:: PORT=3000"; strings.Join(found, " ") != want {
		t.Error(found)
	}
	if found := appEnvironment([]string{"HOME=/nowhere"}, map[string]string{"HOME": "/given"}, nil); strings.Join(found, " ") != "HOME=/given" {
		t.Error(found)
	}
}

func TestAUserNamespaceIsToldByItsMap(t *testing.T) {
	for uidMap, mapped := range map[string]bool{
		"         0          0 4294967295\n": false, "         0  524288      65536\n": true, "0 0 1000\n1000 5000 10\n": true,
	} {
		if found := userNamespace(uidMap); found == nil || *found != mapped {
			t.Errorf("%q", uidMap)
		}
	}
	if userNamespace("") != nil {
		t.Error("it is not told")
	}
}
