package cache

import (
	"sync/atomic"

	"github.com/cambiumdb/cambium/internal/invariants"
)

// cachedBit in a handle's state says that the cache knows the block; the bits below count pins.
const cachedBit = int64(1) << 32

// Handle is a pin on a buffer. Get and Alloc return it pinned once; each Retain needs one more
// Release. A Handle must not be used after its last Release.
type Handle struct {
	buf   []byte
	state atomic.Int64 // cachedBit + number of pins; the buffer is freed when both are gone
	pins  *atomic.Int64
	cache *Cache // nil: the buffer is the garbage collector's

	// Where the buffer lies; changes only under the shard's mutex while nothing pins it.
	slab *slab // nil: a mapping of its own in own
	slot int
	own  region
	size int64 // bytes that the buffer takes from the capacity

	// Set by Insert, then guarded by the shard's mutex.
	key          Key
	hash         uint64
	chain        *Handle // next in the hash bucket
	newer, older *Handle // neighbours in the queue
	fileNext     *Handle
	filePrev     *Handle
	queue        queueID
	freq         uint8
}

// Bytes is the buffer. It may be written only between Alloc and Insert.
func (h *Handle) Bytes() []byte {
	if invariants.Enabled {
		invariants.Check(h.state.Load()&(cachedBit-1) > 0, "Bytes of a released block %v", h.key)
	}
	return h.buf
}

// Retain adds a pin; the caller holds one already.
func (h *Handle) Retain() { h.pin() }

func (h *Handle) pin() {
	if h.state.Add(1)&(cachedBit-1) == 1 && h.pins != nil {
		h.pins.Add(h.size)
	}
}

// Release drops a pin. One Release too many panics: the memory may be someone else's by then.
func (h *Handle) Release() {
	size := h.size // may be written again once the pin is gone
	state := h.state.Add(-1)
	if state < 0 || state&(cachedBit-1) == cachedBit-1 {
		panic("cache: block released more often than it was pinned")
	}
	if state&(cachedBit-1) != 0 {
		return
	}
	c := h.cache
	if c == nil {
		poison(h.buf)
		return
	}
	h.pins.Add(-size)
	if state == 0 {
		h.free()
	}
	if c.arena.held.Load() > c.capacity.Load() {
		c.trim()
	}
}

func (h *Handle) cached() bool { return h.state.Load()&cachedBit != 0 }

// pinned reports whether someone outside the cache holds the block.
func (h *Handle) pinned() bool { return h.state.Load()&(cachedBit-1) != 0 }

// free gives the buffer back. The one who brought the state to zero calls it.
func (h *Handle) free() {
	a := &h.cache.arena
	if h.slab == nil {
		buf, own := h.buf, h.own
		h.buf, h.own = nil, region{}
		if a.onHeap {
			poison(buf)
		}
		own.unmap()
		a.held.Add(-h.size)
		return
	}
	h.slab.class.put(a, h)
}

// poison overwrites a freed buffer in builds with invariants.
func poison(b []byte) {
	if !invariants.Enabled {
		return
	}
	for i := range b {
		b[i] = 0xdb
	}
}
