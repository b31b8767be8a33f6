package memtable

import (
	"fmt"
	"sync/atomic"
	"unsafe"
)

// arena hands out memory that is addressed by 31-bit offsets in units of 8 bytes. It grows by
// chunks and gives everything back at once. An address is a table look-up away:
//
//	offset = chunk number << chunkShift | position within the chunk
//
// (One large reserved mapping would save that look-up. It is not measurable beside the cache
// misses of a descent, and a reservation can fail.)
//
// One goroutine allocates; any number may use at with offsets that were published to them.
type arena struct {
	chunks [maxChunks]unsafe.Pointer
	maps   []chunk // what free gives back
	next   uint32  // the next free unit
	end    uint32  // the end of the current chunk
	worn   bool    // the current chunk is not zero: another arena had it
	used   atomic.Int64
}

const (
	unit      = 8
	chunkLen  = unit << chunkShift
	maxChunks = 1 << (31 - chunkShift)
	chunkMask = 1<<chunkShift - 1
	// minChunkLen is what the first chunk of a small memtable has.
	minChunkLen = 64 << 10
)

// init makes the first chunk, a short one if the arena is to stay small.
func (a *arena) init(sizeBytes int64) {
	a.addChunk(0, int((max(1, min(sizeBytes, chunkLen))+minChunkLen-1)/minChunkLen*minChunkLen))
}

func (a *arena) addChunk(i uint32, n int) {
	if i >= maxChunks {
		panic(fmt.Sprintf("memtable: arena of %d bytes is full", uint64(maxChunks)*chunkLen))
	}
	c, worn := newChunk(n)
	a.worn = worn
	a.maps = append(a.maps, c)
	a.chunks[i] = c.base()
	a.next = i << chunkShift
	a.end = a.next + uint32(n/unit)
}

// alloc returns the offset of n zero bytes, n far less than chunkLen, aligned to 8. A chunk's
// last unit stays free, so that the address after an entry, where its empty value lies, is
// inside the chunk.
func (a *arena) alloc(n uintptr) uint32 {
	units := uint32((n + unit - 1) / unit)
	if a.end-a.next <= units {
		a.addChunk((a.end-1)>>chunkShift+1, chunkLen)
	}
	off := a.next
	a.next += units
	a.used.Add(int64(units) * unit)
	if a.worn {
		clear(unsafe.Slice((*uint64)(a.at(off)), units))
	}
	return off
}

// at returns the address of offset off. The offset came from alloc, so that neither index
// needs a check.
func (a *arena) at(off uint32) unsafe.Pointer {
	base := *(*unsafe.Pointer)(unsafe.Add(unsafe.Pointer(&a.chunks), uintptr(off>>chunkShift)*unsafe.Sizeof(uintptr(0))))
	return unsafe.Add(base, uintptr(off&chunkMask)*unit)
}

// free gives all memory back. A use of an offset after it faults.
func (a *arena) free() {
	for i := range a.maps {
		a.chunks[i] = freed()
	}
	for _, c := range a.maps {
		c.free()
	}
	a.maps, a.next, a.end = nil, 0, 0
}
