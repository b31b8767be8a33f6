// Package block knows the physical blocks of RocksDB's block-based tables: handles, the
// trailer with its checksum, compression, the encodings of data, index and meta blocks, and
// reading a block through the block cache.
//
//	b := block.NewDataBuilder(16, false)
//	b.Add(key, value)
//	raw := b.Finish()                                  // uncompressed block
//	phys, typ := comp.Compress(nil, raw)               // maybe compressed
//	phys = block.AppendTrailer(phys, typ, block.ChecksumCRC32C)
//
//	h, err := src.Read(handle, block.ReadOptions{})    // cached, verified, decompressed
//	defer h.Release()
//	var it block.Iter
//	it.Init(h.Bytes(), origin)
//
// # Bytes
//
// A block on disk is its payload followed by a trailer of five bytes: the compression type and
// a fixed32 checksum over payload and type. A Handle counts the payload only. Except for
// snappy, whose format carries its own length, a compressed payload starts with the varint32
// length of the uncompressed block.
//
// An uncompressed data, index or meta block is
//
//	entry*  restart*(fixed32)  [hash index]  footer(fixed32)
//	entry = shared(varint32) unshared(varint32) vlen(varint32) key suffix, value
//	hash index = bucket*(uint8) count(uint16)     restart number; 255 empty, 254 collision
//	footer = number of restarts, its highest bit set when a hash index is present
//
// shared counts the bytes taken over from the previous key; it is 0 at a restart. In an index
// block with delta-encoded values an entry has no vlen, its value is a Handle (two varint64)
// where shared is 0, else the zig-zag varint64 by which its size differs from that of the block
// before it, which it follows directly. Source: RocksDB table/block_based and table/format.cc.
//
// Builders and iterators belong to one goroutine; a Source, a Dict and a Compressor's pools
// may be shared.
package block

import (
	"encoding/binary"
	"fmt"
)

// TrailerLen is the number of bytes that follow a block's payload in the file.
const TrailerLen = 5

// MaxSize is the largest uncompressed block, in bytes, that is read. A larger one is refused
// as corrupt: a block holds at least one entry, and values end at 64 MiB.
const MaxSize = 256 << 20

// Handle is the place of a block's payload in its file, in bytes. Size excludes the trailer.
type Handle struct{ Offset, Size uint64 }

// MaxHandleLen is the length of the longest encoded Handle in bytes.
const MaxHandleLen = 2 * binary.MaxVarintLen64

// Encode appends two varint64, offset and size, to dst.
func (h Handle) Encode(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, h.Offset)
	return binary.AppendUvarint(dst, h.Size)
}

// End is the offset of the first byte behind the block's trailer.
func (h Handle) End() uint64 { return h.Offset + h.Size + TrailerLen }

// String formats the handle as [offset,+size].
func (h Handle) String() string { return fmt.Sprintf("[%#x,+%d]", h.Offset, h.Size) }

// DecodeHandle reads a handle from the start of b; n is the number of bytes used, 0 when b
// holds no handle.
func DecodeHandle(b []byte) (h Handle, n int) {
	off, n1 := binary.Uvarint(b)
	if n1 <= 0 {
		return Handle{}, 0
	}
	size, n2 := binary.Uvarint(b[n1:])
	if n2 <= 0 {
		return Handle{}, 0
	}
	return Handle{Offset: off, Size: size}, n1 + n2
}

// uvarint32 reads a varint32 at b[i:]; next is 0 when there is none. One-byte lengths are the
// common case and cost one comparison.
func uvarint32(b []byte, i int) (v uint32, next int) {
	if i < len(b) && b[i] < 0x80 {
		return uint32(b[i]), i + 1
	}
	return uvarint32Slow(b, i)
}

func uvarint32Slow(b []byte, i int) (v uint32, next int) {
	for shift := uint(0); shift < 35 && i < len(b); shift += 7 {
		c := b[i]
		i++
		if c < 0x80 {
			if shift == 28 && c > 0x0f {
				return 0, 0
			}
			return v | uint32(c)<<shift, i
		}
		v |= uint32(c&0x7f) << shift
	}
	return 0, 0
}
