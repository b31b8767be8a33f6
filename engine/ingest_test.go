package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// makeTable writes a table from words: k=v puts, -k deletes, -a..c deletes a range.
func makeTable(t testing.TB, fs vfs.FS, path, words string) string {
	t.Helper()
	w, err := engine.NewTableWriter(path, &engine.Options{FS: fs})
	require.NoError(t, err)
	defer w.Abort()
	for _, word := range strings.Fields(words) {
		if key, value, ok := strings.Cut(word, "="); ok {
			require.NoError(t, w.Put([]byte(key), []byte(value)))
		} else if lo, hi, ok := strings.Cut(word[1:], ".."); ok {
			require.NoError(t, w.DeleteRange([]byte(lo), []byte(hi)))
		} else {
			require.NoError(t, w.Delete([]byte(word[1:])))
		}
	}
	require.NoError(t, w.Close())
	return path
}

// content is everything that a database shows, as k=v.
func content(t testing.TB, db *engine.DB, s *engine.Snapshot) string {
	t.Helper()
	var words []string
	var err error
	o := &engine.IterOptions{Snapshot: s, Err: &err}
	for k, v := range db.All(o) {
		words = append(words, fmt.Sprintf("%s=%s", k, v))
	}
	require.NoError(t, err)
	return strings.Join(words, " ")
}

// shape is the tree: the tables of each level by their bounds, L0 newest first.
func shape(db *engine.DB) string {
	var b strings.Builder
	db.CurrentVersion(func(v *manifest.Version) {
		for level, tables := range v.Levels {
			for _, t := range tables {
				fmt.Fprintf(&b, "L%d[%s..%s] ", level, t.Smallest.User, t.Largest.User)
			}
		}
	})
	return strings.TrimSpace(b.String())
}

func put(t testing.TB, db *engine.DB, words string) {
	t.Helper()
	for _, word := range strings.Fields(words) {
		k, v, _ := strings.Cut(word, "=")
		require.NoError(t, db.Put([]byte(k), []byte(v), nil))
	}
}

// TestIngest is the story: tables from outside are one write, newer than those before and older than
// those after.
func TestIngest(t *testing.T) {
	fs := vfs.NewMem()
	db := open(t, "db", small(fs))
	put(t, db, "a=1 b=1 c=1 d=1 x=1")
	before := db.NewSnapshot()
	defer before.Close()

	require.NoError(t, db.Ingest(makeTable(t, fs, "one.sst", "b=2 c=2 m=2"), makeTable(t, fs, "two.sst", "-c -d..x y=2")))
	require.Equal(t, "a=1 b=2 x=1 y=2", content(t, db, nil), "the second table hides m of the first")
	require.Equal(t, "a=1 b=1 c=1 d=1 x=1", content(t, db, before), "a snapshot does not change")
	require.EqualValues(t, 7, db.Metrics().VisibleSeq, "five puts and two tables")
	require.Equal(t, "L0[c..y] L0[b..m] L0[a..x]", shape(db), "above what they overlap, which memory held")

	put(t, db, "b=3 n=3")
	const after = "a=1 b=3 n=3 x=1 y=2"
	require.Equal(t, after, content(t, db, nil), "a later write is newer")

	crashed := fs.CrashLoseUnsynced()
	require.NoError(t, db.Compact(nil, nil))
	require.Equal(t, after, content(t, db, nil))
	require.Equal(t, "a=1 b=1 c=1 d=1 x=1", content(t, db, before))
	require.NoError(t, db.Close())
	for _, left := range []*vfs.Mem{crashed, fs} {
		db = open(t, "db", small(left))
		require.Equal(t, after, content(t, db, nil), "reopened")
		checkValues(t, db)
		require.NoError(t, db.Close())
	}
	for _, path := range []string{"one.sst", "two.sst"} {
		_, err := fs.Stat(path)
		require.NoError(t, err, "the given file is still there")
	}
}

// TestIngestGoesDeep puts tables that overlap nothing into the last level, by links that write
// nothing.
func TestIngestGoesDeep(t *testing.T) {
	fs := vfs.NewMem()
	var told []engine.IngestInfo
	opts := small(fs)
	opts.Events = &engine.Events{Ingested: func(i engine.IngestInfo) { told = append(told, i) }}
	db := open(t, "db", opts)
	put(t, db, "m=1")
	require.NoError(t, db.Ingest(makeTable(t, fs, "a.sst", "a=1 c=1"), makeTable(t, fs, "x.sst", "x=1 z=1")))
	require.Equal(t, "L6[a..c] L6[x..z]", shape(db), "what memory holds lies between them and stays there")
	require.Zero(t, db.Metrics().Ledger.Cause("ingest"))
	require.NoError(t, db.Ingest(makeTable(t, fs, "b.sst", "b=2")))
	require.Equal(t, "L5[b..b] L6[a..c] L6[x..z]", shape(db))
	require.Len(t, told, 2)
	require.Equal(t, []int{2, 2}, []int{told[0].Tables, told[0].Linked})
	require.Equal(t, "a=1 b=2 c=1 m=1 x=1 z=1", content(t, db, nil))
	require.NoError(t, db.Ingest())
	require.NoError(t, db.Close())
}
