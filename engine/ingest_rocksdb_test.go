//go:build !race

package engine_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// externByRocksDB lets ldb write a table for other databases.
func externByRocksDB(t *testing.T, path string, pairs []string) string {
	t.Helper()
	var in strings.Builder
	for _, p := range pairs {
		k, v, _ := strings.Cut(p, "=")
		fmt.Fprintf(&in, "%s ==> %s\n", k, v)
	}
	cmd := exec.Command("ldb", "--db="+t.TempDir(), "--create_if_missing", "write_extern_sst", path)
	cmd.Stdin = strings.NewReader(in.String())
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return path
}

func numberedPairs(format string, n int) (pairs []string) {
	for i := range n {
		pairs = append(pairs, fmt.Sprintf(format, i, i))
	}
	return pairs
}

// TestRocksDBReadsWhatWasIngested takes in tables by RocksDB and by ourselves, between writes, and
// lets RocksDB open the directory: with what is in the log only, after a compaction, and to write
// in it.
func TestRocksDBReadsWhatWasIngested(t *testing.T) {
	needTool(t, "ldb")
	dir, from := t.TempDir(), t.TempDir()
	db := open(t, dir, &engine.Options{MemtableSize: 64 << 10})
	put(t, db, strings.Join(numberedPairs("k%04d=before%d", 500), " "))
	require.NoError(t, db.DeleteRange([]byte("k0400"), []byte("k0450"), nil))
	theirs := externByRocksDB(t, filepath.Join(from, "theirs.sst"), numberedPairs("k%04d5=theirs%d", 400))
	ours := makeTable(t, vfs.OS(nil), filepath.Join(from, "ours.sst"), "-k0100..k0200 k0150=ours -k0300 k0410=ours z=ours")
	alone := makeTable(t, vfs.OS(nil), filepath.Join(from, "alone.sst"), "a=ours b=ours")
	require.NoError(t, db.Ingest(theirs, ours, alone))
	put(t, db, "k0001=after zz=after")

	require.NoError(t, db.WaitIdle(t.Context())) // no file comes or goes while it is copied
	copied := t.TempDir()                        // what a killed process leaves: its log is cut by nobody
	require.NoError(t, os.CopyFS(copied, os.DirFS(dir)))
	n := compareWithRocksDB(t, copied)
	t.Logf("killed: %d keys agree", n)
	rocksDBWritesToIt(t, copied)

	require.NoError(t, db.Put([]byte("zz last"), []byte("gone soon"), nil))
	require.NoError(t, db.Close())
	require.Equal(t, n, compareWithRocksDB(t, dir)-1)
	db = open(t, dir, nil)
	require.NoError(t, db.Checkpoint(filepath.Join(from, "checkpoint")))
	require.NoError(t, db.Compact(nil, nil))
	require.NoError(t, db.Close())
	require.Equal(t, n, compareWithRocksDB(t, dir)-1)
	require.Equal(t, n, compareWithRocksDB(t, filepath.Join(from, "checkpoint"))-1)
	rocksDBWritesToIt(t, filepath.Join(from, "checkpoint"))
}

// TestRocksDBIngestsOurTable has RocksDB take in a table of ours, in the middle of keys that it holds,
// and opens what it made of that.
func TestRocksDBIngestsOurTable(t *testing.T) {
	needTool(t, "ldb")
	dir, from := t.TempDir(), t.TempDir()
	for _, p := range []string{"a=1", "b=1", "c=1", "d=1"} {
		k, v, _ := strings.Cut(p, "=")
		run(t, "ldb", "--db="+dir, "--create_if_missing", "put", k, v)
	}
	table := makeTable(t, vfs.OS(nil), filepath.Join(from, "t.sst"), "-b c=2 e=2")
	run(t, "ldb", "--db="+dir, "ingest_extern_sst", table)
	require.Equal(t, "a : 1\nc : 2\nd : 1\ne : 2\n", run(t, "ldb", "--db="+dir, "scan"))
	db := open(t, dir, nil)
	require.Equal(t, "a=1 c=2 d=1 e=2", content(t, db, nil))
	require.NoError(t, db.Ingest(makeTable(t, vfs.OS(nil), filepath.Join(from, "u.sst"), "d=3")))
	require.Equal(t, "a=1 c=2 d=3 e=2", content(t, db, nil))
	require.NoError(t, db.Close())
	compareWithRocksDB(t, dir)
}
