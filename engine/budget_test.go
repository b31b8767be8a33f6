package engine

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/entity"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/wal"
)

// TestDivide draws what becomes of a budget: memtables beside the active one, how many of them are
// flushed together, and the cache. All of it lies within the budget.
func TestDivide(t *testing.T) {
	const mib = 1 << 20
	var b strings.Builder
	for _, o := range []Options{
		{MemoryBudget: 1 << 30, MemtableSize: 64 * mib},
		{MemoryBudget: 1 << 30, MemtableSize: 256 * mib},
		{MemoryBudget: 1 << 30, MemtableSize: 4 * mib},
		{MemoryBudget: 256 * mib, MemtableSize: 64 * mib},
		{MemoryBudget: 256 * mib, MemtableSize: 4 * mib},
		{MemoryBudget: 8 * mib, MemtableSize: 64 << 10},
		*FlushOften(Options{MemoryBudget: 8 * mib, MemtableSize: 64 << 10}),
	} {
		o, err := o.withDefaults()
		require.NoError(t, err)
		d := divide(o)
		fmt.Fprintf(&b, "%4d MiB, %6d KiB memtables: %2d sealed, %2d together, cache %d MiB\n",
			o.MemoryBudget/mib, o.MemtableSize>>10, d.maxSealed, d.flushTogether, d.cache/mib)
		require.LessOrEqual(t, d.cache+d.memtable*int64(1+d.maxSealed), o.MemoryBudget)
	}
	require.Equal(t, strings.TrimLeft(`
1024 MiB,  65536 KiB memtables:  7 sealed,  2 together, cache 384 MiB
1024 MiB, 262144 KiB memtables:  1 sealed,  1 together, cache 384 MiB
1024 MiB,   4096 KiB memtables: 32 sealed, 16 together, cache 764 MiB
 256 MiB,  65536 KiB memtables:  1 sealed,  1 together, cache 96 MiB
 256 MiB,   4096 KiB memtables: 15 sealed,  7 together, cache 160 MiB
   8 MiB,     64 KiB memtables: 31 sealed, 15 together, cache 5 MiB
   8 MiB,     64 KiB memtables:  8 sealed,  4 together, cache 6 MiB
`, "\n"), b.String())
}

// TestLend: the cache has what memtables do not need, less two of them, and gives it back as they come to be.
func TestLend(t *testing.T) {
	const mib = 1 << 20
	opts := &Options{MemoryBudget: 64 * mib, MemtableSize: mib, Sync: SyncNone}
	opts.SweepOften()
	db, err := Open(t.TempDir(), opts)
	require.NoError(t, err)
	defer func() { require.NoError(t, db.Close()) }()
	requireLent := func(memtables int) {
		t.Helper()
		want := db.budget.cacheBytes(memtables)
		require.LessOrEqual(t, want+int64(memtables+2)*mib, int64(64*mib*7/8))
		require.Eventually(t, func() bool { return db.Metrics().Cache.Capacity == want }, time.Minute, time.Millisecond)
	}
	requireLent(1)
	require.Equal(t, db.budget.cache+13*mib, db.budget.cacheBytes(1))
	for i := 0; db.Metrics().Memtables.Sealed < 4; i++ {
		require.NoError(t, db.Put(fmt.Appendf(nil, "%06d", i), make([]byte, 1000), nil))
	}
	requireLent(5)
	require.NoError(t, db.Flush())
	requireLent(1)
}

// TestBatchFitsTheLog: whatever the budget, a batch that is taken can be replayed.
func TestBatchFitsTheLog(t *testing.T) {
	around := int64(batch.OpLen(ikey.KindEntity, 1<<16, 1<<26)-1<<16-1<<26) + int64(len(entity.Encode(nil, nil, 1<<62)))
	for _, budget := range []int64{8 << 20, 1 << 30, 4 << 30, 1 << 40} {
		o, err := (&Options{MemoryBudget: budget, MaxKeyBytes: 64 << 10, MaxValueBytes: 64 << 20}).withDefaults()
		require.NoError(t, err)
		require.LessOrEqual(t, o.maxBatchBytes()+around, int64(wal.MaxRecord), "%d", budget)
		require.Greater(t, o.maxBatchBytes(), int64(2*o.MaxValueBytes))
	}
}

// TestWrittenIsCached: what a flush or a merge wrote is read from memory as long as the cache has room, and only then.
func TestWrittenIsCached(t *testing.T) {
	for _, c := range []struct {
		budget int64
		all    bool
	}{{64 << 20, true}, {MinMemoryBudget, false}} {
		db, err := Open(t.TempDir(), &Options{MemoryBudget: c.budget, MemtableSize: 1 << 20, Sync: SyncNone})
		require.NoError(t, err)
		defer func() { require.NoError(t, db.Close()) }()
		const keys = 16 << 10
		value := make([]byte, 1000)
		key := func(i int) []byte { return fmt.Appendf(nil, "key%06d", i) }
		for i := range keys {
			require.NoError(t, db.Put(key(i), value, nil))
		}
		require.NoError(t, db.Compact(nil, nil))
		before := db.Metrics().Reads.BlockReads
		for i := range keys {
			_, err := db.Get(key(i))
			require.NoError(t, err)
		}
		read := db.Metrics().Reads.BlockReads - before
		require.Equal(t, c.all, read < 8, "%d blocks were read", read) // indexes and filters are
		require.LessOrEqual(t, db.Metrics().Cache.Bytes, db.Metrics().Cache.Capacity)
	}
}
