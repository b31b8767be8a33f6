package memtable

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/invariants"
)

// scene is a load whose outcome is known beforehand: entry number i in the order of arrival
// has sequence number i+1.
type scene struct {
	keys    []ikey.Key // in the order of arrival
	sorted  []ikey.Key // in key order; the arrival is the sequence number - 1
	arrived atomic.Int64
}

// newScene makes n entries over fewer user keys, in runs of sorted keys of random length.
func newScene(n int, seed uint64) *scene {
	rng := rand.New(rand.NewPCG(seed, 1))
	s := &scene{}
	for len(s.keys) < n {
		at := rng.IntN(n)
		step := 1 + rng.IntN(3)
		for range 1 + rng.IntN(20)*rng.IntN(2) {
			user := fmt.Appendf(nil, "user%08d", at)
			s.keys = append(s.keys, ikey.Make(user, uint64(len(s.keys)+1), ikey.KindSet))
			at += step
		}
	}
	s.sorted = append(s.sorted, s.keys...)
	sort.Slice(s.sorted, func(i, j int) bool { return ikey.Compare(s.sorted[i], s.sorted[j]) < 0 })
	return s
}

func (s *scene) search(k ikey.Key) int {
	return sort.Search(len(s.sorted), func(i int) bool { return ikey.Compare(s.sorted[i], k) >= 0 })
}

// requireNoneMissed fails if one of sorted[lo:hi], which a step passed over, had arrived by then.
func (s *scene) requireNoneMissed(t *testing.T, what string, lo, hi int, arrived int64) {
	for i := lo; i < hi; i++ {
		if int64(s.sorted[i].Seq()) <= arrived {
			t.Errorf("%s passed over %s though %d had arrived", what, s.sorted[i], arrived)
			return
		}
	}
}

// read does random walks until the load is complete.
func (s *scene) read(t *testing.T, m *Memtable, seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 2))
	it := m.NewIterator()
	defer it.Close()
	land := func(what string, ok bool, otherwise int) int {
		if !ok {
			return otherwise
		}
		k := it.Key()
		i := s.search(k)
		if i == len(s.sorted) || ikey.Compare(s.sorted[i], k) != 0 || string(it.Value()) != k.String() {
			t.Errorf("%s landed on %s with value %q", what, k, it.Value())
		}
		return i
	}
	for last := false; !last && !t.Failed(); {
		arrived := s.arrived.Load()
		last = arrived == int64(len(s.keys)) // one more round when all is there

		target := s.keys[rng.IntN(len(s.keys))]
		if arrived > 0 {
			k := s.keys[rng.Int64N(arrived)]
			at := k.Seq() + uint64(rng.Int64N(arrived-int64(k.Seq())+1))
			want := s.sorted[s.search(ikey.Seek(k.User, at))]
			if trailer, v, ok := m.Get(k.User, at); !ok || trailer != want.Trailer || string(v) != want.String() {
				t.Errorf("get %q at %d: %v, #%d, %q; want %s", k.User, at, ok, trailer.Seq(), v, want)
			}
		}

		from := s.search(target)
		pos := land("SeekGE", it.SeekGE(target), len(s.sorted))
		if pos < from {
			t.Errorf("SeekGE %s went to %s", target, s.sorted[pos])
		}
		s.requireNoneMissed(t, "SeekGE", from, pos, arrived)
		for range rng.IntN(30) {
			arrived = s.arrived.Load()
			next := land("Next", it.Next(), len(s.sorted))
			if next <= pos && pos < len(s.sorted) {
				t.Errorf("Next went from %d to %d", pos, next)
			}
			s.requireNoneMissed(t, "Next", pos+1, next, arrived)
			pos = next
		}

		arrived = s.arrived.Load()
		pos = land("SeekLT", it.SeekLT(target), -1)
		if pos >= from {
			t.Errorf("SeekLT %s went to %s", target, s.sorted[pos])
		}
		s.requireNoneMissed(t, "SeekLT", pos+1, from, arrived)
		for range rng.IntN(30) {
			arrived = s.arrived.Load()
			prev := land("Prev", it.Prev(), -1)
			if prev >= pos && pos >= 0 {
				t.Errorf("Prev went from %d to %d", pos, prev)
			}
			s.requireNoneMissed(t, "Prev", prev+1, pos, arrived)
			pos = prev
		}
	}
}

// TestReadersBesideWriter holds every answer that eight readers get against what had arrived
// when they asked.
func TestReadersBesideWriter(t *testing.T) {
	n := 100000
	if invariants.Enabled {
		n = 15000 // the race detector slows everything down
	}
	s := newScene(n, 11)
	m := New(Options{})
	defer m.Unref()
	var readers sync.WaitGroup
	for r := range 8 {
		readers.Go(func() { s.read(t, m, uint64(r)) })
	}
	for i, k := range s.keys {
		m.Add(k, []byte(k.String()))
		s.arrived.Store(int64(i + 1))
	}
	readers.Wait()
	require.False(t, t.Failed())
	requireSound(t, m)
}

// TestOldVersionsBesideWriter reads old versions of the very keys that are being overwritten,
// and steps over the very place where entries are being added.
func TestOldVersionsBesideWriter(t *testing.T) {
	n := 150000
	if invariants.Enabled {
		n = 8000
	}
	users := [][]byte{[]byte("a"), []byte("b")}
	m := New(Options{})
	defer m.Unref()
	var arrived atomic.Int64 // the sequence number of the last Add that returned
	var readers sync.WaitGroup
	for r := range 4 {
		readers.Go(func() {
			it := m.NewIterator()
			defer it.Close()
			for i := r; !t.Failed(); i++ {
				at := arrived.Load()
				if at > 2 && !(it.First() && it.Next() && it.Next()) {
					t.Errorf("the list ended within three steps though %d had arrived", at)
				}
				if at > 2 && !(it.Last() && it.Prev() && it.Prev()) {
					t.Errorf("the list began within three steps though %d had arrived", at)
				}
				if at == int64(n) {
					return
				}
				user := users[i%2]
				want := at - (at+int64(i%2)+1)%2 // "a" has the odd numbers, "b" the even ones
				trailer, _, ok := m.Get(user, uint64(at))
				if ok != (want > 0) || int64(trailer.Seq()) != max(want, 0) {
					t.Errorf("%s at %d: %v #%d, want #%d", user, at, ok, trailer.Seq(), want)
				}
			}
		})
	}
	for seq := 1; seq <= n; seq++ {
		m.Add(ikey.Make(users[(seq+1)%2], uint64(seq), ikey.KindSet), nil)
		arrived.Store(int64(seq))
	}
	readers.Wait()
}
