package store

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/mybr/mybr/internal/model"
)

// What is not damaged is refused, with what to do, and nothing is set aside or changed: not
// even where there is a good copy.
func TestStartRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		prepare func(t *testing.T, s *Store) // of a closed store
		as      func(t *testing.T, fn func())
		want    string
		is      error
	}{
		"a newer schema": {func(t *testing.T, s *Store) {
			s = open(t, s.path)
			update(t, s, func(tx *Tx) error { return tx.put(place{bucketMeta}, keySchema.bytes(), []byte("6")) })
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		}, asRoot, "was written by a newer mybr", nil},
		"a held lock":  {func(t *testing.T, s *Store) { open(t, s.path) }, asRoot, "is in use by process ", model.ErrConflict},
		"unreadable":   {chmod("", 0), asNobody, "mybr must be able to read and write it", os.ErrPermission},
		"unwritable":   {chmod("", 0o444), asNobody, "mybr must be able to read and write it", os.ErrPermission},
		"hidden":       {chmod("..", 0o600), asNobody, "make files in ", os.ErrPermission},
		"a directory":  {func(t *testing.T, s *Store) { replaceByDir(t, s.path) }, asRoot, "move away what is in its place", unix.EISDIR},
		"no directory": {func(t *testing.T, s *Store) { replaceByFile(t, filepath.Dir(s.path)) }, asRoot, "move away what is in its place", unix.ENOTDIR},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			openUp(t, dir)
			s, _ := start(t, dir)
			update(t, s, someRecords)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			c.prepare(t, s)
			before, _ := os.ReadFile(s.path)
			var err error
			var warned []string
			c.as(t, func() { _, err = Start(config(dir, &warned)) })
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), s.path) || c.is != nil && !errors.Is(err, c.is) {
				t.Errorf("have %v, want %q, %v and the path", err, c.want, c.is)
			}
			if after, _ := os.ReadFile(s.path); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
			if aside, _ := filepath.Glob(s.path + "*.damaged-*"); len(aside)+len(warned) > 0 {
				t.Errorf("set aside are %v, warned of %q", aside, warned)
			}
		})
	}
}

func asRoot(_ *testing.T, fn func()) { fn() }

// asNobody calls fn with the rights of a user without any, in this thread alone.
func asNobody(t *testing.T, fn func()) {
	t.Helper()
	if os.Geteuid() != 0 {
		fn()
		return
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never back: the thread ends with the goroutine
		_, err := unix.SetfsuidRetUid(65534)
		fn()
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// openUp lets everybody into a temporary directory, and those above it.
func openUp(t *testing.T, dir string) {
	t.Helper()
	for ; strings.HasPrefix(dir, os.TempDir()+"/"); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// chmod sets the mode of a file, below or above the state file's path.
func chmod(rel string, mode os.FileMode) func(*testing.T, *Store) {
	return func(t *testing.T, s *Store) {
		for path, mode := range map[string]os.FileMode{filepath.Dir(s.path): 0o755, filepath.Join(s.path, rel): mode} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func replaceByDir(t *testing.T, path string) {
	t.Helper()
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
}

func replaceByFile(t *testing.T, dir string) {
	t.Helper()
	if err := errors.Join(os.RemoveAll(dir), os.WriteFile(dir, nil, 0o600)); err != nil {
		t.Fatal(err)
	}
}

// On a disk without room, or that can't be written to, the start says so, and keeps what is
// there; once there is room it goes on.
func TestStartOnADiskThatTakesNothing(t *testing.T) {
	for name, c := range map[string]struct {
		options string
		fill    bool
		want    string
		is      error
	}{
		"full":      {"size=64k", true, "free space in ", unix.ENOSPC},
		"read-only": {"size=1m", false, "mount it read-write", unix.EROFS},
	} {
		t.Run(name, func(t *testing.T) {
			inMounts(t, func() error { return startOn(t, t.TempDir(), c.options, c.fill, c.want, c.is) })
		})
	}
}

// startOn mounts a state directory of its own, and starts on it with a damaged file and a
// good copy.
func startOn(t *testing.T, dir, options string, fill bool, want string, is error) error {
	state := filepath.Join(dir, "state")
	if err := errors.Join(os.Mkdir(state, 0o700), unix.Mount("tmpfs", state, "tmpfs", 0, options)); err != nil {
		return err
	}
	var warned []string
	s, err := Start(config(dir, &warned))
	if err != nil {
		return err
	}
	_, err = s.Update(someRecords)
	if err := errors.Join(err, s.Close(), os.WriteFile(s.path, []byte("garbage"), 0o600)); err != nil {
		return err
	}
	full := filepath.Join(state, "full")
	if fill {
		err = os.WriteFile(full, make([]byte, 1<<20), 0o600)
	} else {
		err = unix.Mount("", state, "", unix.MS_REMOUNT|unix.MS_RDONLY, "")
	}
	if err != nil && !errors.Is(err, unix.ENOSPC) {
		return err
	}
	if _, err := Start(config(dir, &warned)); !errors.Is(err, is) || !strings.Contains(err.Error(), want) {
		t.Errorf("have %v, want %q and %v", err, want, is)
	}
	if text, err := os.ReadFile(s.path); err != nil || string(text) != "garbage" {
		t.Errorf("the file is not where it was: %q %v", text, err)
	}
	if fill {
		err = os.Remove(full)
	} else {
		err = unix.Mount("", state, "", unix.MS_REMOUNT, "")
	}
	if err != nil {
		return err
	}
	s, err = Start(config(dir, &warned))
	if err != nil {
		return err
	}
	if have := s.Snapshot(); len(have.Networks) != 2 || len(have.Endpoints) != 2 {
		t.Errorf("have %+v, want what the copy has", have)
	}
	aside, _ := filepath.Glob(s.path + ".damaged-*")
	if len(aside) != 1 {
		t.Errorf("set aside are %v", aside)
	}
	return s.Close()
}

// inMounts calls fn in a mount namespace that ends with it.
func inMounts(t *testing.T, fn func() error) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never back: the thread ends with the goroutine
		err := unix.Unshare(unix.CLONE_NEWNS)
		if err == nil {
			err = unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, "")
		}
		if err == nil {
			err = fn()
		}
		done <- err
	}()
	if err := <-done; errors.Is(err, unix.EPERM) {
		t.Skip("needs root: ", err)
	} else if err != nil {
		t.Fatal(err)
	}
}
