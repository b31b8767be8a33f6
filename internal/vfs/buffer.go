package vfs

import (
	"math/bits"
	"sync"
	"unsafe"
)

// BufferAlign is the address alignment of every buffer of this package: a memory page, which
// every device takes.
const BufferAlign = 4096

// The size classes of the pool are the powers of two from 4 KiB to 4 MiB. The small ones live in
// sync.Pools, which the garbage collector empties. The large ones live in free lists that keep
// at most largeIdleBytes for each class, so that a burst of big reads does not stay resident.
const (
	minClassBits   = 12
	firstLarge     = 17
	maxClassBits   = 22
	largeIdleBytes = 4 << 20
)

var (
	smallPools [firstLarge - minClassBits]sync.Pool
	largeLists = makeLargeLists()
)

func makeLargeLists() [maxClassBits - firstLarge + 1]chan *byte {
	var lists [maxClassBits - firstLarge + 1]chan *byte
	for i := range lists {
		lists[i] = make(chan *byte, largeIdleBytes>>(firstLarge+i))
	}
	return lists
}

// AlignedBuffer returns n zero bytes whose address is a multiple of BufferAlign. The caller
// owns them; they are not pooled.
func AlignedBuffer(n int) []byte {
	if n == 0 {
		return nil
	}
	// The runtime gives pages to large objects, so the second allocation is the rare case.
	b := make([]byte, n)
	if addressOf(b)&(BufferAlign-1) == 0 {
		return b
	}
	b = make([]byte, n+BufferAlign)
	skip := 0
	if a := int(addressOf(b) & (BufferAlign - 1)); a != 0 {
		skip = BufferAlign - a
	}
	return b[skip : skip+n : skip+n]
}

// GetBuffer returns an aligned buffer of n bytes, whose content is undefined, from the pool. Its
// owner may give it back with PutBuffer, once, when nothing refers to it any more.
func GetBuffer(n int) []byte {
	class, ok := classOf(n)
	if !ok {
		return AlignedBuffer(n)
	}
	size := 1 << class
	if class < firstLarge {
		if p, _ := smallPools[class-minClassBits].Get().(*byte); p != nil {
			return unsafe.Slice(p, size)[:n]
		}
		return AlignedBuffer(size)[:n]
	}
	select {
	case p := <-largeLists[class-firstLarge]:
		return unsafe.Slice(p, size)[:n]
	default:
		return AlignedBuffer(size)[:n]
	}
}

// PutBuffer gives a buffer of GetBuffer back. Its length may have changed, its start and its
// capacity not; a buffer that the pool has not made, or that it has no room for, is left to the
// garbage collector.
func PutBuffer(b []byte) {
	class, ok := classOf(cap(b))
	if !ok || cap(b) != 1<<class {
		return
	}
	p := unsafe.SliceData(b[:cap(b)])
	if uintptr(unsafe.Pointer(p))&(BufferAlign-1) != 0 {
		return
	}
	if class < firstLarge {
		smallPools[class-minClassBits].Put(p)
		return
	}
	select {
	case largeLists[class-firstLarge] <- p:
	default:
	}
}

// classOf returns the logarithm of the smallest size class that holds n bytes, and false for
// nothing and for more than the largest class.
func classOf(n int) (class int, ok bool) {
	if n <= 0 || n > 1<<maxClassBits {
		return 0, false
	}
	return max(bits.Len(uint(n-1)), minClassBits), true
}

// addressOf returns where b starts in memory. b has a capacity.
func addressOf(b []byte) uintptr {
	return uintptr(unsafe.Pointer(unsafe.SliceData(b)))
}

// isAligned reports whether a transfer of p at off may go to a direct file of that alignment as
// it is.
func isAligned(alignment int, p []byte, off int64) bool {
	unit := uint64(alignment)
	return (uint64(off)|uint64(len(p)))&(unit-1) == 0 &&
		uint64(addressOf(p))&(min(unit, BufferAlign)-1) == 0
}

func roundDown(n, unit int64) int64 { return n &^ (unit - 1) }

func roundUp(n, unit int64) int64 { return (n + unit - 1) &^ (unit - 1) }
