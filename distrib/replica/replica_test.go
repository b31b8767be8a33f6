package replica

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/storetest"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

func start(t testing.TB, s distrib.Store, node uint64) *Replica {
	t.Helper()
	births, err := NextRun(s, 0)
	require.NoError(t, err)
	return New(Options{Store: s, Prefix: distrib.DataPrefix(), Node: node, Births: births})
}

func data(s string) distrib.Value { return distrib.Value{Data: []byte(s)} }

// texts are the values of a record.
func texts(t *testing.T, r *Replica, key string) (out []string) {
	t.Helper()
	record, err := r.Read([]byte(key))
	require.NoError(t, err)
	for _, s := range record {
		out = append(out, string(s.Value.Data))
	}
	return out
}

// entries is how many keys a store holds beside what the node keeps of itself.
func entries(t *testing.T, s distrib.Store) (n int) {
	t.Helper()
	require.NoError(t, s.Scan([]byte{byte(distrib.SpaceMeta) + 1}, nil, func(_, _ []byte) error { n++; return nil }))
	return n
}

func TestPutReadMerge(t *testing.T) {
	a, b := start(t, storetest.NewMem(), 1), start(t, storetest.NewMem(), 2)
	key := []byte("k")
	require.Empty(t, texts(t, a, "k"))
	red, err := a.Put(key, Put{Value: data("red")})
	require.NoError(t, err)
	require.Equal(t, 1, red.Siblings)
	changed, err := b.Merge(key, distrib.Record{red.Sibling}, distrib.SyncNow)
	require.NoError(t, err)
	require.True(t, changed)
	changed, err = b.Merge(key, distrib.Record{red.Sibling}, distrib.SyncNow)
	require.NoError(t, err)
	require.False(t, changed, "again")

	blue, err := b.Put(key, Put{Value: data("blue")})
	require.NoError(t, err)
	require.Equal(t, 2, blue.Siblings, "written without context")
	require.Equal(t, []string{"red", "blue"}, texts(t, b, "k"))
	seen, err := b.Read(key)
	require.NoError(t, err)
	grey, err := a.Put(key, Put{Value: data("grey"), Past: vclock.Context(seen)})
	require.NoError(t, err)
	require.Equal(t, 1, grey.Siblings)
	_, err = a.Merge(key, distrib.Record{blue.Sibling}, distrib.SyncNow)
	require.NoError(t, err)
	require.Equal(t, []string{"grey"}, texts(t, a, "k"), "blue comes late")
	_, err = b.Merge(key, distrib.Record{grey.Sibling}, distrib.SyncNow)
	require.NoError(t, err)
	da, _, err := a.Digest(key)
	require.NoError(t, err)
	db, _, err := b.Digest(key)
	require.NoError(t, err)
	require.Equal(t, da, db)
}

// TestLargeValues: they stand in entries of their own, which come and go with their version.
func TestLargeValues(t *testing.T) {
	s := storetest.NewMem()
	r := start(t, s, 1)
	key := []byte("k")
	large := bytes.Repeat([]byte("x"), distrib.InlineBytes+1)
	for i := range 3 {
		_, err := r.Put(key, Put{Value: distrib.Value{Data: append(large, byte(i))}})
		require.NoError(t, err)
	}
	require.Equal(t, 4, entries(t, s), "a head and three values")
	record, err := r.Read(key)
	require.NoError(t, err)
	require.Len(t, record, 3)
	for i, s := range record {
		require.Equal(t, append(large, byte(i)), s.Value.Data)
	}
	_, err = r.Put(key, Put{Value: data("small"), Past: vclock.Context(record[:2])})
	require.NoError(t, err)
	require.Equal(t, 2, entries(t, s))
	record, err = r.Read(key)
	require.NoError(t, err)
	require.Equal(t, append(large, 2), record[0].Value.Data)
	require.NoError(t, r.Scan(0, 1<<64-1, func(k []byte, h distrib.Head) error {
		require.Equal(t, key, k)
		require.Len(t, h.Record, 2)
		require.Equal(t, []distrib.Missing{{Sibling: 0, Bytes: len(large) + 1}}, h.Missing)
		return nil
	}))
	require.NoError(t, s.DeleteRange([]byte{byte(distrib.SpaceData)}, nil, distrib.SyncNow))
	require.Empty(t, texts(t, r, "k"))
}

// TestOpID: a write that is tried again is one write, with the bytes of the first try.
func TestOpID(t *testing.T) {
	r := start(t, storetest.NewMem(), 1)
	key := []byte("k")
	for i, size := range []int{10, distrib.InlineBytes + 10} {
		op := distrib.OpID{byte(i + 1)}
		first := distrib.Value{Data: bytes.Repeat([]byte("a"), size)}
		w, err := r.Put(key, Put{Op: op, Value: first})
		require.NoError(t, err)
		require.False(t, w.Repeated)
		again, err := r.Put(key, Put{Op: op, Value: data("other")})
		require.NoError(t, err)
		require.True(t, again.Repeated)
		again.Repeated = false
		require.Equal(t, w, again)
	}
	require.Len(t, texts(t, r, "k"), 2)
	seen, err := r.Read(key)
	require.NoError(t, err)
	_, err = r.Put(key, Put{Value: data("new"), Past: vclock.Context(seen)})
	require.NoError(t, err)
	w, err := r.Put(key, Put{Op: distrib.OpID{1}, Value: data("late")})
	require.NoError(t, err)
	require.True(t, w.Repeated)
	require.Equal(t, "new", string(w.Sibling.Value.Data), "what overwrote it")
	require.Equal(t, []string{"new"}, texts(t, r, "k"))
}

// TestRetried: that an operation was tried elsewhere too is stored with it, whenever that is said, and a copy that comes
// late, by any way, does not come back.
func TestRetried(t *testing.T) {
	key, large := []byte("k"), distrib.Value{Data: bytes.Repeat([]byte("a"), distrib.InlineBytes+10)}
	for name, told := range map[string]func(r *Replica, w Written){
		"with the first try": func(*Replica, Written) {},
		"with another one": func(r *Replica, w Written) {
			again, err := r.Put(key, Put{Op: w.Sibling.Op, Value: data("other"), Retried: true})
			require.NoError(t, err)
			require.True(t, again.Repeated && again.Sibling.Retried)
			require.Equal(t, large, again.Sibling.Value)
		},
		"by another node": func(r *Replica, w Written) {
			told := distrib.Record{w.Sibling.Retry(w.Sibling.Op)}
			changed, err := r.Merge(key, told, distrib.SyncNow)
			require.NoError(t, err)
			require.True(t, changed)
			changed, err = r.Merge(key, told, distrib.SyncNow)
			require.NoError(t, err)
			require.False(t, changed)
		},
		"when it was overwritten": func(r *Replica, w Written) {
			overwrite(t, r, key, vclock.KeptOps)
			again, err := r.Put(key, Put{Op: w.Sibling.Op, Retried: true})
			require.NoError(t, err)
			require.True(t, again.Repeated)
			require.NotEqual(t, w.Sibling.Op, again.Sibling.Op)
		},
	} {
		t.Run(name, func(t *testing.T) {
			a, b := start(t, storetest.NewMem(), 1), start(t, storetest.NewMem(), 2)
			op := distrib.OpID{1}
			w, err := a.Put(key, Put{Op: op, Value: large, Retried: name == "with the first try"})
			require.NoError(t, err)
			told(a, w)
			full, err := a.Read(key)
			require.NoError(t, err)
			require.Len(t, full, 1)
			require.True(t, full[0].Retried || full[0].Op != op)
			overwrite(t, a, key, 20)
			late, err := b.Put(key, Put{Op: op, Value: large})
			require.NoError(t, err)
			_, err = a.Merge(key, distrib.Record{late.Sibling}, distrib.SyncNow)
			require.NoError(t, err)
			again, err := a.Put(key, Put{Op: op, Value: large})
			require.NoError(t, err)
			require.True(t, again.Repeated)
			require.Equal(t, []string{"next"}, texts(t, a, "k"))
		})
	}
}

// overwrite replaces what r holds of key so many times.
func overwrite(t *testing.T, r *Replica, key []byte, times int) {
	for range times {
		seen, err := r.Read(key)
		require.NoError(t, err)
		_, err = r.Put(key, Put{Op: distrib.OpID{2, byte(seen[0].Dot.Counter)}, Value: data("next"), Past: vclock.Context(seen)})
		require.NoError(t, err)
	}
}

func TestTooManySiblings(t *testing.T) {
	a, b := start(t, storetest.NewMem(), 1), start(t, storetest.NewMem(), 2)
	key := []byte("k")
	for i := range distrib.SiblingsMax {
		w, err := a.Put(key, Put{Value: data(fmt.Sprint(i))})
		require.NoError(t, err)
		require.Equal(t, i+1, w.Siblings)
	}
	_, err := a.Put(key, Put{Value: data("one more")})
	require.ErrorIs(t, err, distrib.ErrTooManySiblings)
	require.ErrorContains(t, err, "it has 100 siblings")
	require.Len(t, texts(t, a, "k"), distrib.SiblingsMax)

	w, err := b.Put(key, Put{Value: data("elsewhere")})
	require.NoError(t, err)
	_, err = a.Merge(key, distrib.Record{w.Sibling}, distrib.SyncNow)
	require.NoError(t, err, "what another replica took is not refused")
	require.Len(t, texts(t, a, "k"), distrib.SiblingsMax+1)
	seen, err := a.Read(key)
	require.NoError(t, err)
	_, err = a.Put(key, Put{Value: data("all"), Past: vclock.Context(seen)})
	require.NoError(t, err)
	require.Equal(t, []string{"all"}, texts(t, a, "k"))
}

// TestKeys lists page by page, with and without what the keys hold.
func TestKeys(t *testing.T) {
	r := start(t, storetest.NewMem(), 1)
	want := map[string]string{}
	for i := range 50 {
		key, v := fmt.Sprintf("k%d", i), strings.Repeat("x", 100*i)
		_, err := r.Put([]byte(key), Put{Value: data(v)})
		require.NoError(t, err)
		want[key] = v
	}
	for _, q := range []distrib.KeysRequest{{Limit: 7}, {Limit: 50, Records: true, Bytes: 10_000}, {Limit: 3, Records: true, Bytes: 1 << 30}} {
		got, pages := map[string]string{}, 0
		for q.Last = 1<<64 - 1; ; pages++ {
			list, err := r.Keys(&q)
			require.NoError(t, err)
			size := 0
			for i, k := range list {
				require.False(t, q.Full(i, size), "it ends where it is full")
				size += k.Bytes()
				got[string(k.Key)] = want[string(k.Key)]
				if q.Records {
					got[string(k.Key)] = string(k.Record[0].Value.Data)
				}
				require.Equal(t, q.Records, len(k.Record) > 0)
				require.Len(t, k.Dots, 1)
			}
			if !q.Full(len(list), size) {
				break
			}
			q.First = ring.TokenOf(list[len(list)-1].Key).Hi + 1
		}
		require.Equal(t, want, got)
		require.Greater(t, pages, 5)
	}
}

func TestNextRun(t *testing.T) {
	s := storetest.NewMem()
	for want := uint64(1); want < 4; want++ {
		births, err := NextRun(s, 0)
		require.NoError(t, err)
		require.Equal(t, want, births.Run())
		require.Zero(t, s.Unsynced(), "durable before it is used")
	}
	births, err := NextRun(s, 9)
	require.NoError(t, err)
	require.Equal(t, uint64(10), births.Run(), "above what others know")
	last, err := LastRun(s)
	require.NoError(t, err)
	require.Equal(t, births.Run(), last)

	require.NoError(t, s.Apply([]distrib.Op{{Key: runKey, Value: []byte("4294967295")}}, distrib.SyncNow))
	_, err = NextRun(s, 0)
	require.ErrorContains(t, err, "a node can start")
	require.NoError(t, s.Apply([]distrib.Op{{Key: runKey, Value: []byte("x")}}, distrib.SyncNow))
	_, err = NextRun(s, 0)
	require.ErrorContains(t, err, `is "x", want digits`)
}

// TestManyAtOnce: writers of one key at one replica make a sibling each, or replace what they read.
func TestManyAtOnce(t *testing.T) {
	r := start(t, storetest.NewMem(), 1)
	key := []byte("k")
	large := bytes.Repeat([]byte("x"), distrib.InlineBytes+1)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				record, err := r.Read(key)
				if err == nil {
					_, err = r.Put(key, Put{Value: distrib.Value{Data: large}, Past: vclock.Context(record)})
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	record, err := r.Read(key)
	require.NoError(t, err)
	require.Equal(t, uint64(400), record[len(record)-1].Dot.Counter, "each write has a dot of its own")
}

// TestReplicasOfANodeShareBirths: what a node keeps for another is another copy of the key.
func TestReplicasOfANodeShareBirths(t *testing.T) {
	s := storetest.NewMem()
	births, err := NextRun(s, 0)
	require.NoError(t, err)
	own := New(Options{Store: s, Prefix: distrib.DataPrefix(), Node: 1, Births: births})
	kept := New(Options{Store: s, Prefix: distrib.HintPrefix(2), Node: 1, Births: births})
	a, err := own.Put(key, Put{Value: data("a")})
	require.NoError(t, err)
	b, err := kept.Put(key, Put{Value: data("b")})
	require.NoError(t, err)
	require.NotEqual(t, a.Sibling.Dot, b.Sibling.Dot)
	_, err = own.Merge(key, distrib.Record{b.Sibling}, distrib.SyncNow)
	require.NoError(t, err)
	require.Equal(t, []string{"a", "b"}, texts(t, own, "key"))
}

// history is a write as its client knows it.
type history struct {
	seen   map[int]bool
	synced bool
}

// world is three nodes that lose power.
type world struct {
	rng    *rand.Rand
	stores []*storetest.Mem
	nodes  []*Replica
	writes []history
	oldRun bool // the bug: a node takes the number of the run before
}

var key = []byte("key")

func newWorld(t *testing.T, seed uint64, oldRun bool) *world {
	w := &world{rng: rand.New(rand.NewPCG(seed, 0)), oldRun: oldRun}
	for i := range 3 {
		w.stores = append(w.stores, storetest.NewMem())
		w.nodes = append(w.nodes, start(t, w.stores[i], uint64(i+1)))
	}
	return w
}

func (w *world) anyRecord() (distrib.Record, error) { return w.nodes[w.rng.IntN(3)].Read(key) }

func (w *world) step() error {
	at := w.rng.IntN(3)
	switch what := w.rng.IntN(10); {
	case what < 5:
		h := history{seen: map[int]bool{}, synced: w.rng.IntN(2) == 0}
		p := Put{Value: data(fmt.Sprint(len(w.writes))), Sync: distrib.SyncLater}
		if h.synced {
			p.Sync = distrib.SyncNow
		}
		if w.rng.IntN(2) == 0 {
			record, err := w.anyRecord()
			if err != nil {
				return err
			}
			p.Past = vclock.Context(record)
			for n := range numbers(record) {
				h.seen[n] = true
			}
		}
		if _, err := w.nodes[at].Put(key, p); err != nil {
			return err
		}
		w.writes = append(w.writes, h)
	case what < 9:
		record, err := w.anyRecord()
		if err != nil {
			return err
		}
		if len(record) > 0 && w.rng.IntN(2) == 0 {
			i := w.rng.IntN(len(record))
			record = record[i : i+1]
		}
		sync := distrib.Sync(2 * w.rng.IntN(2))
		_, err = w.nodes[at].Merge(key, record, sync)
		if sync == distrib.SyncNow { // durable here, though perhaps not where it was stored first
			for n := range numbers(record) {
				w.writes[n].synced = true
			}
		}
		return err
	default:
		w.stores[at] = w.stores[at].Crash(w.rng.IntN(4))
		births, err := NextRun(w.stores[at], 0)
		if err != nil {
			return err
		}
		if w.oldRun {
			births = &Births{run: 1}
		}
		w.nodes[at] = New(Options{Store: w.stores[at], Prefix: distrib.DataPrefix(), Node: uint64(at + 1), Births: births})
	}
	return nil
}

// numbers are those of the writes in a record.
func numbers(record distrib.Record) map[int]bool {
	out := map[int]bool{}
	for _, s := range record {
		n := 0
		if _, err := fmt.Sscan(string(s.Value.Data), &n); err != nil {
			panic(err)
		}
		out[n] = true
	}
	return out
}

// check lets all nodes exchange everything. Then they hold the same; no synced write is gone that none has
// overwritten; and nothing stands that a write which is there has overwritten.
func (w *world) check() error {
	for range 2 {
		for _, a := range w.nodes {
			for _, b := range w.nodes {
				record, err := b.Read(key)
				if err == nil {
					_, err = a.Merge(key, record, distrib.SyncNow)
				}
				if err != nil {
					return err
				}
			}
		}
	}
	var held map[int]bool
	for i, n := range w.nodes {
		record, err := n.Read(key)
		if err != nil {
			return err
		}
		if i > 0 && fmt.Sprint(numbers(record)) != fmt.Sprint(held) {
			return fmt.Errorf("node %d holds %v, the one before %v", i+1, numbers(record), held)
		}
		held = numbers(record)
	}
	overwritten := map[int]bool{}
	var mark func(n int)
	mark = func(n int) {
		for m := range w.writes[n].seen {
			if !overwritten[m] {
				overwritten[m] = true
				mark(m)
			}
		}
	}
	for n := range held {
		mark(n)
	}
	for n, h := range w.writes {
		if held[n] && overwritten[n] {
			return fmt.Errorf("write %d stands, though one that has seen it is there", n)
		}
		if h.synced && !held[n] && !overwritten[n] {
			return fmt.Errorf("write %d is gone", n)
		}
	}
	return nil
}

func play(t *testing.T, seed uint64, oldRun bool) error {
	w := newWorld(t, seed, oldRun)
	for range 30 {
		if err := w.step(); err != nil && !errors.Is(err, distrib.ErrTooManySiblings) {
			return err
		}
	}
	return w.check()
}

// TestCrashes: nodes that lose power at any moment, and with it what was not synced, lose no write that was.
func TestCrashes(t *testing.T) {
	for seed := range uint64(2000) {
		require.NoError(t, play(t, seed, false), "seed %d", seed)
	}
}

// TestOldRunIsCaught: a node that begins no new births after a crash gives dots away twice, and writes are
// lost; the test above would find it.
func TestOldRunIsCaught(t *testing.T) {
	for seed := range uint64(2000) {
		if err := play(t, seed, true); err != nil {
			t.Logf("seed %d: %v", seed, err)
			return
		}
	}
	t.Fatal("the bug was not found")
}

// TestNothingNewIsSynced: who asks for a durable write is told that it is there only once it is durable, also where it came
// before with less.
func TestNothingNewIsSynced(t *testing.T) {
	store := storetest.NewMem()
	births, err := NextRun(store, 0)
	require.NoError(t, err)
	r := New(Options{Store: store, Prefix: distrib.DataPrefix(), Node: 1, Births: births})
	again := func(key string, with func() error) {
		require.NoError(t, with())
		crashed := New(Options{Store: store.Crash(0), Prefix: distrib.DataPrefix(), Node: 1, Births: births})
		record, err := crashed.Read([]byte(key))
		require.NoError(t, err)
		require.Len(t, record, 1, key)
	}
	w, err := r.Put([]byte("put"), Put{Op: distrib.OpID{1}, Value: distrib.Value{Data: []byte("v")}, Sync: distrib.SyncLater})
	require.NoError(t, err)
	again("put", func() error {
		_, err := r.Put([]byte("put"), Put{Op: distrib.OpID{1}, Value: distrib.Value{Data: []byte("v")}})
		return err
	})
	_, err = r.Merge([]byte("merge"), distrib.Record{w.Sibling}, distrib.SyncLater)
	require.NoError(t, err)
	again("merge", func() error {
		_, err := r.Merge([]byte("merge"), distrib.Record{w.Sibling}, distrib.SyncNow)
		return err
	})
}
