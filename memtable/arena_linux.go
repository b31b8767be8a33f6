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

// spares are chunks of chunkLen that were freed. The next memtable takes them: a page that it has already need not be
// found and cleared, which costs more than to fill it. The system may take the pages of a spare back whenever it is
// short of memory, so that they count towards no budget.
var spares struct {
	sync.Mutex
	chunks []chunk
}

// maxSpares is how many there are in a process: those of a memtable of the default size.
const maxSpares = 2

// newChunk returns n bytes, zero unless worn. It panics when the system has no address space left, as the Go runtime
// would for its own heap.
func newChunk(n int) (c chunk, worn bool) {
	if n == chunkLen {
		if c := takeSpare(); c != nil {
			return c, true
		}
	}
	return mapChunk(n), false
}

func takeSpare() chunk {
	spares.Lock()
	defer spares.Unlock()
	n := len(spares.chunks)
	if n == 0 {
		return nil
	}
	c := spares.chunks[n-1]
	spares.chunks = spares.chunks[:n-1]
	return c
}

// keepSpare keeps a chunk that is not needed, if there is room.
func keepSpare(c chunk) bool {
	if len(c) != chunkLen || unix.Madvise(c, unix.MADV_FREE) != nil {
		return false
	}
	spares.Lock()
	defer spares.Unlock()
	if len(spares.chunks) == maxSpares {
		return false
	}
	spares.chunks = append(spares.chunks, c)
	return true
}

// mapChunk maps n zero bytes.
func mapChunk(n int) chunk {
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
	if keepSpare(c) {
		return
	}
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
