package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/ncw/directio"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// TestLockExcludesRecordLocks asks as RocksDB does, with a record lock of the process.
func TestLockExcludesRecordLocks(t *testing.T) {
	name := filepath.Join(t.TempDir(), "LOCK")
	lock, err := OS(nil).Lock(name)
	require.NoError(t, err)
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	require.NoError(t, err)
	try := func() error {
		return unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart})
	}
	require.ErrorIs(t, try(), syscall.EAGAIN)
	require.NoError(t, lock.Close())
	require.NoError(t, try())
	_, err = OS(nil).Lock(name)
	require.ErrorIs(t, err, ErrLocked)
	require.NoError(t, f.Close())
}

// TestTryAlignment compares the trial with what the kernel tells.
func TestTryAlignment(t *testing.T) {
	for _, size := range []int{0, 100, 10000} {
		name := filepath.Join(t.TempDir(), "f")
		require.NoError(t, os.WriteFile(name, make([]byte, size), 0o600))
		f, err := directio.OpenFile(name, os.O_RDONLY, 0)
		if err != nil {
			t.Skip("no direct I/O here: ", err)
		}
		told, err := directAlignment(f)
		if err != nil {
			t.Skip("no direct I/O here: ", err)
		}
		tried, err := tryAlignment(f)
		require.NoError(t, err)
		require.Contains(t, []int{512, 4096}, tried)
		require.GreaterOrEqual(t, tried, min(told, 4096))
		require.NoError(t, f.Close())
	}
}

func TestOSError(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.ENOSPC, syscall.EDQUOT} {
		err := osError(&fs.PathError{Op: "write", Path: "f", Err: errno})
		require.ErrorIs(t, err, ErrNoSpace)
		require.ErrorIs(t, err, errno)
		require.ErrorIs(t, fmt.Errorf("flush 7: %w", err), ErrNoSpace)
		require.Equal(t, "write f: "+errno.Error(), err.Error())
	}
	require.NoError(t, osError(nil))
	require.False(t, errors.Is(osError(syscall.EIO), ErrNoSpace))
}
