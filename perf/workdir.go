package perf

import (
	"fmt"
	"os"
	"path/filepath"
)

// ownMark is the name of an empty file that tells kvbench's directories from those of others.
const ownMark = ".kvbench"

// WorkDir returns the directory to measure in and what to call afterwards. A dir that is given
// is created and kept; one that holds anything and has no mark of kvbench's is refused. Without
// one a new directory is made and removed again: in $TMPDIR if
// that is set, else in the system's temporary directory, or where that is memory (tmpfs, no
// device to measure) in the current directory.
func WorkDir(dir string) (path string, done func() error, err error) {
	if dir != "" {
		mark := filepath.Join(dir, ownMark)
		if err := ours(dir, mark); err != nil {
			return "", nil, err
		}
		// Not before: engines create databases in empty directories only.
		return dir, func() error { return os.WriteFile(mark, nil, 0o666) }, nil
	}
	path, err = os.MkdirTemp(tempParent(), "kvbench-")
	if err != nil {
		return "", nil, fmt.Errorf("make a temporary directory (or give one with --dir): %w", err)
	}
	return path, func() error { return os.RemoveAll(path) }, nil
}

// ours makes dir, or returns an error if others have put anything into it.
func ours(dir, mark string) error {
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	there, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	if _, err := os.Lstat(mark); err != nil && len(there) > 0 {
		return Usagef("--dir %s holds %s and was not made by kvbench: give a new or an empty directory", dir, there[0].Name())
	}
	return nil
}

// tempParent is where WorkDir makes temporary directories.
func tempParent() string {
	parent := os.TempDir()
	if os.Getenv("TMPDIR") != "" {
		return parent
	}
	if name, _, err := fileSystem(parent); err != nil || name == "tmpfs" || name == "ramfs" {
		return "."
	}
	return parent
}

// CheckSpace returns an error unless the device under dir has room for live bytes of keys and
// values while they are being rewritten: two and a half times as much, and the logs.
func CheckSpace(dir string, live int64) error {
	name, free, err := fileSystem(dir)
	if err != nil {
		return err
	}
	need := live/2*5 + 256<<20
	if have := free + diskUsage(dir); have < need {
		return Usagef("%s (%s) has %s free, and %s of keys and values need about %s while they are rewritten: use fewer --keys, smaller values or another --dir",
			dir, name, Bytes(free), Bytes(live), Bytes(need))
	}
	return nil
}
