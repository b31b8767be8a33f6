// Package cache keeps immutable blocks of table and blob files in memory that the garbage
// collector does not see, under one bound.
//
//	c := cache.New(256 << 20)
//	h := c.Get(cache.Key{File: 12, Offset: 4096})
//	if h == nil {
//		h = c.Alloc(n)                             // fill h.Bytes(), then share it
//		c.Insert(cache.Key{File: 12, Offset: 4096}, h, cache.Normal)
//	}
//	use(h.Bytes())
//	h.Release()
//
// # Memory
//
// Buffers are slots of slabs, one slab for one size class; a class wastes at most an eighth
// of a buffer of 128 bytes or more. Buffers over 32 KiB have a mapping of their own. Capacity
// counts what is mapped, not what is used, so it bounds what the process holds. When room is
// wanted and one class has a slab's worth of free slots, the live blocks of its emptiest slab
// move together and the slab goes back to the operating system: a change of block sizes pins
// no memory. Only pinned buffers can hold memory above the capacity.
//
// # Policy
//
// Each shard runs S3-FIFO (Yang et al., SOSP 2023): new blocks wait in a small queue and reach
// the main queue when they are read again there, or when they come back soon after they left.
// Blocks inserted with Low wait in a queue of their own that is emptied first; blocks inserted
// with High go only when nothing else is left. What is offered is kept as Low, and displaces nothing.
//
// # Concurrency
//
// All methods may be called by several goroutines. A nil *Cache is valid: Get misses, Alloc
// gives buffers of the Go heap. In builds with invariants every buffer is of the Go heap and is
// overwritten when it is freed, so that a use after Release shows. Lock order: a shard, then a
// size class.
package cache

import (
	"bytes"
	"math/bits"
	"runtime"
	"sync/atomic"

	"github.com/cambiumdb/cambium/internal/invariants"
)

// Key names a block: the number of its file and its offset there. A key always names the
// same bytes; file numbers are never used again.
type Key struct{ File, Offset uint64 }

// Priority says how a block competes for memory.
type Priority uint8

const (
	// Normal is for blocks read by point lookups.
	Normal Priority = iota
	// Low is for blocks that a scan or a compaction reads: they displace only each other
	// until they are read a second time.
	Low
	// High is for index and filter blocks: evicted when nothing else can be.
	High
)

const (
	maxShards    = 64
	shardMinSize = 512 << 10 // a shard with less capacity than this decides badly
	pinStripes   = 16
)

// Cache is a bounded set of blocks. Make one with New.
type Cache struct {
	capacity atomic.Int64
	closed   atomic.Bool
	arena    arena
	shards   []shard
	hand     atomic.Uint32 // shard where the next eviction starts
	stripe   atomic.Uint32 // stripe of the next allocation
	pins     [pinStripes]pinCount
}

// pinCount is padded to a cache line: hits on different stripes do not meet.
type pinCount struct {
	bytes atomic.Int64
	_     [56]byte
}

// Metrics is a reading of the counters. Bytes is the memory mapped; PinnedBytes the part of it
// in buffers that somebody holds: zero when every handle was released.
type Metrics struct {
	Capacity, Bytes, PinnedBytes int64
	Entries                      int64
	Hits, Misses, Evictions      uint64
}

// New makes a cache that holds at most capacity bytes.
func New(capacity int64) *Cache { return newCache(capacity, invariants.Enabled) }

// newCache is New with a choice of the Go heap for all buffers.
func newCache(capacity int64, onHeap bool) *Cache {
	c := &Cache{}
	c.capacity.Store(max(capacity, 0))
	c.arena.init(capacity, onHeap)
	c.shards = make([]shard, shardCount(capacity, runtime.GOMAXPROCS(0)))
	for i := range c.shards {
		c.shards[i].init()
	}
	return c
}

// shardCount returns a power of two: enough shards that procs goroutines seldom meet, few
// enough that each still has blocks to choose from.
func shardCount(capacity int64, procs int) int {
	n := min(int64(8*procs), capacity/shardMinSize, maxShards)
	if n < 1 {
		return 1
	}
	return 1 << (bits.Len64(uint64(n)) - 1)
}

// hash spreads k over 64 bits: the low ones choose the shard, the middle ones the bucket, the
// high ones are the fingerprint.
func (k Key) hash() uint64 {
	x := k.File*0x9e3779b97f4a7c15 ^ bits.RotateLeft64(k.Offset*0xc2b2ae3d27d4eb4f, 32)
	x ^= x >> 32
	x *= 0xd6e8feb86659fd93
	return x ^ x>>29
}

func (c *Cache) shardOf(hash uint64) *shard { return &c.shards[hash&uint64(len(c.shards)-1)] }

// Get returns the block of k pinned, or nil. The caller releases it.
func (c *Cache) Get(k Key) *Handle {
	if c == nil {
		return nil
	}
	hash := k.hash()
	s := c.shardOf(hash)
	s.mu.Lock()
	h := s.find(k, hash)
	if h == nil {
		s.misses++
		s.mu.Unlock()
		return nil
	}
	s.hits++
	if h.freq < maxFreq {
		h.freq++
	}
	h.pin()
	s.mu.Unlock()
	return h
}

// Contains reports whether k is cached; it counts as no use of the block.
func (c *Cache) Contains(k Key) bool {
	if c == nil {
		return false
	}
	hash := k.hash()
	s := c.shardOf(hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.find(k, hash) != nil
}

// LargeBytes is the length from which a buffer for one value is better taken from Alloc than from the Go heap:
// there it would be garbage afterwards, and the collector lets the heap double before it runs.
const LargeBytes = 1 << 20

// Alloc returns a pinned buffer of n bytes with unspecified content, known to nobody else.
// It evicts to stay under the capacity and exceeds it only when all the rest is pinned.
func (c *Cache) Alloc(n int) *Handle {
	if c == nil {
		h := &Handle{buf: make([]byte, n)}
		h.state.Store(1)
		return h
	}
	h := c.newHandle()
	if n > maxClassSize {
		c.allocLarge(h, n)
	} else {
		c.allocSlot(h, n)
	}
	h.pin()
	return h
}

func (c *Cache) newHandle() *Handle {
	return &Handle{cache: c, pins: &c.pins[c.stripe.Add(1)%pinStripes].bytes}
}

// Offer keeps a copy of the block of k, which nobody has asked for, as if it had been read with Low, if there is room for it that nothing
// else has. It reports whether it does.
func (c *Cache) Offer(k Key, b []byte) bool {
	if c == nil || c.closed.Load() || len(b) > maxClassSize {
		return false
	}
	h := c.newHandle()
	if !c.allocFree(h, len(b)) {
		return false
	}
	h.pin()
	copy(h.buf, b)
	c.Insert(k, h, Low)
	h.Release()
	return true
}

// Insert shares h as the block of k; the caller's pin stays. From now on nobody may write to
// the buffer. When k is cached already that block stays, and h lives as long as its pins.
// The caller must be the only holder of h.
func (c *Cache) Insert(k Key, h *Handle, p Priority) {
	if c == nil || h.cache != c || c.closed.Load() {
		return
	}
	if invariants.Enabled {
		invariants.Check(!h.cached(), "block %v inserted twice", k)
	}
	h.key, h.hash = k, k.hash()
	s := c.shardOf(h.hash)
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.find(k, h.hash); old != nil {
		if invariants.Enabled {
			invariants.Check(bytes.Equal(old.buf, h.buf), "two contents for block %v", k)
		}
		return
	}
	s.insert(h, p)
	h.state.Add(cachedBit)
}

// EvictFile drops the blocks of a file that is gone. Pinned ones live until they are released.
func (c *Cache) EvictFile(file uint64) {
	if c == nil {
		return
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		freed := s.removeFile(file)
		s.mu.Unlock()
		c.freeChain(freed)
	}
}

// Resize changes the capacity and evicts down to it.
func (c *Cache) Resize(capacity int64) {
	if c == nil {
		return
	}
	c.capacity.Store(max(capacity, 0))
	c.trim()
}

// Metrics reads the counters.
func (c *Cache) Metrics() Metrics {
	if c == nil {
		return Metrics{}
	}
	m := Metrics{Capacity: c.capacity.Load(), Bytes: c.arena.held.Load()}
	for i := range c.pins {
		m.PinnedBytes += c.pins[i].bytes.Load()
	}
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		m.Entries += int64(s.entries)
		m.Hits += s.hits
		m.Misses += s.misses
		m.Evictions += s.evictions
		s.mu.Unlock()
	}
	return m
}

// Close drops every block and gives all memory back. Buffers still pinned stay valid and
// their memory goes with their last Release. Get misses and Insert does nothing afterwards.
func (c *Cache) Close() {
	if c == nil {
		return
	}
	c.closed.Store(true)
	c.capacity.Store(0)
	for i := range c.shards {
		s := &c.shards[i]
		s.mu.Lock()
		freed := s.removeAll()
		s.mu.Unlock()
		c.freeChain(freed)
	}
	c.trim()
}

// freeChain frees the handles linked through chain.
func (c *Cache) freeChain(h *Handle) {
	for h != nil {
		next := h.chain
		h.chain = nil
		h.free()
		h = next
	}
}
