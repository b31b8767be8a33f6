package inspect_test

import (
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
)

// testdata/tiny is a database of a few keys whose bytes never change, times and ids included:
// what is printed of it can be compared as a whole, and a later engine must still read it. It
// has a table on the last level, one on level 0, and a log with the newest writes.
const tiny = "testdata/tiny"

var remake = flag.Bool("remake-tiny", false, "make testdata/tiny anew; what is printed of it changes then")

type fixedClock time.Time

func (c fixedClock) Now() time.Time { return time.Time(c) }

func TestRemakeTiny(t *testing.T) {
	if !*remake {
		t.Log("testdata/tiny stays as it is: -remake-tiny makes it anew")
		return
	}
	require.NoError(t, os.RemoveAll(tiny))
	clock := fixedClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	db, err := engine.Open(tiny, &engine.Options{Clock: clock})
	require.NoError(t, err)
	put := func(k, v string, opts *engine.WriteOptions) {
		require.NoError(t, db.Put([]byte(k), []byte(v), opts))
	}
	for _, k := range []string{"a", "b", "c", "d", "e"} {
		put(k, "old "+k, nil)
	}
	put("gone", "was here", nil)
	put("\xff\x00\x01", "\x00binary\xfe", nil)
	require.NoError(t, db.Compact(nil, nil))
	defer db.NewSnapshot().Close() // keeps what is deleted next from being compacted at once
	put("b", "new b", nil)
	require.NoError(t, db.Delete([]byte("c"), nil))
	require.NoError(t, db.DeleteRange([]byte("g"), []byte("h"), nil))
	put("session", "expires long after", &engine.WriteOptions{TTL: 200 * 365 * 24 * time.Hour})
	put("stale", "has expired", &engine.WriteOptions{TTL: time.Hour})
	require.NoError(t, db.Flush())
	require.NoError(t, db.WaitIdle(t.Context()))
	b := db.NewBatch()
	b.Put([]byte("d"), []byte("tab\there, back\\slash, \"quotes\""))
	b.Delete([]byte("e"))
	b.Put([]byte("log only"), []byte(""))
	require.NoError(t, db.Apply(b, nil))
	put("naïve", "<ü&é>\u2028", &engine.WriteOptions{Sync: engine.SyncNone})
	require.NoError(t, db.Close())
	require.NoError(t, os.Remove(filepath.Join(tiny, "LOCK")))
}
