package sstable

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/iterator"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// fixtureDir is where the databases that RocksDB 7.8 wrote lie, outside the repository.
const fixtureDir = "../../shared/data/rocksdb-7.8"

// missing ends a test that needs what this machine has not, with a line that says so; in CI that
// is a failure.
func missing(t testing.TB, what string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("CI needs %s", what)
	}
	t.Skipf("SKIPPED: no %s on this machine", what)
}

// fixtures returns the contents of every table in the fixture archives by "archive/file".
func fixtures(t testing.TB) map[string][]byte {
	t.Helper()
	archives, err := filepath.Glob(filepath.Join(fixtureDir, "*.tar.zst"))
	require.NoError(t, err)
	if len(archives) == 0 {
		missing(t, fixtureDir)
	}
	tables := map[string][]byte{}
	for _, a := range archives {
		packed, err := os.ReadFile(a)
		require.NoError(t, err)
		tr := tar.NewReader(bytes.NewReader(unzstd(t, packed)))
		for {
			h, err := tr.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			require.NoError(t, err)
			if !strings.HasSuffix(h.Name, ".sst") {
				continue
			}
			b, err := io.ReadAll(tr)
			require.NoError(t, err)
			name := strings.TrimSuffix(filepath.Base(a), ".tar.zst") + "/" + filepath.Base(h.Name)
			tables[name] = b
		}
	}
	require.NotEmpty(t, tables)
	return tables
}

// openBytes opens a table that is given as bytes.
func openBytes(t testing.TB, name string, data []byte, o ReaderOptions) (*Reader, error) {
	t.Helper()
	fs := vfs.NewMem()
	return Open(memFile(t, fs, name, data), o)
}

func memFile(t testing.TB, fs vfs.FS, name string, data []byte) vfs.File {
	t.Helper()
	name = filepath.Base(name)
	f, err := fs.Create(name, vfs.Buffered)
	require.NoError(t, err)
	_, err = f.WriteAt(data, 0)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	f, err = fs.Open(name, vfs.Buffered)
	require.NoError(t, err)
	return f
}

// pair is an entry of the model.
type pair struct {
	key ikey.Key
	val string
}

// collect reads every entry forward and closes the iterator.
func collect(t testing.TB, it iterator.Iterator) []pair {
	t.Helper()
	var out []pair
	for ok := it.First(); ok; ok = it.Next() {
		out = append(out, pair{it.Key().Clone(), string(it.Value())})
	}
	require.NoError(t, it.Err())
	require.NoError(t, it.Close())
	return out
}

// tableOf writes c into a file system of its own.
func tableOf(t testing.TB, c content, o WriterOptions) (vfs.FS, string) {
	t.Helper()
	fs := vfs.NewMem()
	writeTable(t, fs, "000007.sst", c, o)
	return fs, "000007.sst"
}
