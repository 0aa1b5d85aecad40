package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAllThatAnAppCanLeaveIsRemovedAndTheDirectoryStays(t *testing.T) {
	outside, scratch := t.TempDir(), t.TempDir()
	must(t, os.WriteFile(filepath.Join(outside, "kept"), []byte("x"), 0o600))
	must(t, os.MkdirAll(filepath.Join(scratch, "a/b/c"), 0o700))
	must(t, os.Mkdir(filepath.Join(scratch, "a/closed"), 0o700))
	for _, file := range []string{"a/b/c/file", "a/closed/file"} {
		must(t, os.WriteFile(filepath.Join(scratch, file), []byte("x"), 0o600))
	}
	must(t, os.Symlink(outside, filepath.Join(scratch, "a/b/link")))
	must(t, os.Symlink("nowhere", filepath.Join(scratch, "dangling")))
	must(t, syscall.Mkfifo(filepath.Join(scratch, "pipe"), 0o600))
	must(t, os.Chmod(filepath.Join(scratch, "a/closed"), 0))
	must(t, empty(scratch))
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Error(left, err)
	}
	if _, err := os.Stat(filepath.Join(outside, "kept")); err != nil {
		t.Error("a link was followed")
	}
}

func TestDepthCostsNothing(t *testing.T) {
	scratch := t.TempDir()
	fd, err := syscall.Open(scratch, syscall.O_RDONLY, 0)
	must(t, err)
	for range [5000]int{} {
		must(t, syscall.Mkdirat(fd, "d", 0o700))
		below, err := syscall.Openat(fd, "d", syscall.O_RDONLY, 0)
		must(t, err)
		syscall.Close(fd)
		fd = below
	}
	syscall.Close(fd)
	must(t, empty(scratch))
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Error(len(left), err)
	}
}

func TestWhatIsNoDirectoryIsTold(t *testing.T) {
	if err := empty(filepath.Join(t.TempDir(), "missing")); err != syscall.ENOENT {
		t.Error(err)
	}
}
