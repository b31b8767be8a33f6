package compaction

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"slices"
	"sort"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/entity"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/iterator"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/rangedel"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable"
	"github.com/cambiumdb/cambium/sstable/block"
)

const treeDir = "db"

// tree is the least database around this package: a memtable that is a slice, versions in
// memory, files in vfs.Mem, and beside it all a flat log of every write as the model.
type tree struct {
	t       testing.TB
	fs      vfs.FS
	mem     *vfs.Mem
	v       *manifest.Version
	policy  Policy
	options Options
	nextNum atomic.Uint64
	parts   int // into which plans are divided
	seq     uint64
	now     uint64

	snapshots []uint64
	pending   []iterator.Entry // not flushed
	pendingRD []rangedel.Tombstone
	model     []write

	flushed, rewritten atomic.Int64 // bytes
}

// write is a line of the model's log.
type write struct {
	key      ikey.Key
	value    []byte // of a range tombstone its end
	expiryMs uint64 // 0 = none
}

func newTree(t testing.TB, o Options) *tree {
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll(treeDir))
	return &tree{t: t, fs: mem, mem: mem, v: manifest.NewVersion([manifest.NumLevels][]*manifest.Table{}, nil),
		policy: NewLeveled(o), options: o, now: 1000}
}

func (tr *tree) env() *Env {
	return &Env{
		FS: tr.fs, Dir: treeDir,
		NewFileNum: func() uint64 { return 10 + tr.nextNum.Add(1) },
		OpenTable:  tr.openTable,
		WriterOptions: func(level int) sstable.WriterOptions {
			return sstable.WriterOptions{BitsPerKey: 10, Compression: block.Snappy, BlockSize: 512}
		},
		TargetFileBytes: tr.options.withDefaults().TargetFileBytes,
		Parts:           tr.parts,
		Snapshots:       slices.Clone(tr.snapshots),
		NowMillis:       tr.now,
		Version:         tr.v,
		Wrote: func(level int, reason string, bytes int64) {
			if reason == ReasonFlush {
				tr.flushed.Add(bytes)
			} else {
				tr.rewritten.Add(bytes)
			}
		},
	}
}

func (tr *tree) openTable(t *manifest.Table) (*sstable.Reader, func(), error) {
	f, err := tr.fs.Open(filename.Path(treeDir, filename.Table, t.Num), vfs.Direct)
	if err != nil {
		return nil, nil, err
	}
	r, err := sstable.Open(f, sstable.ReaderOptions{FileNum: t.Num})
	if err != nil {
		return nil, nil, err
	}
	return r, func() { _ = r.Close() }, nil // injected faults reach Close too
}

func (tr *tree) put(user string, value []byte) { tr.write(user, ikey.KindSet, value, 0) }
func (tr *tree) delete(user string)            { tr.write(user, ikey.KindDelete, nil, 0) }
func (tr *tree) putTTL(user string, value []byte, expiryMs uint64) {
	tr.write(user, ikey.KindEntity, entity.Encode(nil, value, int64(expiryMs)), expiryMs)
}

func (tr *tree) write(user string, kind ikey.Kind, value []byte, expiryMs uint64) {
	tr.seq++
	e := iterator.Entry{Key: ikey.Make([]byte(user), tr.seq, kind), Value: value}
	tr.pending = append(tr.pending, e)
	tr.model = append(tr.model, write{e.Key, value, expiryMs})
}

func (tr *tree) deleteRange(start, end string) {
	tr.seq++
	tr.pendingRD = append(tr.pendingRD, rangedel.Tombstone{Start: []byte(start), End: []byte(end), Seq: tr.seq})
	tr.model = append(tr.model, write{ikey.Make([]byte(start), tr.seq, ikey.KindRangeDelete), []byte(end), 0})
}

// flush writes what is pending to L0.
func (tr *tree) flush() (*Result, error) {
	sort.SliceStable(tr.pending, func(i, j int) bool { return ikey.Compare(tr.pending[i].Key, tr.pending[j].Key) < 0 })
	r, err := Flush(context.Background(), tr.env(), iterator.NewSlice(tr.pending), rangedel.Fragment(tr.pendingRD))
	if err != nil {
		return nil, err
	}
	if r != nil {
		require.Len(tr.t, r.Tables, 1)
		require.Equal(tr.t, uint64(len(tr.pending)), r.In)
		tr.install(r)
	}
	tr.pending, tr.pendingRD = nil, nil
	return r, nil
}

// install applies an edit as a manifest would and removes the files that it takes away.
func (tr *tree) install(r *Result) {
	require.Equal(tr.t, r.In, r.Out+r.Dropped.Total())
	levels := tr.v.Levels
	for level := range levels {
		levels[level] = slices.DeleteFunc(slices.Clone(levels[level]), func(t *manifest.Table) bool {
			return slices.Contains(r.Edit.Deleted, manifest.DeletedTable{Level: level, Num: t.Num})
		})
	}
	stays := map[uint64]bool{}
	for _, a := range r.Edit.Added {
		levels[a.Level] = append(levels[a.Level], a.Table)
		stays[a.Table.Num] = true
	}
	v := manifest.NewVersion(levels, nil)
	require.NoError(tr.t, v.Check())
	tr.v = v
	for _, d := range r.Edit.Deleted {
		if !stays[d.Num] {
			require.NoError(tr.t, tr.mem.Remove(filename.Path(treeDir, filename.Table, d.Num)))
		}
	}
}

// run reserves, runs and installs plan.
func (tr *tree) run(plan *Plan) *Result {
	var busy Reservations
	require.True(tr.t, busy.Reserve(plan))
	r, err := Run(context.Background(), tr.env(), plan)
	require.NoError(tr.t, err)
	require.NoError(tr.t, busy.Verify(plan, tr.v))
	for i, t := range r.Tables {
		require.False(tr.t, i > 0 && string(r.Tables[i-1].Largest.User) == string(t.Smallest.User) && !r.Tables[i-1].Largest.IsExclusiveBound(),
			"a user key in two outputs of %s", plan)
	}
	tr.install(r)
	return r
}

// settle compacts until the policy has nothing more, idle plans included.
func (tr *tree) settle() (plans int) {
	for {
		plan := tr.policy.Pick(tr.v, nil)
		require.Equal(tr.t, plan == nil, tr.policy.Debt(tr.v) == 0, "debt %d, plan %v", tr.policy.Debt(tr.v), plan)
		if dead := PickDead(tr.v, nil, tr.now); dead != nil {
			plan = dead
		}
		if plan == nil {
			oldest := ikey.MaxSeq
			if len(tr.snapshots) > 0 {
				oldest = tr.snapshots[0]
			}
			plan = PickIdle(tr.v, nil, Moment{NowMillis: tr.now, OldestSnapshot: oldest}, tr.options)
		}
		if plan == nil {
			return plans
		}
		plans++
		require.Less(tr.t, plans, 10_000, "does not settle: %s", plan)
		tr.run(plan)
	}
}

// compactAll is what an engine's Compact(nil, nil) does.
func (tr *tree) compactAll() {
	for level := range manifest.NumLevels {
		plan := Manual(tr.v, nil, nil, level)
		if plan == nil {
			continue
		}
		tr.run(plan)
		if plan.Final {
			return
		}
	}
}

// randomPlan is a legal plan that no policy would make: some tables of some level, in place or
// to any level down to the first that overlaps them.
func (tr *tree) randomPlan(rng *rand.Rand) *Plan {
	level := rng.Intn(manifest.NumLevels)
	if len(tr.v.Levels[level]) == 0 {
		return nil
	}
	i := rng.Intn(len(tr.v.Levels[level]))
	j := i + 1 + rng.Intn(min(4, len(tr.v.Levels[level])-i))
	tables := tr.v.Levels[level][i:j]
	if level == 0 {
		tables = overlappingL0(tr.v.Levels[0], rangeOf(tr.v.Levels[0][i]))
	}
	deepest := level + 1
	for deepest < bottom {
		if first, end := overlapping(tr.v.Levels[deepest], rangeOfAll(tables)); first < end {
			break
		}
		deepest++
	}
	deepest = min(deepest, bottom)
	output := max(1, level+rng.Intn(deepest-level+1))
	return newPlan(tr.v, Input{level, tables}, output, "random")
}

func (tr *tree) bytes() (n int64) {
	for level := range tr.v.Levels {
		n += tr.v.LevelBytes(level)
	}
	return n
}

// check compares every key at every snapshot and at the end with the model, verifies every
// table, and sees that versions get older from level to level.
func (tr *tree) check() {
	tr.t.Helper()
	type stored struct {
		seq   uint64
		kind  ikey.Kind
		value []byte
	}
	entries := map[string][]stored{}
	var tombstones []rangedel.List
	var order []*manifest.Table
	for _, level := range tr.v.Levels {
		order = append(order, level...)
	}
	oldestSeen := map[string]uint64{}
	for _, t := range order {
		r, release, err := tr.openTable(t)
		require.NoError(tr.t, err)
		_, err = r.Verify(context.Background())
		require.NoError(tr.t, err, "table %s", t)
		tombstones = append(tombstones, r.RangeDels().TruncateToBounds(t.Smallest, t.Largest))
		require.Equal(tr.t, tombstones[len(tombstones)-1].String(), r.RangeDels().String(), "our own tombstones lie within the bounds")
		it := r.NewIterator(sstable.IterOptions{})
		for ok := it.First(); ok; ok = it.Next() {
			user, seq := string(it.Key().User), it.Key().Seq()
			if above, seen := oldestSeen[user]; seen {
				require.Less(tr.t, seq, above, "%s lies above something older", it.Key())
			}
			oldestSeen[user] = seq
			entries[user] = append(entries[user], stored{seq, it.Key().Kind(), bytes.Clone(it.Value())})
			require.True(tr.t, seq >= t.SmallestSeq && seq <= t.LargestSeq)
		}
		require.NoError(tr.t, it.Err())
		require.NoError(tr.t, it.Close())
		release()
	}
	deleted := rangedel.Merge(tombstones...)

	readTree := func(user string, at uint64) (string, bool) {
		cover, covered := deleted.Cover([]byte(user), at)
		for _, e := range entries[user] {
			if e.seq > at {
				continue
			}
			if covered && cover > e.seq || e.kind == ikey.KindDelete {
				return "", false
			}
			if e.kind == ikey.KindEntity {
				en, err := entity.Decode(e.value)
				require.NoError(tr.t, err)
				return string(en.Value), !en.Expired(int64(tr.now))
			}
			return string(e.value), true
		}
		return "", false
	}
	users := map[string]bool{}
	for _, w := range tr.model {
		users[string(w.key.User)] = true
	}
	for _, at := range append(slices.Clone(tr.snapshots), tr.seq-uint64(len(tr.pending)+len(tr.pendingRD))) {
		want := tr.modelAt(at)
		for user := range users {
			got, ok := readTree(user, at)
			expect, has := want[user]
			if ok != has || ok && got != expect {
				tr.t.Fatalf("key %s at %d: got %.20q %v, want %.20q %v\n%s", user, at, got, ok, expect, has, tr.v)
			}
		}
	}
}

// modelAt replays the log up to sequence number at.
func (tr *tree) modelAt(at uint64) map[string]string {
	state := map[string]string{}
	for _, w := range tr.model {
		if w.key.Seq() > at {
			break
		}
		switch w.key.Kind() {
		case ikey.KindDelete:
			delete(state, string(w.key.User))
		case ikey.KindRangeDelete:
			for user := range state {
				if user >= string(w.key.User) && user < string(w.value) {
					delete(state, user)
				}
			}
		case ikey.KindEntity:
			e, _ := entity.Decode(w.value)
			if w.expiryMs > tr.now {
				state[string(w.key.User)] = string(e.Value)
			} else {
				delete(state, string(w.key.User))
			}
		default:
			state[string(w.key.User)] = string(w.value)
		}
	}
	return state
}

// workload makes n random writes over keys keys.
func (tr *tree) workload(rng *rand.Rand, n, keys, maxValue int) {
	key := func() string { return fmt.Sprintf("key%05d", rng.Intn(keys)) }
	value := func() []byte {
		b := make([]byte, 1+rng.Intn(maxValue))
		rng.Read(b)
		return b
	}
	for range n {
		switch p := rng.Intn(100); {
		case p < 70:
			tr.put(key(), value())
		case p < 85:
			tr.delete(key())
		case p < 97:
			tr.putTTL(key(), value(), tr.now+uint64(rng.Intn(300)))
		case p < 98:
			a, b := key(), key()
			if b < a {
				a, b = b, a
			}
			tr.deleteRange(a, b+"\x00")
		default:
			a := rng.Intn(keys)
			tr.deleteRange(fmt.Sprintf("key%05d", a), fmt.Sprintf("key%05d", a+1+rng.Intn(keys/20+1)))
		}
	}
}
