package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

const confinedFolder = "CONFINED_TEST_FOLDER"

// This program is also what some tests start, as confining is for ever.
func TestMain(m *testing.M) {
	if folder := os.Getenv(confinedFolder); folder != "" {
		writeEverywhere(folder)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func writeEverywhere(folder string) {
	forbidden := folder + "/deep/forbidden"
	runtime.LockOSThread()
	if err := prctl(prSetNoNewPrivileges, 1); err != nil {
		panic(err)
	}
	if err := confine(landlockVersion(), forbidden, keptIn); err != nil {
		panic(err)
	}
	os.Symlink(forbidden, folder+"/elsewhere/link")
	for _, path := range []string{"/deep/forbidden", "/elsewhere/link", "/deep/sibling", "/elsewhere/new"} {
		file, err := os.OpenFile(folder+path, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o600)
		if err == nil {
			_, err = file.WriteString("x")
		}
		fmt.Println(err == nil)
	}
}

func TestAnAppCannotWriteToItsTerminationLogAndToAllElseAsBefore(t *testing.T) {
	if landlockVersion() == 0 {
		t.Skip("this kernel has no Landlock")
	}
	folder := t.TempDir()
	for _, name := range []string{"deep", "elsewhere"} {
		must(t, os.Mkdir(filepath.Join(folder, name), 0o700))
	}
	for _, name := range []string{"deep/forbidden", "deep/sibling"} {
		must(t, os.WriteFile(filepath.Join(folder, name), []byte("kept"), 0o600))
	}
	program, err := os.Executable()
	must(t, err)
	command := exec.Command(program)
	command.Env = append(os.Environ(), confinedFolder+"="+folder)
	said, err := command.CombinedOutput()
	if err != nil || string(said) != "false\nfalse\ntrue\ntrue\n" {
		t.Errorf("%s %v", said, err)
	}
}

func TestNothingButTheForbiddenFileIsLeftOut(t *testing.T) {
	folder := t.TempDir()
	must(t, os.Mkdir(folder+"/d", 0o700))
	must(t, os.WriteFile(folder+"/d/forbidden", nil, 0o600))
	must(t, os.WriteFile(folder+"/d/other", nil, 0o600))
	must(t, os.WriteFile(folder+"/beside", nil, 0o600))
	must(t, os.Symlink("d", folder+"/link"))
	found := map[string]bool{}
	for _, path := range allBut(folder + "/d/forbidden") {
		found[path] = true
	}
	if !found[folder+"/d/other"] || !found[folder+"/beside"] || !found["/proc"] {
		t.Error("something is left out")
	}
	if found[folder] || found[folder+"/d"] || found[folder+"/d/forbidden"] || found[folder+"/link"] {
		t.Error("something leads to the forbidden file")
	}
}
