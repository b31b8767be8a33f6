package memtable

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/iterator"
)

func Example() {
	m := New(Options{})
	defer m.Unref()
	m.Add(ikey.Make([]byte("k"), 7, ikey.KindSet), []byte("old"))
	m.Add(ikey.Make([]byte("k"), 9, ikey.KindDelete), nil)
	for _, at := range []uint64{6, 8, ikey.MaxSeq} {
		t, v, ok := m.Get([]byte("k"), at)
		fmt.Printf("%v #%d,%s %q\n", ok, t.Seq(), t.Kind(), v)
	}
	// Output:
	// false #0,DEL ""
	// true #7,SET "old"
	// true #9,DEL ""
}

// drawUser draws keys that collide in their first 8 and 16 bytes, differ in trailing zeros
// only, and now and then are too long for the arena.
func drawUser(t *rapid.T) []byte {
	stem := rapid.SampledFrom([]string{"", "abcdefgh", "abcdefghijklmnop", "abcdefghijklmnopqrstuvwxyz"}).Draw(t, "stem")
	user := append([]byte(stem), rapid.SliceOfN(rapid.SampledFrom([]byte("\x00\x01z")), 0, 3).Draw(t, "rest")...)
	if rapid.IntRange(0, 60).Draw(t, "huge") == 0 {
		user = append(user, bytes.Repeat([]byte{'h'}, maxInlineKey)...)
	}
	return user
}

func drawValue(t *rapid.T) []byte {
	n := rapid.IntRange(0, 40).Draw(t, "len")
	if rapid.IntRange(0, 40).Draw(t, "large") == 0 {
		n = maxInlineValue - 20 + n
	}
	return bytes.Repeat([]byte{byte(n)}, n)
}

// model is the sorted slice that a memtable is held against.
type model []iterator.Entry

func (s model) search(k ikey.Key) int {
	return sort.Search(len(s), func(i int) bool { return ikey.Compare(s[i].Key, k) >= 0 })
}

func (s model) get(user []byte, seq uint64) (iterator.Entry, bool) {
	i := s.search(ikey.Seek(user, seq))
	if i == len(s) || !bytes.Equal(s[i].Key.User, user) {
		return iterator.Entry{}, false
	}
	return s[i], true
}

func requireEntry(t failer, want iterator.Entry, it *Iterator) {
	t.Helper()
	require.Zero(t, ikey.Compare(want.Key, it.Key()), "want %d bytes %s", len(want.Key.User), want.Key.Trailer.Kind())
	require.True(t, bytes.Equal(want.Value, it.Value()))
}

// TestModel adds, gets at snapshots and moves an iterator that stays open, in random order.
func TestModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New(Options{})
		defer m.Unref()
		var s model
		seq := uint64(100)
		add := func(t *rapid.T) {
			k := ikey.Make(drawUser(t), seq, rapid.SampledFrom([]ikey.Kind{ikey.KindSet, ikey.KindDelete}).Draw(t, "kind"))
			if rapid.IntRange(0, 9).Draw(t, "old") == 0 {
				k = ikey.Make(k.User, rapid.Uint64Range(0, seq).Draw(t, "seq"), k.Kind())
			}
			seq++
			i := s.search(k)
			if i < len(s) && ikey.Compare(s[i].Key, k) == 0 {
				return
			}
			v := drawValue(t)
			user := bytes.Clone(k.User)
			m.Add(ikey.Key{User: user, Trailer: k.Trailer}, v)
			s = slices.Insert(s, i, iterator.Entry{Key: k, Value: bytes.Clone(v)})
			clear(user) // copied, not kept
			clear(v)
		}
		it := m.NewIterator()
		defer it.Close()
		at := -1 // the model's position of it, -1 for none
		land := func(t *rapid.T, ok bool, i int) {
			want := i >= 0 && i < len(s)
			require.Equal(t, want, ok)
			require.Equal(t, want, it.Valid())
			if at = -1; want {
				at = i
				requireEntry(t, s[i], it)
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				var k ikey.Key
				if at >= 0 {
					k = s[at].Key
				}
				for range rapid.IntRange(1, 5).Draw(t, "n") {
					add(t)
				}
				if at >= 0 {
					at = s.search(k)
				}
			},
			"get": func(t *rapid.T) {
				user, snap := drawUser(t), rapid.Uint64Range(0, seq+1).Draw(t, "snapshot")
				want, wantOK := s.get(user, snap)
				trailer, v, ok := m.Get(user, snap)
				require.Equal(t, wantOK, ok)
				require.Equal(t, want.Key.Trailer, trailer)
				require.True(t, bytes.Equal(want.Value, v))
			},
			"first": func(t *rapid.T) { land(t, it.First(), 0) },
			"last":  func(t *rapid.T) { land(t, it.Last(), len(s)-1) },
			"seekGE": func(t *rapid.T) {
				k := ikey.Seek(drawUser(t), rapid.Uint64Range(0, seq).Draw(t, "snapshot"))
				land(t, it.SeekGE(k), s.search(k))
			},
			"seekLT": func(t *rapid.T) {
				k := ikey.Seek(drawUser(t), rapid.Uint64Range(0, seq).Draw(t, "snapshot"))
				land(t, it.SeekLT(k), s.search(k)-1)
			},
			"next": func(t *rapid.T) {
				if at >= 0 {
					land(t, it.Next(), at+1)
				}
			},
			"prev": func(t *rapid.T) {
				if at >= 0 {
					land(t, it.Prev(), at-1)
				}
			},
			"": func(t *rapid.T) {
				requireSound(t, m)
				require.Equal(t, len(s), m.Count())
				require.Equal(t, len(s) == 0, m.Empty())
			},
		})
	})
}

// TestIteratorContract compares all calls, turns at both ends included, with iterator.Slice.
func TestIteratorContract(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := New(Options{})
		defer m.Unref()
		var s model
		for i := range rapid.IntRange(0, 6).Draw(t, "entries") {
			k := ikey.Make(drawUser(t), uint64(i), ikey.KindSet)
			m.Add(k, nil)
			s = slices.Insert(s, s.search(k), iterator.Entry{Key: k})
		}
		it, want := m.NewIterator(), iterator.NewSlice(s)
		defer it.Close()
		for range 30 {
			k := ikey.Seek(drawUser(t), rapid.Uint64Range(0, 7).Draw(t, "seq"))
			move := rapid.SampledFrom([]func(iterator.Iterator) bool{
				iterator.Iterator.First, iterator.Iterator.Last,
				iterator.Iterator.Next, iterator.Iterator.Next, iterator.Iterator.Prev, iterator.Iterator.Prev,
				func(it iterator.Iterator) bool { return it.SeekGE(k) },
				func(it iterator.Iterator) bool { return it.SeekLT(k) },
			}).Draw(t, "move")
			ok := move(want)
			require.Equal(t, ok, move(it))
			require.Equal(t, ok, it.Valid())
			require.NoError(t, it.Err())
			if ok {
				require.Zero(t, ikey.Compare(want.Key(), it.Key()))
			}
		}
	})
}

// TestInsertionOrders fills trees in the orders that shape them most, over several chunks.
func TestInsertionOrders(t *testing.T) {
	const n = 6000
	rng := rand.New(rand.NewPCG(3, 4))
	orders := map[string]func(i int) int{
		"ascending":  func(i int) int { return i },
		"descending": func(i int) int { return n - i },
		"random":     func(int) int { return rng.IntN(n) },
		"sorted groups": func(i int) int {
			return i/64*7919%n + i%64*3
		},
		"outside in": func(i int) int { return (i%2)*2*n + i*(1-2*(i%2)) },
		"again":      func(i int) int { return i % 1000 },
		"one key":    func(int) int { return 0 },
	}
	for name, order := range orders {
		t.Run(name, func(t *testing.T) {
			m := New(Options{SizeBytes: 1 << 20})
			defer m.Unref()
			value := make([]byte, 6000)
			for i := range n {
				user := fmt.Appendf(nil, "user%09d", order(i))
				m.Add(ikey.Make(user, uint64(i), ikey.KindSet), value)
			}
			require.Greater(t, len(m.arena.maps), 2, "several chunks")
			requireSound(t, m)
			require.Greater(t, m.Bytes(), int64(n*6000))
			require.Less(t, m.Bytes(), int64(n*6200))
		})
	}
}

func TestGetOldVersions(t *testing.T) {
	m := New(Options{})
	defer m.Unref()
	user := []byte("hot")
	m.Add(ikey.Make([]byte("hot\x00"), 1, ikey.KindSet), []byte("other"))
	for seq := uint64(10); seq <= 5000; seq += 10 {
		m.Add(ikey.Make(user, seq, ikey.KindSet), binary.AppendUvarint(nil, seq))
	}
	for at := uint64(0); at <= 5010; at++ {
		trailer, v, ok := m.Get(user, at)
		require.Equal(t, at >= 10, ok)
		if ok {
			want := min(at/10*10, 5000)
			require.Equal(t, want, trailer.Seq())
			require.Equal(t, binary.AppendUvarint(nil, want), v)
		}
	}
}

// TestEqualKeys keeps both entries of one key, the later one first.
func TestEqualKeys(t *testing.T) {
	m := New(Options{})
	defer m.Unref()
	k := ikey.Make([]byte("k"), 5, ikey.KindSet)
	for _, v := range []string{"1", "2", "3"} {
		m.Add(k, []byte(v))
	}
	requireSound(t, m)
	_, v, ok := m.Get(k.User, 5)
	require.True(t, ok)
	require.Equal(t, "3", string(v))
}

// TestSeekRepairsDescent leads descents astray, as rotations under way may, by hanging other
// nodes in the root's place and by closing a cycle: seeks stay exact.
func TestSeekRepairsDescent(t *testing.T) {
	const n = 500
	m := New(Options{})
	defer m.Unref()
	rng := rand.New(rand.NewPCG(5, 6))
	for i, x := range rng.Perm(n) {
		m.Add(ikey.Make(fmt.Appendf(nil, "%06d", 2*x), uint64(i), ikey.KindSet), nil)
	}
	it := m.NewIterator()
	defer it.Close()
	var nodes []uint32
	for ok := it.First(); ok; ok = it.Next() {
		nodes = append(nodes, it.off)
	}
	root := m.root.Load()
	defer m.root.Store(root)
	seekAll := func() {
		for range 20 {
			x := rng.IntN(2 * n)
			target := ikey.Seek(fmt.Appendf(nil, "%06d", x), ikey.MaxSeq)
			require.Equal(t, (x+1)/2 < n, it.SeekGE(target))
			if it.Valid() {
				require.Equal(t, fmt.Sprintf("%06d", (x+1)/2*2), string(it.Key().User))
			}
			require.Equal(t, x > 0, it.SeekLT(target))
			if it.Valid() {
				require.Equal(t, fmt.Sprintf("%06d", (x-1)/2*2), string(it.Key().User))
			}
		}
	}
	for range 50 {
		off := nodes[rng.IntN(n)]
		m.root.Store(off)
		seekAll()
		node := m.node(off)
		left, right := node.left.Load(), node.right.Load()
		node.left.Store(off)
		node.right.Store(off)
		seekAll()
		node.left.Store(left)
		node.right.Store(right)
	}
	m.root.Store(0)
	seekAll()
}

func TestReferences(t *testing.T) {
	m := New(Options{})
	require.True(t, m.Empty())
	m.Add(ikey.Make([]byte("k"), 1, ikey.KindSet), []byte("v"))
	it := m.NewIterator()
	require.True(t, it.First())
	m.Ref()
	m.Unref()
	m.Unref()
	require.Equal(t, "v", string(it.Value()), "an open iterator keeps the memory")
	require.NoError(t, it.Close())
	require.Nil(t, m.arena.maps, "the last reference frees it")
	require.NoError(t, it.Close(), "closing again does nothing")
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	require.Panics(t, func() { m.Get([]byte("k"), 1) }, "use after free")
}

// TestLargeStaysOutside checks the bound at which values leave the arena.
func TestLargeStaysOutside(t *testing.T) {
	m := New(Options{})
	defer m.Unref()
	for i, n := range []int{maxInlineValue - 1, maxInlineValue, 10 << 20} {
		v := bytes.Repeat([]byte{byte(i + 1)}, n)
		user := []byte{byte(i)}
		m.Add(ikey.Make(user, 1, ikey.KindSet), v)
		_, got, ok := m.Get(user, 1)
		require.True(t, ok)
		require.True(t, bytes.Equal(v, got))
	}
	require.Equal(t, 2, m.outside.n)
	require.Less(t, m.arena.used.Load(), int64(2*maxInlineValue))
	require.Greater(t, m.Bytes(), int64(10<<20))
}

// TestIndexComparesKeys lets the index lead from one user key to the node of another, as it
// does when hashes collide.
func TestIndexComparesKeys(t *testing.T) {
	m := New(Options{})
	defer m.Unref()
	m.Add(ikey.Make([]byte("here"), 1, ikey.KindSet), nil)
	m.index.put(hashOf([]byte("absent")), m.finger, 0)
	_, _, ok := m.Get([]byte("absent"), 1)
	require.False(t, ok)
	m.Add(ikey.Make([]byte("absent"), 2, ikey.KindSet), []byte("v"))
	_, v, ok := m.Get([]byte("absent"), 2)
	require.True(t, ok, "found behind the colliding one")
	require.Equal(t, "v", string(v))
}

// TestPrevWhileLinking stops an Add after the link forward and before the link back: a walk
// backwards agrees with one forwards.
func TestPrevWhileLinking(t *testing.T) {
	m := New(Options{})
	defer m.Unref()
	for i, user := range []string{"a", "b", "c"} {
		m.Add(ikey.Make([]byte(user), uint64(i), ikey.KindSet), nil)
	}
	it := m.NewIterator()
	defer it.Close()
	require.True(t, it.First())
	a := it.off
	require.True(t, it.Last())
	for _, succ := range []uint32{it.off, 0} { // behind b, and behind c at the end of the list
		was := m.node(succ).prev.Load()
		m.node(succ).prev.Store(a)
		var back []string
		for ok := it.Last(); ok; ok = it.Prev() {
			back = append(back, string(it.Key().User))
		}
		require.Equal(t, []string{"c", "b", "a"}, back)
		m.node(succ).prev.Store(was)
	}
}

// TestSpareChunks: what a memtable finds in a chunk that another one had is as good as nothing.
func TestSpareChunks(t *testing.T) {
	for round := range 3 {
		m := New(Options{SizeBytes: chunkLen})
		for i := range 1000 {
			key := bytes.Repeat([]byte{0xff}, 1+(i*7+round)%40)
			m.Add(ikey.Make(key, uint64(i+1), ikey.KindSet), key)
		}
		n := 0
		it := m.NewIterator()
		for ok := it.First(); ok; ok = it.Next() {
			require.Equal(t, it.Key().User, it.Value())
			n++
		}
		it.Close()
		require.Equal(t, 1000, n)
		for length := 1; length <= 40; length++ {
			key := bytes.Repeat([]byte{0xff}, length)
			_, v, ok := m.Get(key, ikey.MaxSeq)
			require.True(t, ok, "round %d, key of %d bytes", round, length)
			require.Equal(t, key, v)
		}
		_, _, ok := m.Get([]byte{0xff, 0}, ikey.MaxSeq)
		require.False(t, ok)
		m.Unref()
	}
}
