package engine_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// ingestScene is a database with keys in tables and in memory, of which some lie under the tables
// that come in.
func ingestScene(t *testing.T) (mem *vfs.Mem, fault *vfs.Fault, db *engine.DB, paths []string) {
	mem = vfs.NewMem()
	fault = vfs.NewFault(mem)
	paths = []string{makeTable(t, mem, "one.sst", "b=2 m=2"), makeTable(t, mem, "two.sst", "-c..e m=3")}
	opts := small(fault)
	opts.CompactionThreads = 2 // tables are brought in at the same time
	db = open(t, "db", opts)
	put(t, db, "a=1 b=1 c=1")
	require.NoError(t, db.Flush())
	put(t, db, "d=1 z=1")
	return mem, fault, db, paths
}

const (
	beforeIngest = "a=1 b=1 c=1 d=1 z=1"
	afterIngest  = "a=1 b=2 m=3 z=1"
)

// TestIngestErrorAtEachCall lets each file operation of an ingest fail in its turn, once or from
// then on. The error is one, nothing of the tables is visible, then or after a crash that follows
// the next write, their files go, and the ingest succeeds when it is tried again.
func TestIngestErrorAtEachCall(t *testing.T) {
	for _, forever := range []bool{false, true} {
		failed := 0
		for n := 0; ; n++ {
			mem, fault, db, paths := ingestScene(t)
			rule := vfs.Fail(vfs.OpChange|vfs.OpOpen|vfs.OpRead|vfs.OpStat, n)
			rule.Forever = forever
			rule.Match = func(op vfs.Op, _ string) bool { return op != vfs.OpRemove } // a file that stays is no error
			injection := fault.Add(rule)
			err := db.Ingest(paths...)
			hit := injection.Hits() > 0
			what := fmt.Sprintf("call %d, forever %v: %v", n, forever, err)
			want := afterIngest
			if err != nil {
				require.ErrorIs(t, err, vfs.ErrInjected, what)
				require.ErrorContains(t, err, "ingest into db: ", what)
				want = beforeIngest
				failed++
			}
			injection.Remove()
			require.Equal(t, want, content(t, db, nil), what)
			crashed := mem.CrashLoseUnsynced()

			require.Eventually(t, func() bool { return db.Put([]byte("y"), []byte("1"), nil) == nil }, time.Minute, time.Millisecond, what)
			wantLater := strings.Replace(want, "z=1", "y=1 z=1", 1)
			require.Equal(t, wantLater, content(t, db, nil), what)
			require.Eventually(t, func() bool { return db.WaitIdle(t.Context()) == nil }, time.Minute, time.Millisecond, what)
			requireOnlyTreeFiles(t, mem, db, what)
			later := mem.CrashLoseUnsynced()
			if err != nil {
				require.NoError(t, db.Ingest(paths...), what)
				require.Equal(t, "a=1 b=2 m=3 y=1 z=1", content(t, db, nil), what)
			}
			require.NoError(t, db.Close(), what)

			// A write that failed may come back until the next one succeeds, but whole.
			requireReopens(t, crashed, what, want, afterIngest)
			requireReopens(t, later, what, wantLater)
			if !hit {
				break
			}
		}
		require.Greater(t, failed, 15)
		t.Logf("%d failed ingests, forever %v", failed, forever)
	}
}

// requireReopens wants one of the contents in what a crash left.
func requireReopens(t *testing.T, mem *vfs.Mem, what string, contents ...string) {
	t.Helper()
	db, err := engine.Open("db", small(mem))
	require.NoError(t, err, what)
	require.Contains(t, contents, content(t, db, nil), what)
	require.NoError(t, db.Close())
}

// requireOnlyTreeFiles wants no table in the directory that the tree does not hold.
func requireOnlyTreeFiles(t *testing.T, fs vfs.FS, db *engine.DB, what string) {
	t.Helper()
	var want []string
	db.CurrentVersion(func(v *manifest.Version) {
		for _, tables := range v.Levels {
			for _, table := range tables {
				want = append(want, filename.Base(filename.Table, table.Num))
			}
		}
	})
	slices.Sort(want)
	require.Equal(t, want, tableFiles(t, fs), what)
}

// TestManifestLostIngest cuts the edit of an ingest from the manifest: the log tells of it.
func TestManifestLostIngest(t *testing.T) {
	mem := vfs.NewMem()
	table := makeTable(t, mem, "t.sst", "x=2")
	db := open(t, "db", small(mem))
	put(t, db, "a=1")
	before := manifestBytes(t, mem)
	require.NoError(t, db.Ingest(table))
	put(t, db, "b=1")
	crashed := mem.CrashLoseUnsynced()
	require.NoError(t, db.Close())

	name := manifestName(t, crashed)
	require.Greater(t, len(readFile(t, crashed, name)), len(before))
	writeFile(t, crashed, name, before)
	_, err := engine.Open("db", small(crashed))
	require.ErrorIs(t, err, engine.ErrCorruption)
	require.ErrorContains(t, err, "tables were ingested up to sequence number 2")
}

func manifestName(t *testing.T, fs vfs.FS) string {
	t.Helper()
	num, err := filename.ReadCurrent(fs, "db")
	require.NoError(t, err)
	return filename.Path("db", filename.Manifest, num)
}

func manifestBytes(t *testing.T, fs vfs.FS) []byte { return readFile(t, fs, manifestName(t, fs)) }

// TestIngestSyncsTheTable takes in a table that its writer has not synced, and cuts the power.
func TestIngestSyncsTheTable(t *testing.T) {
	mem := vfs.NewMem()
	bytes := readFile(t, mem, makeTable(t, mem, "synced.sst", "a=1"))
	writeFile(t, mem, "t.sst", bytes)
	db := open(t, "db", small(mem))
	require.NoError(t, db.Ingest("t.sst"))
	crashed := mem.CrashLoseUnsynced()
	require.NoError(t, db.Close())
	requireReopens(t, crashed, "unsynced table", "a=1")
}

// TestIngestBetweenLogs ends a log right after an ingest: what the next one says of its end holds.
func TestIngestBetweenLogs(t *testing.T) {
	mem := vfs.NewMem()
	db := open(t, "db", small(mem))
	value := make([]byte, 40_000)
	require.NoError(t, db.Put([]byte("a"), value, nil))
	require.NoError(t, db.Put([]byte("b"), value, nil)) // the memtable is full
	require.NoError(t, db.Ingest(makeTable(t, mem, "t.sst", "x=1")))
	put(t, db, "c=1") // starts a log
	require.Equal(t, 2, db.Metrics().Log.Segments)
	crashed := mem.CrashLoseUnsynced()
	require.NoError(t, db.Close())
	db = open(t, "db", small(crashed))
	require.EqualValues(t, 4, db.Metrics().VisibleSeq)
	put(t, db, "a=1 b=1")
	require.Equal(t, "a=1 b=1 c=1 x=1", content(t, db, nil))
	require.NoError(t, db.Close())
}
