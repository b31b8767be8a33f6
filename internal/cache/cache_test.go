package cache

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/internal/invariants"
)

// stride is the distance of the bytes that fill writes and right checks.
const stride = 31

// fill writes bytes that follow from k.
func fill(b []byte, k Key) {
	for i := 0; i < len(b); i += stride {
		b[i] = byte(k.File*31 + k.Offset*7 + uint64(i))
	}
}

// right reports whether b is what fill wrote.
func right(b []byte, k Key) bool {
	for i := 0; i < len(b); i += stride {
		if b[i] != byte(k.File*31+k.Offset*7+uint64(i)) {
			return false
		}
	}
	return true
}

// read gets k, or makes it with n bytes as a reader of tables does.
func read(t require.TestingT, c *Cache, k Key, n int, p Priority) (hit bool) {
	h := c.Get(k)
	hit = h != nil
	if !hit {
		h = c.Alloc(n)
		fill(h.Bytes(), k)
		c.Insert(k, h, p)
	}
	if !right(h.Bytes(), k) {
		require.Fail(t, "wrong bytes", "%v", k)
	}
	h.Release()
	return hit
}

// each runs test with buffers in slabs and with buffers of the Go heap.
func each(t *testing.T, test func(t *testing.T, onHeap bool)) {
	for _, onHeap := range []bool{false, true} {
		t.Run(fmt.Sprintf("onHeap=%v", onHeap), func(t *testing.T) { test(t, onHeap) })
	}
}

func TestGetReturnsWhatWasInserted(t *testing.T) {
	each(t, func(t *testing.T, onHeap bool) {
		c := newCache(8<<20, onHeap)
		for _, n := range []int{0, 1, 127, 4000, maxClassSize, maxClassSize + 1, 300 << 10} {
			k := Key{uint64(n), 1}
			require.False(t, read(t, c, k, n, Normal))
			require.True(t, read(t, c, k, n, Normal))
			h := c.Get(k)
			require.Len(t, h.Bytes(), n)
			h.Release()
		}
		require.Nil(t, c.Get(Key{2, 1}))
		m := c.Metrics()
		require.EqualValues(t, 7, m.Entries)
		require.EqualValues(t, 14, m.Hits)
		require.EqualValues(t, 8, m.Misses)
		checkBooks(t, c, nil)
		c.Close()
		require.Zero(t, c.Metrics().Bytes)
		require.Nil(t, c.Get(Key{4000, 1}))
	})
}

func TestNilCache(t *testing.T) {
	var c *Cache
	require.Nil(t, c.Get(Key{1, 1}))
	h := c.Alloc(10)
	require.Len(t, h.Bytes(), 10)
	c.Insert(Key{1, 1}, h, Normal)
	h.Retain()
	h.Release()
	h.Release()
	require.Panics(t, h.Release)
	c.EvictFile(1)
	c.Resize(1)
	require.Zero(t, c.Metrics())
	require.False(t, c.Contains(Key{1, 1}))
	c.Close()
}

func TestSizeClassesWasteAtMostAnEighth(t *testing.T) {
	for n := minClassSize; n <= maxClassSize; n++ {
		size := classSize(classOf(n))
		require.GreaterOrEqual(t, size, n)
		require.LessOrEqual(t, (size-n)*8, n, "%d bytes in a slot of %d", n, size)
	}
	require.Equal(t, 0, classOf(0))
	require.Equal(t, classCount-1, classOf(maxClassSize))
	for _, capacity := range []int64{0, 1 << 20, 256 << 20, 64 << 30} {
		var a arena
		a.init(capacity, true)
		for i := range a.classes {
			cl := &a.classes[i]
			tail := cl.slabBytes - int64(cl.slots*cl.size)
			require.Less(t, tail, int64(min(cl.size, pageSize)))
			require.LessOrEqual(t, cl.slots, 1<<16)
		}
	}
}

// TestModel drives the cache with one goroutine against a map of what may be in it.
func TestModel(t *testing.T) {
	each(t, func(t *testing.T, onHeap bool) {
		rapid.Check(t, func(t *rapid.T) {
			capacity := rapid.SampledFrom([]int64{0, 64 << 10, 600 << 10, 3 << 20}).Draw(t, "capacity")
			c := newCache(capacity, onHeap)
			inserted := map[Key]int{} // length of what Get may return
			var pins []*Handle
			keyOf := map[*Handle]Key{}
			loose := map[*Handle]bool{}
			drop := func(i int) {
				pins[i].Release()
				pins = append(pins[:i], pins[i+1:]...)
			}
			for range rapid.IntRange(1, 300).Draw(t, "steps") {
				k := Key{uint64(rapid.IntRange(1, 5).Draw(t, "file")), uint64(rapid.IntRange(0, 40).Draw(t, "offset"))}
				switch rapid.IntRange(0, 9).Draw(t, "op") {
				case 0, 1, 2:
					if h := c.Get(k); h != nil {
						require.Equal(t, inserted[k], len(h.Bytes()))
						require.True(t, right(h.Bytes(), k))
						keyOf[h] = k
						pins = append(pins, h)
					}
				case 3, 4, 5, 6:
					n, ok := inserted[k]
					if !ok {
						n = rapid.SampledFrom([]int{10, 1000, 4096, 5000, 30000, 100000}).Draw(t, "n")
					}
					h := c.Alloc(n)
					fill(h.Bytes(), k)
					keyOf[h] = k
					inserted[k] = n
					c.Insert(k, h, Priority(rapid.IntRange(0, 2).Draw(t, "priority")))
					pins = append(pins, h)
				case 7:
					c.EvictFile(k.File)
					for o := range uint64(41) {
						require.False(t, c.Contains(Key{k.File, o}))
					}
				case 8:
					capacity = rapid.SampledFrom([]int64{0, 64 << 10, 600 << 10, 3 << 20}).Draw(t, "resize")
					c.Resize(capacity)
				}
				for len(pins) > 4 {
					drop(rapid.IntRange(0, len(pins)-1).Draw(t, "release"))
				}
				clear(loose)
				for _, h := range pins {
					require.True(t, right(h.Bytes(), keyOf[h]), "a pinned buffer changed")
					if !h.cached() {
						loose[h] = true
					}
				}
				list := make([]*Handle, 0, len(loose))
				for h := range loose {
					list = append(list, h)
				}
				pinnedHeld := checkBooks(t, c, list)
				require.LessOrEqual(t, c.Metrics().Bytes, capacity+pinnedHeld, "over the capacity without a pin to blame")
			}
			for len(pins) > 0 {
				drop(0)
			}
			require.Zero(t, c.Metrics().PinnedBytes)
			require.LessOrEqual(t, c.Metrics().Bytes, capacity)
			c.Close()
			require.Zero(t, c.Metrics().Bytes)
			require.Zero(t, c.Metrics().Entries)
		})
	})
}

// TestConcurrentUse has eight readers over a key space larger than the cache, while files are
// evicted and the capacity changes.
func TestConcurrentUse(t *testing.T) {
	each(t, func(t *testing.T, onHeap bool) {
		const capacity = 4 << 20
		c := newCache(capacity, onHeap)
		steps := 20000
		if invariants.Enabled {
			steps = 5000
		}
		var wg sync.WaitGroup
		for g := range 8 {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(7, uint64(g)))
				var held []*Handle
				for i := range steps {
					k := Key{1 + rng.Uint64N(6), rng.Uint64N(400)}
					n := 2000 + int(k.Offset)*20
					if k.Offset%97 == 0 {
						n += 60000
					}
					h := c.Get(k)
					if h == nil {
						h = c.Alloc(n)
						fill(h.Bytes(), k)
						c.Insert(k, h, Priority(rng.IntN(3)))
					}
					if len(h.Bytes()) != n || !right(h.Bytes(), k) {
						t.Errorf("wrong bytes for %v", k)
						return
					}
					held = append(held, h)
					if len(held) > 3 {
						j := rng.IntN(len(held))
						held[j].Release()
						held = append(held[:j], held[j+1:]...)
					}
					switch {
					case g == 0 && i%1000 == 0:
						c.EvictFile(1 + rng.Uint64N(6))
					case g == 1 && i%1000 == 0:
						c.Resize(capacity / 2 << rng.IntN(2))
					case g == 2 && i%100 == 0:
						c.Metrics()
					}
				}
				for _, h := range held {
					h.Release()
				}
			})
		}
		wg.Wait()
		c.Resize(capacity)
		require.Zero(t, c.Metrics().PinnedBytes)
		require.LessOrEqual(t, c.Metrics().Bytes, int64(capacity))
		require.Positive(t, c.Metrics().Hits)
		checkBooks(t, c, nil)
		c.Close()
		require.Zero(t, c.Metrics().Bytes)
	})
}

// TestUseAfterReleaseShows is what poisoning is for.
func TestUseAfterReleaseShows(t *testing.T) {
	if !invariants.Enabled {
		t.Log("skipped: buffers are poisoned in builds with invariants only")
		return
	}
	c := New(1 << 20)
	h := c.Alloc(4096)
	kept := h.Bytes()
	fill(kept, Key{1, 1})
	c.Insert(Key{1, 1}, h, Normal)
	h.Release()
	require.True(t, right(kept, Key{1, 1}), "cached")
	c.EvictFile(1)
	require.Equal(t, bytes.Repeat([]byte{0xdb}, 4096), kept)
	require.Panics(t, func() { h.Bytes() })
}

func TestReleaseTooOftenPanics(t *testing.T) {
	c := New(1 << 20)
	defer c.Close()
	h := c.Alloc(10)
	c.Insert(Key{1, 1}, h, Normal)
	h.Release()
	require.Panics(t, h.Release)
}

// TestPinnedOutlivesClose: a reader that still holds a block when the cache goes keeps it.
func TestPinnedOutlivesClose(t *testing.T) {
	each(t, func(t *testing.T, onHeap bool) {
		c := newCache(1<<20, onHeap)
		for _, n := range []int{4000, 100000} {
			k := Key{1, uint64(n)}
			read(t, c, k, n, High)
			h := c.Get(k)
			c.EvictFile(1)
			require.Positive(t, c.Metrics().PinnedBytes)
			if n == 100000 {
				c.Close()
			}
			require.True(t, right(h.Bytes(), k))
			h.Release()
		}
		require.Zero(t, c.Metrics().Bytes)
	})
}

// TestOffer: what nobody asked for is kept while there is room that nothing else has, displaces nothing, and goes first.
func TestOffer(t *testing.T) {
	c := newCache(1<<20, false)
	defer c.Close()
	block := make([]byte, 4096)
	read := func(k Key) {
		h := c.Alloc(len(block))
		fill(h.Bytes(), k)
		c.Insert(k, h, Normal)
		h.Release()
	}
	offered := uint64(0)
	for ; offered < 1000; offered++ {
		k := Key{1, offered}
		fill(block, k)
		if !c.Offer(k, block) {
			break
		}
	}
	require.Greater(t, offered, uint64(100))
	require.Less(t, offered, uint64(1000))
	m := c.Metrics()
	require.Zero(t, m.Evictions)
	require.Zero(t, m.PinnedBytes)
	require.LessOrEqual(t, m.Bytes, m.Capacity)
	for i := range offered {
		h := c.Get(Key{1, i})
		require.NotNil(t, h)
		require.True(t, right(h.Bytes(), Key{1, i}))
		h.Release()
	}
	clear(block)
	require.False(t, c.Offer(Key{2, 0}, block), "it would displace what is there")
	for i := range uint64(50) {
		read(Key{3, i})
	}
	require.True(t, c.Contains(Key{3, 49}))
	require.False(t, (*Cache)(nil).Offer(Key{1, 1}, block))
	require.False(t, c.Offer(Key{4, 0}, make([]byte, maxClassSize+1)))
}
