package engine_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// TestSpaceComesBackWithoutACall leaves databases alone whose every value has expired or is deleted,
// with the last of it still in memory. The clock is the test's. A table in which everything has
// expired is not even read.
func TestSpaceComesBackWithoutACall(t *testing.T) {
	const n = 4000
	key := func(i int) []byte { return fmt.Appendf(nil, "k%04d", i) }
	noSync := &engine.WriteOptions{Sync: engine.SyncNone}
	scripts := map[string]struct {
		ttl    time.Duration
		delete func(db *engine.DB) error
		reads  bool
	}{
		"expired": {ttl: time.Minute, delete: func(*engine.DB) error { return nil }},
		"deleted": {reads: true, delete: func(db *engine.DB) error {
			for i := range n {
				if err := db.Delete(key(i), noSync); err != nil {
					return err
				}
			}
			return nil
		}},
		"range deleted": {reads: true, delete: func(db *engine.DB) error { return db.DeleteRange(key(0), key(n), noSync) }},
	}
	for name, script := range scripts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := &testClock{now: time.UnixMilli(1_700_000_000_000)}
			fault := vfs.NewFault(vfs.NewMem())
			opts := small(fault)
			opts.Clock = clock
			opts.SweepOften()
			db := open(t, "db", opts)
			for i := range n {
				require.NoError(t, db.Put(key(i), make([]byte, 100), &engine.WriteOptions{Sync: engine.SyncNone, TTL: script.ttl}))
			}
			eventually := func(what string, f func(m engine.Metrics) bool) {
				t.Helper()
				require.Eventually(t, func() bool { return f(db.Metrics()) }, time.Minute, 20*time.Millisecond, what)
			}
			if script.ttl > 0 {
				eventually("memory is flushed", func(m engine.Metrics) bool {
					return m.Memtables.ActiveBytes < 1<<10 && m.Memtables.Sealed == 0 && m.Compaction.Running == 0 && m.Compaction.Debt == 0
				})
			} else {
				require.NoError(t, db.Flush()) // what is deleted below lies in tables
			}
			require.NotZero(t, db.Metrics().Space.Tables)
			reads := fault.Add(vfs.Rule{Ops: vfs.OpRead, Path: "*.sst"})
			require.NoError(t, script.delete(db))
			clock.advance(time.Minute)
			eventually("no table is left", func(m engine.Metrics) bool { return m.Space.Tables == 0 && m.Memtables.Sealed == 0 })
			if !script.reads {
				require.Zero(t, reads.Calls())
			}
			eventually("the log keeps nothing", func(m engine.Metrics) bool { return m.Space.Disk < 32<<10 })
			require.NoError(t, db.Put(key(1), []byte("again"), nil))
			requireAcked(t, db, map[string]string{string(key(1)): "again"}, "after all was gone")
			require.NoError(t, db.Close())
		})
	}
}

// TestReadOnlyBesideTrim cuts what the log has reserved while a reader is about to read it.
func TestReadOnlyBesideTrim(t *testing.T) {
	mem := vfs.NewMem()
	readerFS := vfs.NewFault(mem)
	opts := small(mem)
	opts.SweepOften()
	require.NoError(t, open(t, "db", opts).Close()) // from here on no file comes or goes
	db := open(t, "db", opts)
	log := holdBack(readerFS, vfs.Rule{Ops: vfs.OpRead, Path: "*.log"})
	put(t, db, "a=1")
	reserved := db.Metrics().Space.Disk
	var reader sync.WaitGroup
	reader.Go(func() {
		r, err := engine.OpenReadOnly("db", small(readerFS))
		if err != nil {
			t.Error(err)
			return
		}
		if got := content(t, r, nil); got != "a=1" {
			t.Errorf("the reader sees %q", got)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
	<-log.reached
	require.Eventually(t, func() bool { return db.Metrics().Space.Disk < reserved }, time.Minute, time.Millisecond)
	log.release()
	within(t, "reader", finished(&reader))
	require.NoError(t, db.Close())
}
