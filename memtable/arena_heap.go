//go:build race || !linux || !(amd64 || arm64)

package memtable

import "unsafe"

// chunkShift makes chunks of 8 MiB.
const chunkShift = 20

// chunk is memory of the Go heap without pointers. It stands in for a mapping where we have
// none, and under the race detector, which does not see memory outside the heap: there it
// would neither find a race nor take our atomics for the synchronisation that they are.
type chunk []uint64

func newChunk(n int) (c chunk, worn bool) { return make(chunk, n/unit), false }

func (c chunk) base() unsafe.Pointer { return unsafe.Pointer(unsafe.SliceData(c)) }

// free leaves the memory to the collector.
func (chunk) free() {}

// freed returns where every freed chunk seems to lie.
func freed() unsafe.Pointer { return nil }
