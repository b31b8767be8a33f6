package compaction

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"slices"
	"strings"
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
		"parts": func(tr *tree) (*Result, error) {
			tr.parts, tr.options.TargetFileBytes = 3, 2<<10
			plan := tr.policy.Pick(tr.v, nil)
			require.GreaterOrEqual(t, plan.MaxParts(2<<10), 3)
			return Run(context.Background(), tr.env(), plan)
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
	plan := Manual(tr.v, nil, nil, 0)
	in, err := newInputs(tr.env(), plan, newBeneath(tr.v, plan))
	require.NoError(t, err)
	all := &reading{in: in, keys: keyRange{hiOpen: true}}
	it, err := all.open()
	require.NoError(t, err)
	n := uint64(0)
	for ok := it.First(); ok; ok = it.Next() {
		n++
	}
	require.NoError(t, in.verify(n))
	require.ErrorContains(t, in.verify(n-1), "the input tables hold")
	require.NoError(t, all.close())

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
	env.NewFileNum = func() uint64 { cancel(stop); return 10 + tr.nextNum.Add(1) }
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
	require.Equal(t, tr.rewritten.Load(), limited)
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
	require.Equal(t, manifest.TableStats{Entries: 5, Deletes: 2, Hidden: 1, Expiring: 1, MinExpiry: tr.now + 5, MaxExpiry: tr.now + 5, BlobRefsKnown: true, Known: true}, stats)
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
