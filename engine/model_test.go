package engine_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// The model is a sorted map, copied for each snapshot. The state machine drives the whole
// public API against it, with reopens, flushes and compactions at random; time is the test's.

const (
	modelRuns = 250 // databases
	modelOps  = 400 // operations on each: 100,000 in all
)

func TestModel(t *testing.T) {
	require.NoError(t, flag.Set("rapid.checks", fmt.Sprint(modelRuns)))
	var ops, reads int
	rapid.Check(t, func(rt *rapid.T) {
		m := newModelRun(rt)
		defer m.close()
		for range modelOps {
			m.step()
		}
		m.compareAll()
		ops += m.ops
		reads += m.reads
	})
	t.Logf("%d operations on %d databases, %d of them reads, no difference", ops, modelRuns, reads)
}

// testClock is a clock that only the test moves.
type testClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *testClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *testClock) advance(d time.Duration) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	c.mu.Unlock()
}

type modelValue struct {
	value  []byte
	expiry time.Time // zero: none
}

type modelState map[string]modelValue

func (s modelState) get(key string, now time.Time) ([]byte, bool) {
	v, ok := s[key]
	if !ok || !v.expiry.IsZero() && !now.Before(v.expiry) {
		return nil, false
	}
	return v.value, true
}

type modelSnapshot struct {
	snap  *engine.Snapshot
	state modelState
}

type modelRun struct {
	t          *rapid.T
	fs         *vfs.Mem
	clock      *testClock
	db         *engine.DB
	state      modelState
	snaps      []modelSnapshot
	keys       *rapid.Generator[[]byte]
	ops, reads int
}

func newModelRun(t *rapid.T) *modelRun {
	m := &modelRun{t: t, fs: vfs.NewMem(), clock: &testClock{now: time.UnixMilli(1_700_000_000_000)}, state: modelState{}}
	m.keys = rapid.Custom(func(t *rapid.T) []byte {
		n := rapid.IntRange(0, 60).Draw(t, "key")
		return fmt.Appendf(nil, "%c%02d", 'a'+n%3, n)
	})
	m.open()
	return m
}

func (m *modelRun) open() {
	db, err := engine.Open("db", engine.FlushOften(engine.Options{
		FS: m.fs, Clock: m.clock, MemoryBudget: engine.MinMemoryBudget, MemtableSize: 64 << 10,
		Sync: rapid.SampledFrom([]engine.Sync{engine.SyncPerWrite, engine.SyncPerSecond, engine.SyncNone}).Draw(m.t, "sync"),
		Compression: rapid.SampledFrom([]engine.Compression{
			engine.DefaultCompression, engine.NoCompression, engine.Snappy, engine.Zstd,
		}).Draw(m.t, "compression"),
		ValueThreshold: rapid.SampledFrom([]int64{-1, 0, 1, 100, 100, 5000}).Draw(m.t, "value threshold"),
		Compaction:     rapid.SampledFrom([]engine.Compaction{engine.Leveled, engine.Tiered, engine.LazyLeveled}).Draw(m.t, "policy"),
	}))
	require.NoError(m.t, err)
	m.db = db
}

func (m *modelRun) close() {
	for _, s := range m.snaps {
		s.snap.Close()
	}
	m.snaps = nil
	require.NoError(m.t, m.db.Close())
}

func (m *modelRun) value() []byte {
	n := rapid.SampledFrom([]int{0, 1, 20, 200, 5000, 70_000}).Draw(m.t, "size")
	v := bytes.Repeat([]byte{byte('A' + m.ops%26)}, n)
	if n > 100 && m.ops%3 == 0 { // does not compress
		_, _ = rand.NewChaCha8([32]byte{byte(m.ops)}).Read(v) // it has no errors
	}
	return v
}

func (m *modelRun) step() {
	m.ops++
	switch n := rapid.IntRange(0, 99).Draw(m.t, "op"); {
	case n < 22:
		k, v := m.keys.Draw(m.t, "k"), m.value()
		require.NoError(m.t, m.db.Put(k, v, nil))
		m.state[string(k)] = modelValue{value: v}
	case n < 30:
		m.putTTL()
	case n < 37:
		k := m.keys.Draw(m.t, "k")
		require.NoError(m.t, m.db.Delete(k, nil))
		delete(m.state, string(k))
	case n < 40:
		m.deleteRange()
	case n < 48:
		m.batch()
	case n < 56:
		m.compareAndSwap()
	case n < 72:
		m.get()
	case n < 76:
		m.multiGet()
	case n < 86:
		m.iterate()
	case n < 89:
		m.snaps = append(m.snaps, modelSnapshot{m.db.NewSnapshot(), maps.Clone(m.state)})
	case n < 91:
		if len(m.snaps) > 0 {
			i := rapid.IntRange(0, len(m.snaps)-1).Draw(m.t, "snapshot")
			require.NoError(m.t, m.snaps[i].snap.Close())
			m.snaps = slices.Delete(m.snaps, i, i+1)
		}
	case n < 93:
		m.clock.advance(time.Duration(rapid.IntRange(1, 3000).Draw(m.t, "ms")) * time.Millisecond)
	case n < 95:
		require.NoError(m.t, m.db.Flush())
	case n < 96:
		m.ingest()
	case n < 98:
		require.NoError(m.t, m.db.Compact(nil, nil))
	default:
		m.close()
		m.open()
	}
}

func (m *modelRun) ttl() (time.Duration, time.Time) {
	d := time.Duration(rapid.IntRange(1, 4000).Draw(m.t, "ttl")) * time.Millisecond
	return d, m.clock.Now().Add(d)
}

func (m *modelRun) putTTL() {
	k, v := m.keys.Draw(m.t, "k"), m.value()
	ttl, at := m.ttl()
	require.NoError(m.t, m.db.Put(k, v, &engine.WriteOptions{TTL: ttl}))
	m.state[string(k)] = modelValue{v, at}
}

func (m *modelRun) bounds() (lo, hi []byte) {
	lo, hi = m.keys.Draw(m.t, "lo"), m.keys.Draw(m.t, "hi")
	if bytes.Compare(lo, hi) > 0 {
		lo, hi = hi, lo
	}
	return lo, hi
}

func (m *modelRun) deleteRange() {
	lo, hi := m.bounds()
	err := m.db.DeleteRange(lo, hi, nil)
	if bytes.Equal(lo, hi) {
		require.ErrorIs(m.t, err, engine.ErrInvalidArgument)
		return
	}
	require.NoError(m.t, err)
	m.state.deleteRange(lo, hi)
}

func (s modelState) deleteRange(lo, hi []byte) {
	maps.DeleteFunc(s, func(k string, _ modelValue) bool { return k >= string(lo) && k < string(hi) })
}

func (m *modelRun) batch() {
	b := m.db.NewBatch()
	next := maps.Clone(m.state)
	for range rapid.IntRange(0, 8).Draw(m.t, "ops") {
		k := m.keys.Draw(m.t, "k")
		switch rapid.IntRange(0, 3).Draw(m.t, "kind") {
		case 0:
			v := m.value()
			b.Put(k, v)
			next[string(k)] = modelValue{value: v}
		case 1:
			v := m.value()
			ttl, at := m.ttl()
			b.PutTTL(k, v, ttl)
			next[string(k)] = modelValue{v, at}
		case 2:
			b.Delete(k)
			delete(next, string(k))
		case 3:
			lo, hi := m.bounds()
			if !bytes.Equal(lo, hi) {
				b.DeleteRange(lo, hi)
				next.deleteRange(lo, hi)
			}
		}
	}
	require.NoError(m.t, m.db.Apply(b, nil))
	m.state = next
}

// ingest takes in up to three tables; the later ones are newer.
func (m *modelRun) ingest() {
	next := maps.Clone(m.state)
	var paths []string
	for i := range rapid.IntRange(1, 3).Draw(m.t, "tables") {
		path := fmt.Sprintf("table%d", i)
		w, err := engine.NewTableWriter(path, &engine.Options{FS: m.fs})
		require.NoError(m.t, err)
		if lo, hi := m.bounds(); !bytes.Equal(lo, hi) {
			require.NoError(m.t, w.DeleteRange(lo, hi))
			next.deleteRange(lo, hi)
		}
		keys := rapid.SliceOfNDistinct(m.keys, 1, 8, func(k []byte) string { return string(k) }).Draw(m.t, "keys")
		slices.SortFunc(keys, bytes.Compare)
		for _, k := range keys {
			if rapid.IntRange(0, 3).Draw(m.t, "delete") == 0 {
				require.NoError(m.t, w.Delete(k))
				delete(next, string(k))
				continue
			}
			v := m.value()
			require.NoError(m.t, w.Put(k, v))
			next[string(k)] = modelValue{value: v}
		}
		require.NoError(m.t, w.Close())
		paths = append(paths, path)
	}
	require.NoError(m.t, m.db.Ingest(paths...))
	m.state = next
}

func (m *modelRun) compareAndSwap() {
	k := m.keys.Draw(m.t, "k")
	have, present := m.state.get(string(k), m.clock.Now())
	var old []byte
	if rapid.Bool().Draw(m.t, "right") {
		if present {
			old = append([]byte{}, have...)
		}
	} else {
		old = []byte("not this")
	}
	var new []byte
	if rapid.IntRange(0, 3).Draw(m.t, "delete") > 0 {
		new = m.value()
	}
	want := present && old != nil && bytes.Equal(old, have) || !present && old == nil
	got, err := m.db.CompareAndSwap(k, old, new, nil)
	require.NoError(m.t, err)
	require.Equal(m.t, want, got, "cas %q", k)
	if !want {
		return
	}
	if new == nil {
		delete(m.state, string(k))
	} else {
		m.state[string(k)] = modelValue{value: new}
	}
}

func (m *modelRun) get() {
	m.reads++
	k := m.keys.Draw(m.t, "k")
	var got []byte
	var err error
	state := m.state
	if len(m.snaps) > 0 && rapid.Bool().Draw(m.t, "at snapshot") {
		s := m.snaps[rapid.IntRange(0, len(m.snaps)-1).Draw(m.t, "snapshot")]
		got, err = s.snap.Get(k)
		state = s.state
	} else {
		got, err = m.db.Get(k)
	}
	want, ok := state.get(string(k), m.clock.Now())
	if !ok {
		require.ErrorIs(m.t, err, engine.ErrNotFound, "get %q", k)
		return
	}
	require.NoError(m.t, err, "get %q", k)
	require.True(m.t, bytes.Equal(want, got), "get %q: %d bytes, want %d", k, len(got), len(want))
}

func (m *modelRun) multiGet() {
	m.reads++
	keys := rapid.SliceOfN(m.keys, 0, 20).Draw(m.t, "keys")
	got, err := m.db.MultiGet(keys)
	require.NoError(m.t, err)
	require.Len(m.t, got, len(keys))
	for i, k := range keys {
		want, ok := m.state.get(string(k), m.clock.Now())
		require.Equal(m.t, ok, got[i] != nil, "multiget %q", k)
		require.True(m.t, bytes.Equal(want, got[i]), "multiget %q", k)
	}
}

// iterate walks a random range at random, checking each step against the sorted live keys.
func (m *modelRun) iterate() {
	m.reads++
	opts := &engine.IterOptions{KeysOnly: rapid.IntRange(0, 3).Draw(m.t, "keys only") == 0}
	state := m.state
	if len(m.snaps) > 0 && rapid.Bool().Draw(m.t, "at snapshot") {
		s := m.snaps[rapid.IntRange(0, len(m.snaps)-1).Draw(m.t, "snapshot")]
		opts.Snapshot, state = s.snap, s.state
	}
	if rapid.Bool().Draw(m.t, "bounded") {
		opts.Lower, opts.Upper = m.bounds()
	}
	var live []string
	for k := range state {
		if _, ok := state.get(k, m.clock.Now()); ok && (opts.Lower == nil || k >= string(opts.Lower)) && (opts.Upper == nil || k < string(opts.Upper)) {
			live = append(live, k)
		}
	}
	slices.Sort(live)
	it := m.db.NewIterator(opts)
	defer it.Close()
	at := -2 // index in live; -1 before the first, len(live) after the last, -2 not positioned
	for range rapid.IntRange(1, 25).Draw(m.t, "steps") {
		var ok bool
		var what string
		switch rapid.IntRange(0, 9).Draw(m.t, "step") {
		case 0:
			ok, at, what = it.First(), 0, "First"
		case 1:
			ok, at, what = it.Last(), len(live)-1, "Last"
		case 2:
			k := m.keys.Draw(m.t, "k")
			ok, what = it.SeekGE(k), fmt.Sprintf("SeekGE %q", k)
			at, _ = slices.BinarySearch(live, string(k))
		case 3:
			k := m.keys.Draw(m.t, "k")
			ok, what = it.SeekLT(k), fmt.Sprintf("SeekLT %q", k)
			at, _ = slices.BinarySearch(live, string(k))
			at--
		case 4, 5, 6:
			if at == -2 {
				at = -1
			}
			ok, at, what = it.Next(), min(at+1, len(live)), "Next"
		default:
			if at == -2 {
				at = len(live)
			}
			ok, at, what = it.Prev(), max(at-1, -1), "Prev"
		}
		require.NoError(m.t, it.Err())
		want := at >= 0 && at < len(live)
		require.Equal(m.t, want, ok, "%s to %d of %d", what, at, len(live))
		require.Equal(m.t, want, it.Valid())
		if !want {
			continue
		}
		require.Equal(m.t, live[at], string(it.Key()), what)
		if !opts.KeysOnly {
			require.True(m.t, bytes.Equal(state[live[at]].value, it.Value()), "%s at %q", what, live[at])
		}
	}
}

func (m *modelRun) compareAll() {
	checkValues(m.t, m.db)
	got := map[string]string{}
	for k, v := range m.db.All(nil) {
		got[string(k)] = string(v)
	}
	want := map[string]string{}
	for k := range m.state {
		if v, ok := m.state.get(k, m.clock.Now()); ok {
			want[k] = string(v)
		}
	}
	require.Equal(m.t, want, got)
	_, err := m.db.Get([]byte("no such key"))
	require.True(m.t, errors.Is(err, engine.ErrNotFound))
}
