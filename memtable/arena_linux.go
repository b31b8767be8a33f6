//go:build linux && !race && (amd64 || arm64)

package memtable

import (
	"fmt"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// chunkShift makes chunks of 32 MiB of address space; pages are resident once they are used.
const chunkShift = 22

// chunk is a private mapping outside the Go heap.
type chunk []byte

// newChunk maps n zero bytes. It panics when the system has no address space left, as the Go
// runtime would for its own heap.
func newChunk(n int) chunk {
	b, err := unix.Mmap(-1, 0, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		panic(fmt.Sprintf("memtable: map %d bytes: %v", n, err))
	}
	// Advice only: on a system without huge pages everything works, with more TLB misses.
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE)
	return b
}

func (c chunk) base() unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(c)) }

func (c chunk) free() {
	if err := unix.Munmap(c); err != nil {
		panic(fmt.Sprintf("memtable: unmap %d bytes: %v", len(c), err))
	}
}

// freed returns where every freed chunk seems to lie: address space that nothing can access.
var freed = sync.OnceValue(func() unsafe.Pointer {
	b, err := unix.Mmap(-1, 0, chunkLen, unix.PROT_NONE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_NORESERVE)
	if err != nil {
		return nil // faults as well, for the most part
	}
	return unsafe.Pointer(unsafe.SliceData(b))
})
