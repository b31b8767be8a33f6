package compaction

import (
	"context"
	"fmt"
	"math/rand"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/ikey"
)

// TestSimulation writes, flushes, compacts, takes and drops snapshots and lets time pass at
// random, and compares every view with the model after every step that rewrites something.
func TestSimulation(t *testing.T) {
	for seed := range int64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewSource(seed))
			o := Options{BaseBytes: 2 << 10 << rng.Intn(4), TargetFileBytes: 1 << 10 << rng.Intn(3), Ratio: 3 + rng.Intn(8)}
			tr := newTree(t, o)
			tr.parts = 1 + rng.Intn(4)
			for range 30 {
				tr.workload(rng, 20+rng.Intn(120), 400, 150)
				if rng.Intn(3) == 0 {
					tr.snapshots = append(tr.snapshots, tr.seq)
				}
				if rng.Intn(4) == 0 && len(tr.snapshots) > 0 {
					i := rng.Intn(len(tr.snapshots))
					tr.snapshots = slices.Delete(tr.snapshots, i, i+1)
				}
				tr.now += uint64(rng.Intn(60))
				_, err := tr.flush()
				require.NoError(t, err)
				tr.check()
				if plan := tr.policy.Pick(tr.v, nil); plan != nil && rng.Intn(2) == 0 {
					tr.run(plan)
					tr.check()
				}
				if plan := tr.randomPlan(rng); plan != nil {
					tr.run(plan)
					tr.check()
				}
				if rng.Intn(8) == 0 {
					tr.settle()
					tr.check()
				}
			}
			tr.settle()
			tr.check()
			tr.compactAll()
			tr.check()

			// Without readers, nothing is left but the newest values.
			tr.snapshots = nil
			tr.compactAll()
			tr.check()
			live := len(tr.modelAt(ikey.MaxSeq))
			entries := uint64(0)
			for _, level := range tr.v.Levels {
				for _, table := range level {
					entries += table.Stats.Entries
					require.Zero(t, table.Stats.Deletes)
					require.Zero(t, table.Stats.RangeDeletes)
				}
			}
			require.Equal(t, live, int(entries))
		})
	}
}

// TestParallel lets four workers compact one tree at the same time.
func TestParallel(t *testing.T) {
	for name := range makers {
		t.Run(name, func(t *testing.T) { testParallel(t, makers[name]) })
	}
}

func testParallel(t *testing.T, maker func(Options) Policy) {
	rng := rand.New(rand.NewSource(5))
	o := Options{BaseBytes: 4 << 10, TargetFileBytes: 2 << 10, MaxSpace: 1.2, MaxRuns: 9}
	tr := newTree(t, o)
	tr.policy = maker(o)
	for range 40 {
		for range 100 {
			tr.put(fmt.Sprintf("key%05d", rng.Intn(3000)), make([]byte, 50))
		}
		tr.workload(rng, 5, 3000, 50)
		_, err := tr.flush()
		require.NoError(t, err)
		if tr.policy.Pick(tr.v, nil) != nil && rng.Intn(4) == 0 {
			tr.run(tr.policy.Pick(tr.v, nil))
		}
	}
	var mu sync.Mutex // guards tr, most and running
	done := sync.NewCond(&mu)
	var busy Reservations
	most, running := 0, 0
	worker := func() error {
		for {
			mu.Lock()
			plan := tr.policy.Pick(tr.v, &busy)
			for plan == nil && running > 0 {
				done.Wait()
				plan = tr.policy.Pick(tr.v, &busy)
			}
			if plan == nil {
				mu.Unlock()
				return nil
			}
			if !busy.Reserve(plan) {
				mu.Unlock()
				return fmt.Errorf("picked a plan that conflicts: %s", plan)
			}
			env := tr.env()
			running++
			most = max(most, running)
			mu.Unlock()

			r, err := Run(context.Background(), env, plan)

			mu.Lock()
			if err == nil {
				err = busy.Verify(plan, tr.v)
			}
			if err == nil {
				tr.install(r)
			}
			busy.Release(plan)
			running--
			done.Broadcast()
			mu.Unlock()
			if err != nil {
				return err
			}
		}
	}
	errs := make(chan error)
	for range 4 {
		go func() { errs <- worker() }()
	}
	for range 4 {
		require.NoError(t, <-errs)
	}
	t.Logf("up to %d at a time", most)
	tr.check()
}

// TestSettledTreeIsCheap bounds what overwriting uniformly costs: a sanity check of the policy,
// not a benchmark.
func TestSettledTreeIsCheap(t *testing.T) {
	rng := rand.New(rand.NewSource(1))
	tr := newTree(t, Options{BaseBytes: 64 << 10, TargetFileBytes: 16 << 10})
	for range 80 {
		for range 160 {
			value := make([]byte, 100)
			rng.Read(value)
			tr.put(fmt.Sprintf("key%06d", rng.Intn(10_000)), value)
		}
		_, err := tr.flush()
		require.NoError(t, err)
		tr.settle()
	}
	tr.check()
	amp := float64(tr.flushed.Load()+tr.rewritten.Load()) / float64(tr.flushed.Load())
	live := int64(0)
	for user, value := range tr.modelAt(ikey.MaxSeq) {
		live += int64(len(user) + len(value))
	}
	space := float64(tr.bytes()) / float64(live)
	t.Logf("write amplification %.2f, space %.2f, levels %v", amp, space, tr.policy.Scores(tr.v))
	require.Less(t, amp, 9.0)
	require.Less(t, space, 1.6)
}

// TestSequentialLoadMoves writes keys in order: nothing is ever read again.
func TestSequentialLoadMoves(t *testing.T) {
	tr := newTree(t, small)
	for i := range 40 {
		for j := range 50 {
			tr.put(fmt.Sprintf("key%06d", i*50+j), make([]byte, 100))
		}
		_, err := tr.flush()
		require.NoError(t, err)
		tr.settle()
	}
	tr.check()
	require.Zero(t, tr.rewritten.Load())
	require.Less(t, len(tr.v.Levels[0]), 4)
}

// TestTombstonesAreCutAtOutputs spreads one tombstone over many outputs: each table's bounds
// stay its own, and none overlaps too much of the level below.
func TestTombstonesAreCutAtOutputs(t *testing.T) {
	tr := newTree(t, Options{BaseBytes: 8 << 10, TargetFileBytes: 2 << 10, L0Trigger: 1})
	value := func(i int) []byte {
		b := make([]byte, 100)
		rand.New(rand.NewSource(int64(i))).Read(b)
		return b
	}
	for i := range 2000 {
		tr.put(fmt.Sprintf("key%05d", i), value(i))
	}
	_, err := tr.flush()
	require.NoError(t, err)
	tr.compactAll()
	require.Greater(t, len(tr.v.Levels[6]), 50)
	tr.snapshots = []uint64{tr.seq} // keeps what is deleted
	tr.deleteRange("key00010", "key01990")
	tr.put("key00000", value(0))
	_, err = tr.flush()
	require.NoError(t, err)
	plan := tr.policy.Pick(tr.v, nil)
	require.Equal(t, 1, len(plan.Inputs), plan.String())
	plan.Output, plan.TrivialMove = 5, false
	plan.Grandparents = tr.v.Levels[6]
	tr.run(plan)
	tr.check()
	require.Greater(t, len(tr.v.Levels[5]), 5)
	for _, table := range tr.v.Levels[5] {
		i, j := overlapping(tr.v.Levels[6], rangeOf(table))
		require.LessOrEqual(t, totalBytes(tr.v.Levels[6][i:j]), int64(12*2<<10), table.String())
	}
	tr.snapshots = nil
	tr.settle()
	tr.check()
	require.Less(t, tr.bytes(), int64(8<<10), "the space of what is deleted comes back by itself")
}
