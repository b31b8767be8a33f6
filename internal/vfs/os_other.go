//go:build unix && !linux

package vfs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// directAlignment: the systems other than Linux do not tell, and take a page.
func directAlignment(*os.File) (int, error) { return defaultAlignment, nil }

// allocate is left to a plain extension of the file.
func allocate(int, int64) error { return errors.ErrUnsupported }

// punchHole is left undone.
func punchHole(int, int64, int64) error { return errors.ErrUnsupported }

// dataSync is os.File's, which on Darwin asks the device too.
func dataSync(f *osFile) error { return osError(f.file.Sync()) }

// lockFile takes a lock that belongs to this open file.
func lockFile(f *os.File) error {
	return unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
}

func freeBytes(dir string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, err
	}
	return int64(st.Bavail) * int64(st.Bsize), nil
}
