package cache

import (
	"github.com/stretchr/testify/require"
)

// checkBooks recomputes what a quiet cache derives from its parts and compares. It returns the
// bytes of slabs and mappings that a pinned buffer holds; loose are the pinned handles that
// were never inserted or no longer are.
func checkBooks(t require.TestingT, c *Cache, loose []*Handle) (pinnedHeld int64) {
	var held, spares int64
	for i := range c.arena.classes {
		cl := &c.arena.classes[i]
		free, total := 0, 0
		for b, s := range cl.bins {
			for ; s != nil; s = s.next {
				require.Equal(t, b, s.bin)
				require.Equal(t, b, s.wantBin())
				require.False(t, s.emptying)
				held += cl.slabBytes
				free += len(s.vacant)
				total += len(s.owners)
				if b == 0 {
					spares++
				}
				pinned := false
				for slot, h := range s.owners {
					if h != nil {
						require.Same(t, s, h.slab)
						require.Equal(t, slot, h.slot)
						pinned = pinned || h.pinned()
					}
				}
				if pinned {
					pinnedHeld += cl.slabBytes
				}
			}
		}
		require.Equal(t, free, cl.free)
		require.Equal(t, total, cl.total)
	}
	require.Equal(t, spares, c.arena.spares.Load())

	pinned := int64(0)
	count := func(h *Handle) {
		if h.pinned() {
			pinned += h.size
		}
		if h.slab == nil {
			held += h.size
			if h.pinned() {
				pinnedHeld += h.size
			}
		}
	}
	for i := range c.shards {
		checkShard(t, &c.shards[i], count)
	}
	for _, h := range loose {
		require.False(t, h.cached())
		count(h)
	}
	m := c.Metrics()
	require.Equal(t, held, m.Bytes)
	require.Equal(t, pinned, m.PinnedBytes)
	return pinnedHeld
}

func checkShard(t require.TestingT, s *shard, visit func(*Handle)) {
	inTable, inFiles := 0, 0
	for _, h := range s.buckets {
		for ; h != nil; h = h.chain {
			require.Same(t, h, s.find(h.key, h.hash))
			require.True(t, h.cached())
			visit(h)
			inTable++
		}
	}
	for file, h := range s.files {
		require.NotNil(t, h)
		for ; h != nil; h = h.fileNext {
			require.Equal(t, file, h.key.File)
			inFiles++
		}
	}
	inQueues := 0
	for q := range s.queue {
		n, bytes := 0, int64(0)
		for h := s.queue[q].oldest; h != nil; h = h.newer {
			require.Equal(t, queueID(q), h.queue)
			n++
			bytes += h.size
		}
		require.Equal(t, n, s.queue[q].n)
		require.Equal(t, bytes, s.queue[q].bytes)
		inQueues += n
	}
	require.Equal(t, s.entries, inTable)
	require.Equal(t, s.entries, inFiles)
	require.Equal(t, s.entries, inQueues)
}
