package engine_test

import (
	"bytes"
	"log/slog"
	"os"
	"path"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// learning returns a logger, and a function that tells whether it has heard since the last call that
// dead records were learnt from tables.
func learning() (*slog.Logger, func() bool) {
	var mu sync.Mutex
	var said bytes.Buffer
	write := func(b []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return said.Write(b)
	}
	return slog.New(slog.NewTextHandler(writerFunc(write), nil)), func() bool {
		mu.Lock()
		defer mu.Unlock()
		defer said.Reset()
		return bytes.Contains(said.Bytes(), []byte("learnt from tables"))
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }

// TestDeadRecordsOverOpens: what is dead is known after a clean close without a look at the
// tables, and is learnt again where the file that says it is missing, damaged or of another state.
func TestDeadRecordsOverOpens(t *testing.T) {
	fs := vfs.NewMem()
	o := separating(fs)
	logger, learnt := learning()
	o.Logger = logger
	file := filename.Path("db", filename.Dead, 0)
	w := newOverwriter(open(t, "db", o), 80, 17_000)
	w.all(t)
	write := func(b []byte) { require.NoError(t, filename.Publish(fs, "db", path.Base(file), 99999, b)) }
	var older []byte
	for _, c := range []struct {
		name   string
		spoil  func(b []byte)
		learns bool
	}{
		{"as it was left", func([]byte) {}, false},
		{"missing", func([]byte) { require.NoError(t, fs.Remove(file)) }, true},
		{"damaged", func(b []byte) { b[len(b)/2] ^= 1; write(b) }, true},
		{"older", func([]byte) { write(older) }, true},
		{"empty", func([]byte) { write(nil) }, true},
		{"as it was left, again", func([]byte) {}, false},
	} {
		w.some(t, 20)
		settleHoles(t, w.db)
		requireHoles(t, "db", fs, w.db)
		require.NoError(t, w.db.Close())
		b := contents(t, fs, file)
		c.spoil(bytes.Clone(b))
		older = b
		w.db = open(t, "db", o)
		_, err := fs.Stat(file)
		require.ErrorIs(t, err, os.ErrNotExist, "%s: read, and gone", c.name)
		waitIdle(t, w.db)
		requireHoles(t, "db", fs, w.db)
		require.Equal(t, c.learns, learnt(), c.name)
		w.check(t, w.db)
	}
	require.NoError(t, w.db.Close())
	requireClean(t, "db", o)
}

func contents(t require.TestingT, fs vfs.FS, name string) []byte {
	f, err := fs.Open(name, vfs.Buffered)
	require.NoError(t, err)
	defer f.Close()
	n, err := f.Size()
	require.NoError(t, err)
	b := make([]byte, n)
	require.NoError(t, vfs.ReadFullAt(f, b, 0))
	return b
}
