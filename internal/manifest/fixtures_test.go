package manifest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/record"
	"github.com/cambiumdb/cambium/internal/vfs"
)

const fixtures = "testdata/rocksdb-7.8"

// fixture returns a file system that holds the manifest, CURRENT and IDENTITY which RocksDB
// 7.8.3 wrote, beside empty tables, blob files and logs of the right size.
func fixture(t *testing.T, name string) *vfs.Mem {
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll("db"))
	put := func(name string, content []byte) {
		f, err := mem.Create("db/"+name, vfs.Buffered)
		require.NoError(t, err)
		_, err = f.WriteAt(content, 0)
		require.NoError(t, err)
		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
	}
	files, err := os.ReadDir(filepath.Join(fixtures, name))
	require.NoError(t, err)
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(fixtures, name, file.Name()))
		require.NoError(t, err)
		if file.Name() != "files.txt" {
			put(file.Name(), content)
			continue
		}
		for line := range bytes.Lines(content) {
			var base string
			var size int
			_, err := fmt.Sscanf(string(line), "%s %d", &base, &size)
			require.NoError(t, err)
			put(base, make([]byte, size))
		}
	}
	require.NoError(t, mem.SyncDir("db"))
	require.NoError(t, mem.SyncDir(""))
	return mem
}

func eachFixture(t *testing.T, test func(t *testing.T, mem *vfs.Mem)) {
	dirs, err := os.ReadDir(fixtures)
	require.NoError(t, err)
	require.Len(t, dirs, 12)
	for _, d := range dirs {
		t.Run(d.Name(), func(t *testing.T) { test(t, fixture(t, d.Name())) })
	}
}

// Every edit that RocksDB wrote decodes and encodes to the same bytes.
func TestFixtureEdits(t *testing.T) {
	eachFixture(t, func(t *testing.T, mem *vfs.Mem) {
		name := manifestPath(t, mem)
		recs := rawRecords(t, mem, name)
		n := 0
		require.NoError(t, Read(mem, name, func(e *Edit, offset int64) error {
			require.Equal(t, recs[n], e.Encode(nil), "record at %#x:\n%s", offset, e)
			n++
			return nil
		}))
		require.Len(t, recs, n)
		require.GreaterOrEqual(t, n, 3)
	})
}

func manifestPath(t *testing.T, fs vfs.FS) string {
	s, err := Recover(fs, "db", Options{})
	require.NoError(t, err)
	return fmt.Sprintf("db/MANIFEST-%06d", s.ManifestNum())
}

func rawRecords(t *testing.T, mem *vfs.Mem, name string) (recs [][]byte) {
	f, err := mem.Open(name, vfs.Buffered)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	content := make([]byte, size)
	_, err = f.ReadAt(content, 0)
	require.NoError(t, err)
	r := record.NewReader(bytes.NewReader(content), name, 0)
	for rec, err := r.Next(); err == nil; rec, err = r.Next() {
		recs = append(recs, bytes.Clone(rec))
	}
	require.Equal(t, size, r.End())
	return recs
}

// Every tree that RocksDB left is recovered, with all its files, and nothing is written. Its
// first edit goes to a new manifest that holds the same tree.
func TestFixtureRecover(t *testing.T) {
	eachFixture(t, func(t *testing.T, mem *vfs.Mem) {
		readOnly := vfs.NewFault(mem)
		changes := readOnly.Add(vfs.Rule{Ops: vfs.OpChange, Forever: true, Err: vfs.ErrInjected})
		before := listing(t, mem)

		s, err := Recover(readOnly, "db", Options{})
		require.NoError(t, err)
		v := s.Current()
		require.NoError(t, v.Check())
		require.NoError(t, v.CheckFiles(mem, "db"))
		require.EqualValues(t, 5, s.ManifestNum())
		require.Len(t, s.DBID(), 36)
		checkFilesAllKnown(t, s, before)
		text, lastSeq, logNum := v.String(), s.LastSeq(), s.LogNum()
		v.Unref()
		require.NoError(t, s.Close())
		require.Zero(t, changes.Calls(), "recovery must not change anything")
		require.Equal(t, before, listing(t, mem))

		s, err = Recover(mem, "db", Options{})
		require.NoError(t, err)
		require.NoError(t, s.Apply(&Edit{}))
		require.Greater(t, s.ManifestNum(), uint64(5))
		old, err := s.ObsoleteManifests()
		require.NoError(t, err)
		require.Equal(t, []uint64{5}, old)
		require.NoError(t, s.Close())

		s, err = Recover(mem, "db", Options{})
		require.NoError(t, err)
		v = s.Current()
		require.Equal(t, text, v.String())
		require.Equal(t, lastSeq, s.LastSeq())
		require.Equal(t, logNum, s.LogNum())
		v.Unref()
	})
}

// checkFilesAllKnown asserts that the directory's tables and blob files are those of the tree,
// and that new numbers are above all of them.
func checkFilesAllKnown(t *testing.T, s *Set, names []string) {
	var want, got []string
	for _, name := range names {
		if filepath.Ext(name) == ".sst" || filepath.Ext(name) == ".blob" {
			want = append(want, name)
		}
	}
	s.Live(func(tables, blobs []uint64) {
		for _, num := range tables {
			got = append(got, fmt.Sprintf("%06d.sst", num))
		}
		for _, num := range blobs {
			got = append(got, fmt.Sprintf("%06d.blob", num))
		}
	})
	require.ElementsMatch(t, want, got)
	next := s.NewFileNum()
	for _, name := range names {
		require.NotContains(t, name, fmt.Sprintf("%06d", next))
	}
}

func listing(t *testing.T, mem *vfs.Mem) []string {
	names, err := mem.List("db")
	require.NoError(t, err)
	return names
}
