package engine_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// TestManifestAheadOfLogs opens a directory whose manifest knows of later sequence numbers than the
// logs that are still needed end with: edits that are not flushes, RocksDB's among them, say them.
func TestManifestAheadOfLogs(t *testing.T) {
	fs := vfs.NewMem()
	db := open(t, "db", small(fs))
	value := make([]byte, 40_000) // one fills a memtable: a log each
	const values = 4              // one in use and three sealed, too few to be flushed
	for i := range values {
		require.NoError(t, db.Put(fmt.Appendf(nil, "k%d", i), value, nil))
	}
	require.Greater(t, db.Metrics().Log.Segments, 2, "several logs have to be replayed")
	crashed := fs.CrashLoseUnsynced()
	require.NoError(t, db.Close())

	const ahead = 1000
	set, err := manifest.Recover(crashed, "db", manifest.Options{})
	require.NoError(t, err)
	set.SetLastSeq(ahead)
	require.NoError(t, set.Apply(&manifest.Edit{}))
	require.NoError(t, set.Close())

	db, err = engine.OpenReadOnly("db", small(crashed))
	require.NoError(t, err)
	require.NoError(t, db.Close())
	db = open(t, "db", small(crashed))
	for i := range values {
		v, err := db.Get(fmt.Appendf(nil, "k%d", i))
		require.NoError(t, err)
		require.Equal(t, value, v)
	}
	require.EqualValues(t, ahead, db.Metrics().VisibleSeq)
	require.NoError(t, db.Put([]byte("k0"), []byte("after"), nil))
	require.EqualValues(t, ahead+1, db.Metrics().VisibleSeq)
	require.NoError(t, db.Close())
}
