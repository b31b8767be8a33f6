package cache

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

const blockSize = 4096

// hitRate reads keys of file 1 at random and returns the share that was cached.
func hitRate(t *testing.T, c *Cache, rng *rand.Rand, keys uint64, reads int) float64 {
	hits := 0
	for range reads {
		if read(t, c, Key{1, rng.Uint64N(keys)}, blockSize, Normal) {
			hits++
		}
	}
	return float64(hits) / float64(reads)
}

// TestHotSetSurvivesScan: a hot set of half the cache stays while a scan of ten times the cache
// goes through, with the priority of scans and with that of point reads.
func TestHotSetSurvivesScan(t *testing.T) {
	for name, p := range map[string]Priority{"low": Low, "normal": Normal} {
		t.Run(name, func(t *testing.T) {
			const blocks = 2048
			c := New(blocks * blockSize)
			defer c.Close()
			rng := rand.New(rand.NewPCG(1, 2))
			hitRate(t, c, rng, blocks/2, 20*blocks)
			require.Greater(t, hitRate(t, c, rng, blocks/2, blocks), 0.99)
			for i := range uint64(10 * blocks) {
				read(t, c, Key{2, i}, blockSize, p)
			}
			kept := 0
			for i := range uint64(blocks / 2) {
				if c.Contains(Key{1, i}) {
					kept++
				}
			}
			require.Greater(t, kept, blocks/2*9/10, "of %d hot blocks", blocks/2)
		})
	}
}

// TestScanUsesIdleMemory: Low blocks may fill memory that nobody else wants, and come back
// when they are read again.
func TestScanUsesIdleMemory(t *testing.T) {
	c := New(4 << 20)
	defer c.Close()
	for range 2 {
		for i := range uint64(256) {
			read(t, c, Key{1, i}, blockSize, Low)
		}
	}
	require.EqualValues(t, 256, c.Metrics().Hits)
	// Read twice, they are ordinary blocks: the next scan does not displace them at once.
	for i := range uint64(4096) {
		read(t, c, Key{2, i}, blockSize, Low)
	}
	kept := 0
	for i := range uint64(256) {
		if c.Contains(Key{1, i}) {
			kept++
		}
	}
	require.Greater(t, kept, 200)
}

// TestHighGoesLast: index and filter blocks stay while data fills the cache many times over, and
// go when only they are left.
func TestHighGoesLast(t *testing.T) {
	c := New(2 << 20)
	defer c.Close()
	for i := range uint64(64) {
		read(t, c, Key{9, i}, blockSize, High)
	}
	for i := range uint64(20000) {
		read(t, c, Key{1, i % 3000}, blockSize, Normal)
	}
	for i := range uint64(64) {
		require.True(t, c.Contains(Key{9, i}))
	}
	c.Resize(0)
	require.Zero(t, c.Metrics().Entries)
}

// TestReturningBlocksAreKept: blocks of a loop somewhat larger than the cache are remembered
// after they left and reach the main queue.
func TestReturningBlocksAreKept(t *testing.T) {
	c := New(1024 * blockSize)
	defer c.Close()
	for range 5 {
		for i := range uint64(1200) {
			read(t, c, Key{1, i}, blockSize, Normal)
		}
	}
	before := c.Metrics().Hits
	for i := range uint64(1200) {
		read(t, c, Key{1, i}, blockSize, Normal)
	}
	require.Greater(t, c.Metrics().Hits-before, uint64(200))
}

// TestZipf compares with the share of reads that the best static choice would serve.
func TestZipf(t *testing.T) {
	const blocks, keys = 1024, 16 * 1024
	c := New(blocks * blockSize)
	defer c.Close()
	z := rand.NewZipf(rand.New(rand.NewPCG(3, 4)), 1.1, 1, keys-1)
	ideal, hits, reads := 0, 0, 0
	for i := range 80000 {
		k := z.Uint64()
		hit := read(t, c, Key{1, k}, blockSize, Normal)
		if i < 20000 {
			continue
		}
		reads++
		if hit {
			hits++
		}
		if k < blocks {
			ideal++
		}
	}
	require.Greater(t, float64(hits), 0.9*float64(ideal), "%d hits, %d ideal of %d", hits, ideal, reads)
}

// TestShiftOfBlockSizes: memory moves to the sizes in use; the cache fills with each size in
// turn although blocks of the sizes before are spread over every slab.
func TestShiftOfBlockSizes(t *testing.T) {
	each(t, func(t *testing.T, onHeap bool) {
		const capacity = 4 << 20
		c := newCache(capacity, onHeap)
		defer c.Close()
		rng := rand.New(rand.NewPCG(5, 6))
		for file, n := range []int{4096, 1000, 20000, 500, 100000, 8192} {
			for range 4 * capacity / n {
				read(t, c, Key{uint64(file), rng.Uint64N(1 << 40)}, n, Normal)
				require.LessOrEqual(t, c.Metrics().Bytes, int64(capacity))
			}
			live := int64(0)
			for i := range c.shards {
				for h := c.shards[i].files[uint64(file)]; h != nil; h = h.fileNext {
					live += int64(n)
				}
			}
			require.Greater(t, live, int64(capacity*3/5), "bytes of %d-byte blocks", n)
			checkBooks(t, c, nil)
		}
	})
}

// TestCompactionMovesBlocks: one block of each slab stays when the others go; another size gets
// their memory, and no block is evicted for it.
func TestCompactionMovesBlocks(t *testing.T) {
	each(t, func(t *testing.T, onHeap bool) {
		const capacity = 4 << 20
		c := newCache(capacity, onHeap)
		defer c.Close()
		slots := uint64(c.arena.classes[classOf(blockSize)].slots)
		require.Greater(t, slots, uint64(1))
		n := uint64(capacity / blockSize)
		for i := range n {
			read(t, c, Key{1 + min(i%slots, 1), i}, blockSize, Normal)
		}
		require.Zero(t, c.Metrics().Evictions)
		c.EvictFile(2)
		require.EqualValues(t, capacity, c.Metrics().Bytes, "every slab has a block left")
		for i := range uint64(capacity / 2 / 10240) {
			read(t, c, Key{3, i}, 10240, Normal)
		}
		require.Zero(t, c.Metrics().Evictions)
		for i := uint64(0); i < n; i += slots {
			require.True(t, read(t, c, Key{1, i}, blockSize, Normal), "block %d", i)
		}
		require.LessOrEqual(t, c.Metrics().Bytes, int64(capacity))
		checkBooks(t, c, nil)
	})
}

// TestMemoryGoesBack: an emptied cache keeps at most one slab for each class that was used.
func TestMemoryGoesBack(t *testing.T) {
	c := New(16 << 20)
	defer c.Close()
	for i := range uint64(3000) {
		read(t, c, Key{1, i}, blockSize, Normal)
	}
	require.Greater(t, c.Metrics().Bytes, int64(11<<20))
	c.EvictFile(1)
	require.LessOrEqual(t, c.Metrics().Bytes, int64(64<<10))
}

// TestExceedsOnlyForPins: what does not fit because of pins is allocated all the same, and
// given back when the pins go.
func TestExceedsOnlyForPins(t *testing.T) {
	each(t, func(t *testing.T, onHeap bool) {
		const capacity = 1 << 20
		c := newCache(capacity, onHeap)
		defer c.Close()
		var pins []*Handle
		for i := range uint64(1000) {
			h := c.Alloc(blockSize)
			fill(h.Bytes(), Key{1, i})
			c.Insert(Key{1, i}, h, Normal)
			pins = append(pins, h)
		}
		require.GreaterOrEqual(t, c.Metrics().PinnedBytes, int64(1000*blockSize))
		require.LessOrEqual(t, c.Metrics().Bytes, int64(1000*blockSize+64<<10))
		for i, h := range pins {
			require.True(t, right(h.Bytes(), Key{1, uint64(i)}))
			h.Release()
		}
		require.LessOrEqual(t, c.Metrics().Bytes, int64(capacity))
		require.Positive(t, c.Metrics().Entries)
		checkBooks(t, c, nil)
	})
}
