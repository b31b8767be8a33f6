package cache

import (
	"math/bits"
	"sync"
	"sync/atomic"
)

const (
	pageSize     = 4096
	minClassSize = 128
	maxClassSize = 32 << 10
	classCount   = 8*8 + 1 // eight steps for each doubling from minClassSize to maxClassSize

	minSlab = 16 << 10
	maxSlab = 4 << 20
)

// classOf returns the smallest class that holds n bytes, n <= maxClassSize.
func classOf(n int) int {
	if n <= minClassSize {
		return 0
	}
	k := bits.Len(uint(n-1)) - 1 // n is in (2^k, 2^(k+1)]
	return (k-7)*8 + (n-1)>>(k-3) - 7
}

// classSize is the slot size of class i in bytes.
func classSize(i int) int { return (8 + i%8) << (i/8 + 4) }

// arena is all memory of a cache.
type arena struct {
	held    atomic.Int64 // bytes mapped or about to be
	spares  atomic.Int64 // empty slabs that wait for use
	loose   atomic.Bool  // some class may be worth compacting
	onHeap  bool         // slots are of the Go heap; slabs only keep the books
	classes [classCount]class
}

func (a *arena) init(capacity int64, onHeap bool) {
	a.onHeap = onHeap
	target := min(max(capacity/1024, minSlab), maxSlab)
	for i := range a.classes {
		cl := &a.classes[i]
		cl.size = classSize(i)
		cl.slabBytes = (int64(max(int(target)/cl.size, 4))*int64(cl.size) + pageSize - 1) &^ (pageSize - 1)
		cl.slots = int(cl.slabBytes) / cl.size
	}
}

// reserve takes n bytes when they fit into limit.
func (a *arena) reserve(n, limit int64) bool {
	for {
		held := a.held.Load()
		if held+n > limit {
			return false
		}
		if a.held.CompareAndSwap(held, held+n) {
			return true
		}
	}
}

// fullBins is the number of bins for slabs with free slots, by how full they are: bin 0 holds
// the empty ones, bin fullBins the full ones.
const fullBins = 8

// class is the slabs of one slot size.
type class struct {
	size, slots int
	slabBytes   int64

	mu          sync.Mutex          // guards bins, free, total and all slabs of the class
	bins        [fullBins + 1]*slab // lists through slab.next
	free, total int                 // slots, without those of a slab that is being emptied
}

// slab is one mapping cut into slots.
type slab struct {
	class      *class
	mem        region
	vacant     []uint16  // free slots
	owners     []*Handle // who has each slot
	bin        int
	prev, next *slab
	emptying   bool // takes no new owners, is in no bin
}

// region is memory from the operating system, or from the heap where that refused.
type region struct {
	b      []byte
	mapped bool
}

func newRegion(n int64) region {
	if b, err := mapMemory(int(n)); err == nil {
		return region{b, true}
	}
	return region{b: make([]byte, n)}
}

func (r region) unmap() {
	if r.mapped {
		unmapMemory(r.b)
	}
}

func (s *slab) live() int { return len(s.owners) - len(s.vacant) }

// wantBin is the bin that the slab belongs into.
func (s *slab) wantBin() int {
	live := s.live()
	switch {
	case live == 0:
		return 0
	case live == len(s.owners):
		return fullBins
	}
	return 1 + live*(fullBins-1)/len(s.owners)
}

func (cl *class) link(s *slab) {
	s.bin = s.wantBin()
	s.prev, s.next = nil, cl.bins[s.bin]
	if s.next != nil {
		s.next.prev = s
	}
	cl.bins[s.bin] = s
}

func (cl *class) unlink(s *slab) {
	if s.prev != nil {
		s.prev.next = s.next
	} else {
		cl.bins[s.bin] = s.next
	}
	if s.next != nil {
		s.next.prev = s.prev
	}
	s.prev, s.next = nil, nil
}

func (cl *class) rebin(s *slab) {
	if s.wantBin() != s.bin {
		cl.unlink(s)
		cl.link(s)
	}
}

// take gives h a slot for n bytes from a slab that has one, the fullest first.
func (cl *class) take(a *arena, h *Handle, n int) bool {
	cl.mu.Lock()
	defer cl.mu.Unlock()
	for b := fullBins - 1; b >= 0; b-- {
		if s := cl.bins[b]; s != nil {
			if b == 0 {
				a.spares.Add(-1)
			}
			cl.place(a, s, h, n)
			return true
		}
	}
	return false
}

// add makes a slab, whose bytes are reserved, and gives h a slot of it.
func (cl *class) add(a *arena, h *Handle, n int) {
	s := &slab{class: cl, owners: make([]*Handle, cl.slots), vacant: make([]uint16, cl.slots)}
	if !a.onHeap {
		s.mem = newRegion(cl.slabBytes)
	}
	for i := range s.vacant {
		s.vacant[i] = uint16(cl.slots - 1 - i)
	}
	cl.mu.Lock()
	defer cl.mu.Unlock()
	cl.free += cl.slots
	cl.total += cl.slots
	cl.link(s)
	cl.place(a, s, h, n)
}

// place gives h a vacant slot of s.
func (cl *class) place(a *arena, s *slab, h *Handle, n int) {
	slot := int(s.vacant[len(s.vacant)-1])
	s.vacant = s.vacant[:len(s.vacant)-1]
	s.owners[slot] = h
	cl.free--
	cl.rebin(s)
	h.slab, h.slot, h.size = s, slot, int64(cl.size)
	if a.onHeap {
		h.buf = make([]byte, n)
	} else {
		h.buf = s.mem.b[slot*cl.size : slot*cl.size+n : slot*cl.size+n]
	}
}

// put takes the slot of h back. The first empty slab of a class stays for the next
// allocation, further ones go to the operating system.
func (cl *class) put(a *arena, h *Handle) {
	buf := h.buf
	if a.onHeap {
		poison(buf)
	}
	cl.mu.Lock()
	h.buf = nil
	gone := cl.vacate(a, h.slab, h.slot)
	cl.mu.Unlock()
	a.drop(gone)
}

// vacate frees a slot and returns its slab when that is to be dropped.
func (cl *class) vacate(a *arena, s *slab, slot int) (gone *slab) {
	s.owners[slot] = nil
	s.vacant = append(s.vacant, uint16(slot))
	if s.emptying {
		return nil
	}
	cl.free++
	if s.live() == 0 && cl.bins[0] != nil {
		cl.forget(s)
		return s
	}
	if s.live() == 0 {
		a.spares.Add(1)
	}
	cl.rebin(s)
	if cl.scattered(slack) && !a.loose.Load() {
		a.loose.Store(true)
	}
	return nil
}

// scattered reports whether the class can lose a slab and keep total/share slots free.
func (cl *class) scattered(share int) bool {
	return cl.free >= cl.slots+cl.total/share
}

// forget takes s out of the class.
func (cl *class) forget(s *slab) {
	cl.unlink(s)
	cl.free -= len(s.vacant)
	cl.total -= len(s.owners)
}

// drop unmaps a slab that its class forgot.
func (a *arena) drop(s *slab) {
	if s == nil {
		return
	}
	s.mem.unmap()
	a.held.Add(-s.class.slabBytes)
}

// dropSpare unmaps one empty slab and reports whether there was one.
func (a *arena) dropSpare() bool {
	if a.spares.Load() == 0 {
		return false
	}
	for i := range a.classes {
		cl := &a.classes[i]
		cl.mu.Lock()
		s := cl.bins[0]
		if s != nil {
			cl.forget(s)
			a.spares.Add(-1)
		}
		cl.mu.Unlock()
		if s != nil {
			a.drop(s)
			return true
		}
	}
	return false
}
