package block

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"math/bits"

	"github.com/cespare/xxhash/v2"
	"github.com/zeebo/xxh3"
)

// ChecksumType is the footer byte that says how a table's blocks are checked.
type ChecksumType uint8

// The checksum types of RocksDB (include/rocksdb/table.h).
const (
	ChecksumNone     ChecksumType = 0
	ChecksumCRC32C   ChecksumType = 1
	ChecksumXXHash32 ChecksumType = 2
	ChecksumXXHash64 ChecksumType = 3
	ChecksumXXH3     ChecksumType = 4
)

// String returns the name that errors and dumps print.
func (t ChecksumType) String() string {
	switch t {
	case ChecksumNone:
		return "none"
	case ChecksumCRC32C:
		return "crc32c"
	case ChecksumXXHash32:
		return "xxhash32"
	case ChecksumXXHash64:
		return "xxhash64"
	case ChecksumXXH3:
		return "xxh3"
	}
	return fmt.Sprintf("checksum(%d)", uint8(t))
}

// Known reports whether t is a type that Checksum computes.
func (t ChecksumType) Known() bool { return t <= ChecksumXXH3 }

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// lastByteMul spreads the compression type over an XXH3 checksum, which leaves the type byte
// out of the hashed bytes (table/format.cc, ModifyChecksumForLastByte).
const lastByteMul = 0x6b9083d9

// Checksum returns the stored form of the checksum of a block: b is the payload followed by
// the compression type byte.
func Checksum(t ChecksumType, b []byte) uint32 {
	switch t {
	case ChecksumCRC32C:
		c := crc32.Checksum(b, castagnoli)
		return bits.RotateLeft32(c, 17) + 0xa282ead8
	case ChecksumXXHash32:
		return xxh32(b)
	case ChecksumXXHash64:
		return uint32(xxhash.Sum64(b))
	case ChecksumXXH3:
		n := len(b) - 1
		if n < 0 {
			return 0
		}
		return uint32(xxh3.Hash(b[:n])) ^ uint32(b[n])*lastByteMul
	}
	return 0
}

// AppendTrailer appends to payload, which is in the form typ, the type byte and the checksum.
func AppendTrailer(payload []byte, typ Compression, t ChecksumType) []byte {
	payload = append(payload, byte(typ))
	return binary.LittleEndian.AppendUint32(payload, Checksum(t, payload))
}

// ContextModifier is what format version 6 adds to the checksum of a block at offset, so that
// a block that lands in the wrong place or file is noticed. base 0 means none.
func ContextModifier(base uint32, offset uint64) uint32 {
	if base == 0 {
		return 0
	}
	return base ^ (uint32(offset) + uint32(offset>>32))
}

const (
	xxp32a uint32 = 2654435761
	xxp32b uint32 = 2246822519
	xxp32c uint32 = 3266489917
	xxp32d uint32 = 668265263
	xxp32e uint32 = 374761393
)

// xxh32 is XXH32 with seed 0 (https://github.com/Cyan4973/xxHash, doc/xxhash_spec.md).
func xxh32(b []byte) uint32 {
	n := uint32(len(b))
	var h uint32
	if len(b) >= 16 {
		v1, v2, v3, v4 := xxp32a, xxp32b, uint32(0), uint32(0)
		v1 += xxp32b
		v4 -= xxp32a
		for len(b) >= 16 {
			v1 = xxh32Round(v1, binary.LittleEndian.Uint32(b))
			v2 = xxh32Round(v2, binary.LittleEndian.Uint32(b[4:]))
			v3 = xxh32Round(v3, binary.LittleEndian.Uint32(b[8:]))
			v4 = xxh32Round(v4, binary.LittleEndian.Uint32(b[12:]))
			b = b[16:]
		}
		h = bits.RotateLeft32(v1, 1) + bits.RotateLeft32(v2, 7) +
			bits.RotateLeft32(v3, 12) + bits.RotateLeft32(v4, 18)
	} else {
		h = xxp32e
	}
	h += n
	for ; len(b) >= 4; b = b[4:] {
		h += binary.LittleEndian.Uint32(b) * xxp32c
		h = bits.RotateLeft32(h, 17) * xxp32d
	}
	for _, c := range b {
		h += uint32(c) * xxp32e
		h = bits.RotateLeft32(h, 11) * xxp32a
	}
	h ^= h >> 15
	h *= xxp32b
	h ^= h >> 13
	h *= xxp32c
	return h ^ h>>16
}

func xxh32Round(v, in uint32) uint32 {
	return bits.RotateLeft32(v+in*xxp32b, 13) * xxp32a
}
