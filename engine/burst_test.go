package engine_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// TestBurst offers for a while, in the time of a bubble, more than a slow device can take, and asks
// that each write waits for a moment only, that writes go on all the time, and that Metrics names
// the longest wait.
func TestBurst(t *testing.T) {
	for _, policy := range []engine.Compaction{engine.Leveled, engine.Tiered, engine.LazyLeveled} {
		for _, device := range []time.Duration{20 * time.Millisecond, 200 * time.Millisecond} {
			t.Run(fmt.Sprintf("%s/%s a write", policy, device), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { testBurst(t, policy, device) })
			})
		}
	}
}

func testBurst(t *testing.T, policy engine.Compaction, device time.Duration) {
	fault := vfs.NewFault(vfs.NewMem())
	fault.Add(vfs.Rule{Ops: vfs.OpWrite, Path: "*.sst", Delay: device, Forever: true})
	db := open(t, "db", &engine.Options{FS: fault, Compaction: policy, Compression: engine.NoCompression,
		MemoryBudget: 16 << 20, MemtableSize: 512 << 10, CompactionThreads: 1})
	defer db.Close()

	const windows = 15
	window, pause := 50*device, device/400 // 20 MB/s at 20 ms a write
	rng := rand.New(rand.NewPCG(1, 1))
	value := make([]byte, 1000)
	var accepted [windows]int // bytes
	var longest time.Duration
	held := int64(0) // the least that writes were held to
	for begun := time.Now(); ; time.Sleep(pause) {
		at := time.Now()
		now := int(at.Sub(begun) / window)
		if now >= windows {
			break
		}
		if accepted[now] == 0 {
			if rate := db.Metrics().Stalls.Rate; rate > 0 && (held == 0 || rate < held) {
				held = rate
			}
		}
		for i := 0; i < len(value); i += 2 {
			value[i] = byte(rng.Uint32())
		}
		require.NoError(t, db.Put(fmt.Appendf(nil, "key-%08d", rng.IntN(50_000)), value, nil))
		longest = max(longest, time.Since(at))
		accepted[now] += len(value)
	}
	t.Logf("accepted in each %s: %d; held to %d bytes a second and more; longest wait %s", window, accepted, held, longest)

	require.LessOrEqual(t, longest, 100*time.Millisecond+device)
	late := accepted[windows/2:]
	sum := 0
	for _, n := range late {
		sum += n
	}
	require.Less(t, sum/len(late), accepted[0]*19/20, "nothing was slowed: too little was offered")
	require.Positive(t, held)
	require.Greater(t, slices.Min(late), slices.Max(late)/4, "by fits and starts")
	m := db.Metrics().Stalls
	require.Equal(t, longest, m.Longest)
	require.Positive(t, m.ByCause[m.LongestCause])
	require.NotEmpty(t, m.Advice)
}

// impatient returns options for a bubble in which a write waits for three seconds at most.
func impatient(fs vfs.FS) *engine.Options {
	opts := small(fs)
	opts.MaxStall = 3 * time.Second
	opts.Compression = engine.NoCompression // zstd without cgo keeps channels, which belong to one bubble
	return opts
}

// TestMaxStall: while no flush gets on, a write fails when its time is over; nothing of it is written, and
// writes go on once flushes do.
func TestMaxStall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fault := vfs.NewFault(vfs.NewMem())
		opts := impatient(fault)
		db := open(t, "db", opts)
		defer db.Close()
		device := holdBack(fault, vfs.Rule{Ops: vfs.OpWrite, Path: "*.sst"})
		value := make([]byte, 200)
		for i := 0; ; i++ {
			key := fmt.Appendf(nil, "%06d", i)
			at := time.Now()
			err := db.Put(key, value, nil)
			require.LessOrEqual(t, time.Since(at), opts.MaxStall+100*time.Millisecond)
			if err == nil {
				continue
			}
			require.ErrorIs(t, err, engine.ErrStalled)
			require.ErrorContains(t, err, "memtables")
			require.GreaterOrEqual(t, time.Since(at), opts.MaxStall)
			require.Equal(t, opts.MaxStall, db.Metrics().Stalls.Bound)
			_, err = db.Get(key)
			require.ErrorIs(t, err, engine.ErrNotFound)
			device.release()
			require.NoError(t, db.Flush())
			require.NoError(t, db.Put(key, value, nil))
			return
		}
	})
}

// TestIngestWaitsForCompaction takes in table over table while compaction does not get on. Each is a
// run; beyond a number of them an ingest waits, and gives up in time, but no other write waits for it.
func TestIngestWaitsForCompaction(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fault := vfs.NewFault(vfs.NewMem())
		opts := impatient(fault)
		db := open(t, "db", opts)
		defer db.Close()
		table := makeTable(t, fault, "t.table", "a=1 z=1")
		device := holdBack(fault, vfs.Rule{Ops: vfs.OpCreate, Path: "*.sst", Forever: true})
		defer device.release()
		for i := 0; ; i++ {
			require.Less(t, i, 40, "so many runs")
			begun := time.Now()
			put := make(chan time.Duration, 1)
			go func() {
				time.Sleep(opts.MaxStall / 2)
				at := time.Now()
				if err := db.Put([]byte("zz"), nil, nil); err != nil {
					t.Error(err)
				}
				put <- time.Since(at)
			}()
			err := db.Ingest(table)
			took := time.Since(begun)
			require.Less(t, <-put, 100*time.Millisecond)
			if err == nil {
				continue
			}
			require.ErrorIs(t, err, engine.ErrStalled)
			require.ErrorContains(t, err, "ingest into db: stalled: waited 3")
			require.InDelta(t, opts.MaxStall, took, float64(100*time.Millisecond))
			require.Greater(t, i, 12)
			break
		}
		device.release()
		require.NoError(t, db.WaitIdle(t.Context()))
		require.NoError(t, db.Ingest(table))
		require.Equal(t, "a=1 z=1 zz=", content(t, db, nil))
	})
}
