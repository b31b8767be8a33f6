package compaction

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/iterator"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable"
	"github.com/cambiumdb/cambium/sstable/blob"
	"github.com/cambiumdb/cambium/sstable/block"
)

var small = Options{BaseBytes: 24 << 10, TargetFileBytes: 8 << 10}

// TestSimulation writes, flushes, compacts, takes and drops snapshots and lets time pass at
// random, and compares every view with the model after every step that rewrites something.
func TestSimulation(t *testing.T) {
	for seed := range int64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewSource(seed))
			o := Options{BaseBytes: 2 << 10 << rng.Intn(4), TargetFileBytes: 1 << 10 << rng.Intn(3), Ratio: 3 + rng.Intn(8)}
			tr := newTree(t, o)
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
	rng := rand.New(rand.NewSource(5))
	tr := newTree(t, Options{BaseBytes: 4 << 10, TargetFileBytes: 2 << 10})
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
	var busy Reservations
	var nums atomic.Uint64
	nums.Store(tr.nextNum)
	most, running := 0, 0
	worker := func() error {
		for {
			mu.Lock()
			plan := tr.policy.Pick(tr.v, &busy)
			if plan == nil && running > 0 {
				mu.Unlock()
				runtime.Gosched()
				continue
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
			env.NewFileNum = func() uint64 { return nums.Add(1) }
			env.Wrote = nil
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
	amp := float64(tr.flushed+tr.rewritten) / float64(tr.flushed)
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
	require.Zero(t, tr.rewritten)
	require.Less(t, len(tr.v.Levels[0]), 4)
}

// TestErrorAtEveryCall fails each file operation of a compaction in turn, and then of a flush.
// Whatever fails, Run says so, the inputs stay as they were, and no output is left behind
// except where removing it is what failed.
func TestErrorAtEveryCall(t *testing.T) {
	build := func(t *testing.T) (*tree, *vfs.Fault) {
		rng := rand.New(rand.NewSource(7))
		tr := newTree(t, Options{BaseBytes: 1 << 20, TargetFileBytes: 4 << 10})
		for range 5 {
			tr.workload(rng, 60, 100, 200)
			_, err := tr.flush()
			require.NoError(t, err)
		}
		tr.settle()
		for range 4 {
			tr.workload(rng, 60, 100, 200)
			_, err := tr.flush()
			require.NoError(t, err)
		}
		fault := vfs.NewFault(tr.mem)
		tr.fs = fault
		return tr, fault
	}
	jobs := map[string]func(tr *tree) (*Result, error){
		"run": func(tr *tree) (*Result, error) {
			return Run(context.Background(), tr.env(), tr.policy.Pick(tr.v, nil))
		},
		"flush": func(tr *tree) (*Result, error) {
			tr.workload(rand.New(rand.NewSource(8)), 60, 100, 200)
			return tr.flush()
		},
	}
	for name, job := range jobs {
		t.Run(name, func(t *testing.T) {
			tr, fault := build(t)
			all := vfs.OpAny &^ vfs.OpPreallocate
			count := fault.Add(vfs.Rule{Ops: all})
			_, err := job(tr)
			require.NoError(t, err)
			calls := count.Calls()
			require.Greater(t, calls, 5)
			t.Logf("%d calls", calls)
			for n := range calls {
				for _, short := range []bool{false, true} {
					tr, fault := build(t)
					names, err := tr.mem.List(treeDir)
					require.NoError(t, err)
					hit := fault.Add(vfs.Rule{Ops: all, Skip: n, Err: vfs.ErrInjected, Short: short})
					r, err := job(tr)
					require.Equal(t, 1, hit.Hits())
					fault.Clear()
					if err == nil {
						// A read-only file whose Close fails has been read all the same.
						require.NotNil(t, r)
						continue
					}
					require.ErrorIs(t, err, vfs.ErrInjected)
					require.Nil(t, r)
					require.Zero(t, fault.Resyncs())
					left, err := tr.mem.List(treeDir)
					require.NoError(t, err)
					require.Equal(t, names, left, "call %d: %v", n, err)
					tr.check()
				}
			}
		})
	}
}

// TestErrorThatSticks fails every call from some point on, so that even removing fails.
func TestErrorThatSticks(t *testing.T) {
	tr := newTree(t, small)
	tr.workload(rand.New(rand.NewSource(1)), 100, 100, 100)
	_, err := tr.flush()
	require.NoError(t, err)
	fault := vfs.NewFault(tr.mem)
	tr.fs = fault
	fault.Add(vfs.Rule{Ops: vfs.OpChange &^ vfs.OpCreate, Forever: true, Err: vfs.ErrNoSpace})
	_, err = Run(context.Background(), tr.env(), Manual(tr.v, nil, nil, 0))
	require.ErrorIs(t, err, vfs.ErrNoSpace)
	fault.Clear()
	tr.check()
}

// TestMissingEntriesAreFound gives Run a table that claims more than it holds, by lying about
// what was read: the proof must fire.
func TestMissingEntriesAreFound(t *testing.T) {
	tr := newTree(t, small)
	tr.workload(rand.New(rand.NewSource(1)), 100, 100, 100)
	_, err := tr.flush()
	require.NoError(t, err)
	in := inputs{env: tr.env(), plan: Manual(tr.v, nil, nil, 0)}
	it, _, err := in.open()
	require.NoError(t, err)
	n := uint64(0)
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	require.NoError(t, in.verify(n))
	require.ErrorContains(t, in.verify(n-1), "the input tables hold")
	require.NoError(t, in.close())

	// A table whose statistics hide its range tombstones would bring deleted keys back.
	tr.deleteRange("a", "z")
	_, err = tr.flush()
	require.NoError(t, err)
	tr.v.Levels[0][0].Stats.RangeDeletes = 0
	_, err = Run(context.Background(), tr.env(), Manual(tr.v, nil, nil, 0))
	require.ErrorContains(t, err, "range tombstones that its statistics do not count")
}

func TestCancellation(t *testing.T) {
	tr := newTree(t, small)
	for i := range 3000 {
		tr.put(fmt.Sprintf("key%05d", i), make([]byte, 100))
	}
	_, err := tr.flush()
	require.NoError(t, err)
	before, err := tr.mem.List(treeDir)
	require.NoError(t, err)

	stop := errors.New("closing")
	ctx, cancel := context.WithCancelCause(context.Background())
	env := tr.env()
	env.NewFileNum = func() uint64 { cancel(stop); tr.nextNum++; return tr.nextNum }
	_, err = Run(ctx, env, Manual(tr.v, nil, nil, 0))
	require.ErrorIs(t, err, stop)

	env = tr.env()
	env.Limiter = limiterFunc(func(context.Context, int) error { return stop })
	_, err = Run(context.Background(), env, Manual(tr.v, nil, nil, 0))
	require.ErrorIs(t, err, stop)

	after, err := tr.mem.List(treeDir)
	require.NoError(t, err)
	require.Equal(t, before, after)
	tr.check()
}

type limiterFunc func(ctx context.Context, n int) error

func (f limiterFunc) Wait(ctx context.Context, n int) error { return f(ctx, n) }

// TestCrashKeepsOutputs loses everything that was not synced right after Run.
func TestCrashKeepsOutputs(t *testing.T) {
	tr := newTree(t, small)
	require.NoError(t, tr.mem.SyncDir("."))
	rng := rand.New(rand.NewSource(3))
	for range 4 {
		tr.workload(rng, 100, 100, 100)
		_, err := tr.flush()
		require.NoError(t, err)
	}
	tr.run(tr.policy.Pick(tr.v, nil))
	tr.mem = tr.mem.CrashLoseUnsynced()
	tr.fs = tr.mem
	tr.check()
}

// TestLedgerAndLimiter count the same bytes, which are those of the files up to the padding of
// the last page.
func TestLedgerAndLimiter(t *testing.T) {
	tr := newTree(t, small)
	rng := rand.New(rand.NewSource(1))
	for i := range 1000 {
		value := make([]byte, 100)
		rng.Read(value)
		tr.put(fmt.Sprintf("key%05d", i), value)
	}
	_, err := tr.flush()
	require.NoError(t, err)
	limited := int64(0)
	env := tr.env()
	env.Limiter = limiterFunc(func(_ context.Context, n int) error { limited += int64(n); return nil })
	r, err := Run(context.Background(), env, Manual(tr.v, nil, nil, 0))
	require.NoError(t, err)
	require.Equal(t, tr.rewritten, limited)
	require.InDelta(t, r.BytesWritten, limited, float64(4096*len(r.Tables)))
	require.Greater(t, len(r.Tables), 3)
	require.Equal(t, tr.v.LevelBytes(0), r.BytesRead)
}

func TestFlush(t *testing.T) {
	tr := newTree(t, small)
	r, err := tr.flush()
	require.NoError(t, err)
	require.Nil(t, r, "nothing to write")

	tr.put("a", []byte("1"))
	tr.snapshots = []uint64{tr.seq}
	tr.put("a", []byte("2"))
	tr.put("a", []byte("3"))
	tr.delete("b")
	tr.putTTL("c", []byte("gone"), tr.now)
	tr.putTTL("d", []byte("stays"), tr.now+5)
	r, err = tr.flush()
	require.NoError(t, err)
	require.Equal(t, Dropped{Shadowed: 1}, r.Dropped)
	stats := r.Tables[0].Stats
	require.Equal(t, manifest.TableStats{Entries: 5, Deletes: 2, MinExpiry: tr.now + 5, MaxExpiry: tr.now + 5, Known: true}, stats)
	require.Equal(t, uint64(1), r.Tables[0].CreationTime)
	table, release, err := tr.openTable(r.Tables[0])
	require.NoError(t, err)
	require.Equal(t, tr.now+5, table.Properties().ExpiryMin)
	require.Equal(t, uint64(1), table.Properties().ExpiryCount)
	release()
	tr.check()

	tr.deleteRange("a", "z")
	r, err = tr.flush()
	require.NoError(t, err)
	require.Zero(t, r.In)
	require.True(t, r.Tables[0].Largest.IsExclusiveBound())
	tr.check()
	tr.snapshots = nil
	tr.compactAll()
	require.Zero(t, tr.bytes(), "everything is deleted")
}

// TestWideData takes the longest keys and values that any limit allows.
func TestWideData(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 64 MiB values")
	}
	tr := newTree(t, Options{})
	key := func(c string) string { return strings.Repeat(c, 64<<10) }
	big := make([]byte, 64<<20)
	for i := range big {
		big[i] = byte(i >> 12)
	}
	tr.put(key("a"), big)
	tr.put(key("b"), []byte("x"))
	tr.deleteRange(key("c"), key("d"))
	_, err := tr.flush()
	require.NoError(t, err)
	tr.put(key("b"), nil)
	tr.put("", []byte("the empty key of a foreign directory"))
	_, err = tr.flush()
	require.NoError(t, err)
	tr.compactAll()
	tr.check()
}

// TestBlobReferences keeps foreign references as they are and accounts for those that go.
func TestBlobReferences(t *testing.T) {
	tr := newTree(t, small)
	ref := func(file, size uint64) []byte {
		return blob.Index{File: file, Offset: 100, Size: size, Compression: block.None}.Encode(nil)
	}
	tr.write("a", ikey.KindBlobIndex, ref(3, 1000), 0)
	tr.write("b", ikey.KindBlobIndex, ref(3, 2000), 0)
	tr.write("c", ikey.KindBlobIndex, ref(2, 500), 0)
	r, err := tr.flush()
	require.NoError(t, err)
	require.Equal(t, uint64(2), r.Tables[0].OldestBlob)
	tr.put("a", []byte("inline"))
	tr.delete("c")
	_, err = tr.flush()
	require.NoError(t, err)

	env := tr.env()
	env.Version = manifest.NewVersion(tr.v.Levels, []*manifest.Blob{{Num: 2, Count: 5, Bytes: 9999}, {Num: 3, Count: 5, Bytes: 9999}})
	r, err = Run(context.Background(), env, Manual(env.Version, nil, nil, 0))
	require.NoError(t, err)
	require.Equal(t, []manifest.BlobGarbage{{Num: 2, Count: 1, Bytes: 32 + 1 + 500}, {Num: 3, Count: 1, Bytes: 32 + 1 + 1000}}, r.Edit.BlobGarbage)
	require.Equal(t, uint64(3), r.Tables[0].OldestBlob)
	tr.install(r)
	tr.check()
}

func TestMergeOperandsAreRefusedByName(t *testing.T) {
	tr := newTree(t, small)
	tr.write("counter", ikey.KindMerge, []byte("+1"), 0)
	_, err := tr.flush()
	require.ErrorContains(t, err, `"counter"`)
	require.ErrorContains(t, err, "merge operators are not supported")
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

// benchmarkInputs makes four tables of L0 that interleave, each with entries entries.
func benchmarkInputs(b *testing.B, entries int) *tree {
	tr := newTree(b, Options{})
	for run := range 4 {
		for i := range entries {
			tr.pending = append(tr.pending, iterator.Entry{
				Key:   ikey.Make(fmt.Appendf(nil, "key%013d", i*4+run), uint64(run*entries+i+1), ikey.KindSet),
				Value: make([]byte, 100),
			})
		}
		tr.seq += uint64(entries)
		_, err := tr.flush()
		require.NoError(b, err)
	}
	return tr
}

func BenchmarkRun(b *testing.B) {
	const entries = 100_000
	tr := benchmarkInputs(b, entries)
	plan := Manual(tr.v, nil, nil, 0)
	env := tr.env()
	env.TargetFileBytes = 16 << 20
	env.WriterOptions = func(int) sstable.WriterOptions { return sstable.WriterOptions{BitsPerKey: 10} }
	b.SetBytes(4 * entries * 124)
	b.ReportAllocs()
	for b.Loop() {
		r, err := Run(context.Background(), env, plan)
		require.NoError(b, err)
		require.Equal(b, uint64(4*entries), r.Out)
		names, err := tr.mem.List(treeDir)
		require.NoError(b, err)
		for _, name := range names {
			if !slices.ContainsFunc(tr.v.Levels[0], func(t *manifest.Table) bool { return strings.HasPrefix(name, fmt.Sprintf("%06d", t.Num)) }) {
				require.NoError(b, tr.mem.Remove(treeDir+"/"+name))
			}
		}
	}
}
