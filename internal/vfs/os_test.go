package vfs_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/vfs"
)

// TestOSFallsBackOnce opens files on a file system in memory: they are buffered, and the log
// says so in one line.
func TestOSFallsBackOnce(t *testing.T) {
	if _, err := os.Stat("/dev/shm"); err != nil {
		t.Skip("no tmpfs to refuse O_DIRECT")
	}
	dir, err := os.MkdirTemp("/dev/shm", "vfs")
	require.NoError(t, err)
	defer func() { require.NoError(t, os.RemoveAll(dir)) }()
	var log bytes.Buffer
	f := vfs.OS(slog.New(slog.NewTextHandler(&log, nil)))
	for _, name := range []string{"a", "b"} {
		file, err := f.Create(filepath.Join(dir, name), vfs.Direct)
		require.NoError(t, err)
		require.False(t, file.Direct())
		require.Equal(t, 4096, file.Alignment())
		_, err = file.WriteAt([]byte("any length"), 3)
		require.NoError(t, err)
		require.NoError(t, file.Close())
	}
	require.Equal(t, 1, strings.Count(log.String(), "direct I/O refused"), log.String())
}

// TestOSNoSpace writes to a device that is always full.
func TestOSNoSpace(t *testing.T) {
	f, err := vfs.OS(nil).OpenReadWrite("/dev/full", vfs.Buffered)
	if err != nil {
		t.Skip("no /dev/full: ", err)
	}
	_, err = f.WriteAt([]byte("x"), 0)
	require.ErrorIs(t, err, vfs.ErrNoSpace)
	require.ErrorContains(t, err, "write /dev/full")
	require.NoError(t, f.Close())
}

// TestOSPreallocateReserves looks at the blocks of the file, which only the system knows.
func TestOSPreallocateReserves(t *testing.T) {
	name := filepath.Join(t.TempDir(), "f")
	file, err := vfs.OS(nil).Create(name, vfs.Direct)
	require.NoError(t, err)
	w := vfs.NewSequentialWriter(file, vfs.WriterOptions{BufferBytes: 4096, Preallocate: 8 << 20})
	_, err = w.Write(pattern(10000))
	require.NoError(t, err)
	require.NoError(t, w.Flush())
	require.GreaterOrEqual(t, blocks(t, name), int64(10000))
	require.NoError(t, w.Finish())
	require.Less(t, blocks(t, name), int64(1<<20), "what was not used is given back")
}
