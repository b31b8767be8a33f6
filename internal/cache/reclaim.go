package cache

import "math"

// candidates is the number of slabs of a class that compact looks at: pinned blocks make
// some of them unmovable.
const candidates = 8

// slack is the part 1/slack of its slots that a class may leave free before it is compacted
// rather than another block evicted.
const slack = 16

// allocSlot gives h a slot for n bytes.
func (c *Cache) allocSlot(h *Handle, n int) {
	a := &c.arena
	cl := &a.classes[classOf(n)]
	for !cl.take(a, h, n) {
		if a.reserve(cl.slabBytes, c.capacity.Load()) {
			cl.add(a, h, n)
			return
		}
		if !c.reclaim() {
			a.held.Add(cl.slabBytes) // everything is pinned: exceed
			cl.add(a, h, n)
			return
		}
	}
}

// allocFree gives h a slot for n bytes if one can be had without an eviction.
func (c *Cache) allocFree(h *Handle, n int) bool {
	a := &c.arena
	cl := &a.classes[classOf(n)]
	if cl.take(a, h, n) {
		return true
	}
	if !a.reserve(cl.slabBytes, c.capacity.Load()) {
		return false
	}
	cl.add(a, h, n)
	return true
}

// allocLarge gives h a mapping of its own.
func (c *Cache) allocLarge(h *Handle, n int) {
	a := &c.arena
	h.size = (int64(n) + pageSize - 1) &^ (pageSize - 1)
	for !a.reserve(h.size, c.capacity.Load()) {
		if !c.reclaim() {
			a.held.Add(h.size)
			break
		}
	}
	if a.onHeap {
		h.buf = make([]byte, n)
		return
	}
	h.own = newRegion(h.size)
	h.buf = h.own.b[:n:n]
}

// trim evicts until the memory held fits the capacity or only pinned memory is left.
func (c *Cache) trim() {
	for c.arena.held.Load() > c.capacity.Load() && c.reclaim() {
	}
}

// reclaim makes one step towards free memory, the cheapest first: an empty slab, a slab's
// worth of scattered slots, a block. It reports false when all that is left is pinned.
func (c *Cache) reclaim() bool {
	return c.arena.dropSpare() || c.compactLoose() || c.evict(false) || c.compact(math.MaxInt) || c.evict(true)
}

// evict drops one block, going round the shards.
func (c *Cache) evict(high bool) bool {
	start := int(c.hand.Add(1))
	for i := range c.shards {
		s := &c.shards[(start+i)&(len(c.shards)-1)]
		s.mu.Lock()
		h := s.evict(high)
		s.mu.Unlock()
		if h != nil {
			h.free()
			return true
		}
	}
	return false
}

// compactLoose is compact where it does not cost evictions soon after.
func (c *Cache) compactLoose() bool {
	if !c.arena.loose.Load() {
		return false
	}
	c.arena.loose.Store(false)
	if !c.compact(slack) {
		return false
	}
	c.arena.loose.Store(true)
	return true
}

// compact empties one slab of the class with the most free bytes by moving its blocks into
// other slabs of the class, and unmaps it. Only classes count that are scattered(share).
func (c *Cache) compact(share int) bool {
	var best *class
	var bestFree int64
	for i := range c.arena.classes {
		cl := &c.arena.classes[i]
		cl.mu.Lock()
		free := int64(cl.free) * int64(cl.size)
		if free > bestFree && cl.scattered(share) {
			best, bestFree = cl, free
		}
		cl.mu.Unlock()
	}
	if best == nil {
		return false
	}
	for range candidates {
		s := best.emptiest()
		if s == nil {
			return false
		}
		if c.empty(s) {
			return true
		}
	}
	return false
}

// emptiest takes the slab with the fewest blocks out of the bins; empty puts it back. A slab
// that could not be emptied goes to the end of its bin, so that the next call gets another.
func (cl *class) emptiest() *slab {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	for b := 1; b < fullBins; b++ {
		if s := cl.bins[b]; s != nil {
			cl.unlink(s)
			s.emptying = true
			cl.free -= len(s.vacant)
			cl.total -= len(s.owners)
			return s
		}
	}
	return nil
}

// empty moves the blocks of s away and unmaps it; with a pinned block in it, it goes back.
func (c *Cache) empty(s *slab) bool {
	cl := s.class
	cl.mu.Lock()
	owners := make([]*Handle, 0, len(s.owners))
	for _, h := range s.owners {
		if h != nil {
			owners = append(owners, h)
		}
	}
	cl.mu.Unlock()
	for _, h := range owners {
		if !c.move(h, s) {
			break
		}
	}
	cl.mu.Lock()
	s.emptying = false
	done := s.live() == 0
	if !done {
		cl.free += len(s.vacant)
		cl.total += len(s.owners)
		cl.link(s)
		cl.moveLast(s)
	}
	cl.mu.Unlock()
	if done {
		c.arena.drop(s)
	}
	return done
}

// moveLast moves s to the end of its bin.
func (cl *class) moveLast(s *slab) {
	last := s
	for last.next != nil {
		last = last.next
	}
	if last == s {
		return
	}
	cl.unlink(s)
	last.next, s.prev = s, last
}

// move copies the block of h out of slab s. It reports whether h no longer stands in the way:
// moved, or gone by itself.
func (c *Cache) move(h *Handle, s *slab) bool {
	if !h.cached() {
		return h.state.Load() == 0
	}
	sh := c.shardOf(h.hash)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if h.state.Load() != cachedBit { // pinned, or evicted and about to be freed
		return h.state.Load() == 0
	}
	buf, slot := h.buf, h.slot
	if !s.class.take(&c.arena, h, len(buf)) {
		return false
	}
	copy(h.buf, buf)
	if c.arena.onHeap {
		poison(buf)
	}
	s.class.mu.Lock()
	s.class.vacate(&c.arena, s, slot)
	s.class.mu.Unlock()
	return true
}
