package engine

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/compaction"
	"github.com/cambiumdb/cambium/internal/vfs"
)

func TestLoad(t *testing.T) {
	const mib = 1 << 20
	for _, c := range []struct {
		name string
		load load
		mib  float64
	}{
		{"nothing is written", load{cost: 5}, math.Inf(1)},
		{"hardly anything", load{writes: mib / 2, cost: 5}, math.Inf(1)},
		{"a little: what costs nobody much", load{writes: 2 * mib, cost: 5}, 64},
		{"half again as much as the writes cost", load{writes: 100 * mib, cost: 4}, 600},
		{"what they cost is not known yet", load{writes: 100 * mib}, 300},
		{"half the way to where writes are slowed", load{writes: 100 * mib, cost: 4, behind: 0.5}, 1200},
		{"writes are slowed", load{writes: 100 * mib, cost: 4, behind: 1}, math.Inf(1)},
		{"somebody said how much", load{fixed: 10 * mib, writes: 100 * mib, cost: 4, behind: 1}, 10},
	} {
		t.Run(c.name, func(t *testing.T) { require.Equal(t, c.mib*mib, c.load.limit()) })
	}
}

// TestLimiterFollowsTheLoad: the bound comes with the writes and goes with them.
func TestLimiterFollowsTheLoad(t *testing.T) {
	now := time.Unix(0, 0)
	l := newLimiter(now)
	require.Zero(t, l.take(1<<40, false, now), "nothing is written")
	user := int64(0)
	for range 50 {
		now = now.Add(lookEvery)
		require.True(t, l.due(now))
		user += 10 << 20 // 100 MiB a second
		l.look(user, 3*user, 0, 0, now)
	}
	require.InDelta(t, 450<<20, l.rate, 5<<20)
	require.False(t, l.due(now))
	now = now.Add(lookEvery)
	l.look(user, 3*user, 0, 0, now)
	require.True(t, math.IsInf(l.rate, 1), "no write since")
}

// TestLimiterOrder: L0 goes before deeper levels, and no more is given out than there is.
func TestLimiterOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		db := openLimited(t, 1<<20)
		defer db.Close()
		begun := time.Now()
		var took [2]time.Duration
		var wg sync.WaitGroup
		for level := range took {
			wg.Go(func() {
				turn := db.newTurn(&compaction.Plan{Inputs: []compaction.Input{{Level: level}}})
				for range 40 {
					if err := turn.Wait(t.Context(), 64<<10); err != nil {
						t.Error(err)
					}
				}
				took[level] = time.Since(begun)
			})
		}
		wg.Wait()
		require.InDelta(t, 5, took[1].Seconds(), 0.2, "5 MiB at 1 MiB a second")
		require.InDelta(t, 2.5, took[0].Seconds(), 0.2, "L0 waits for nobody")
	})
}

func openLimited(t *testing.T, rate int64) *DB {
	db, err := Open("db", &Options{FS: vfs.NewMem(), MemoryBudget: MinMemoryBudget, MemtableSize: 64 << 10,
		Compression: NoCompression, CompactionRate: rate, CompactionThreads: 1})
	require.NoError(t, err)
	return db
}

// TestCompactionRate: a database settles at the rate that was set, and Close waits for no token.
func TestCompactionRate(t *testing.T) {
	fill := func(db *DB) {
		rng := rand.New(rand.NewPCG(1, 1))
		value := make([]byte, 1000)
		for range 5000 {
			for i := range value {
				value[i] = byte(rng.Uint32())
			}
			require.NoError(t, db.Put(value[:8], value, nil))
		}
		require.NoError(t, db.Flush())
	}
	synctest.Test(t, func(t *testing.T) {
		const rate = 1 << 20
		db := openLimited(t, rate)
		begun := time.Now()
		fill(db)
		require.NoError(t, db.Compact(nil, nil))
		require.NoError(t, db.WaitIdle(context.Background()))
		_, compacted := db.ledger.costOfCompaction()
		require.Greater(t, compacted, int64(5000*1000))
		require.InDelta(t, float64(compacted)/rate, time.Since(begun).Seconds(), 1)
		require.NoError(t, db.Close())
	})
	synctest.Test(t, func(t *testing.T) {
		db := openLimited(t, 1)
		fill(db)
		done := make(chan error)
		go func() { done <- db.Compact(nil, nil) }()
		time.Sleep(time.Minute)
		begun := time.Now()
		require.NoError(t, db.Close())
		require.ErrorIs(t, <-done, ErrClosed)
		require.Zero(t, time.Since(begun))
	})
}
