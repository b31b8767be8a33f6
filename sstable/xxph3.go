package sstable

import (
	"encoding/binary"
	"math/bits"
)

// The constants of xxHash (https://github.com/Cyan4973/xxHash). prime64c is the preview's
// value, which the final XXH3 changed.
const (
	prime32a uint64 = 0x9e3779b1
	prime32b uint64 = 0x85ebca77
	prime32c uint64 = 0xc2b2ae3d
	prime64a uint64 = 0x9e3779b185ebca87
	prime64b uint64 = 0xc2b2ae3d27d4eb4f
	prime64c uint64 = 0x165667b19e3779f9
	prime64d uint64 = 0x85ebca77c2b2ae63
	prime64e uint64 = 0x27d4eb2f165667c5
)

// xxSecret is the default secret of XXH3.
var xxSecret = [192]byte{
	0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
	0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
	0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
	0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
	0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
	0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
	0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
	0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
	0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
	0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
	0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
	0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
}

// secret64 is the secret's 64-bit word at byte i.
func secret64(i int) uint64 { return binary.LittleEndian.Uint64(xxSecret[i : i+8]) }

var (
	secret0  = secret64(0)
	secret8  = secret64(8)
	secret0x = uint64(binary.LittleEndian.Uint32(xxSecret[:]))
)

// filterHash is RocksDB's Hash64 with seed 0: the preview of XXH3 that RocksDB froze as XXPH3
// (util/xxph3.h). Bloom filters on disk depend on every bit of it.
func filterHash(b []byte) uint64 {
	n := uint64(len(b))
	switch {
	case n > 240:
		return hashLong(b)
	case n > 128:
		return hash129to240(b)
	case n > 16:
		return hash17to128(b)
	case n > 8:
		lo := binary.LittleEndian.Uint64(b) ^ secret0
		hi := binary.LittleEndian.Uint64(b[n-8:]) ^ secret8
		return avalanche(n + lo + hi + fold(lo, hi))
	case n >= 4:
		lo, hi := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[n-4:])
		k := (uint64(lo) | uint64(hi)<<32) ^ secret0
		mix := n + (k^k>>51)*prime32a
		return avalanche((mix ^ mix>>47) * prime64b)
	case n > 0:
		c := uint64(b[0]) | uint64(b[n>>1])<<8 | uint64(b[n-1])<<16 | n<<24
		return avalanche((c ^ secret0x) * prime64a)
	}
	return fold(secret0, prime64b)
}

func avalanche(h uint64) uint64 {
	h ^= h >> 37
	h *= prime64c
	return h ^ h>>32
}

// fold multiplies to 128 bits and xors the halves.
func fold(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a, b)
	return hi ^ lo
}

// mix16 mixes 16 bytes of input at i with the secret at s.
func mix16(b []byte, i, s int) uint64 {
	lo := binary.LittleEndian.Uint64(b[i:]) ^ secret64(s)
	hi := binary.LittleEndian.Uint64(b[i+8:]) ^ secret64(s+8)
	return fold(lo, hi)
}

func hash17to128(b []byte) uint64 {
	n := len(b)
	acc := uint64(n) * prime64a
	if n > 96 {
		acc += mix16(b, 48, 96) + mix16(b, n-64, 112)
	}
	if n > 64 {
		acc += mix16(b, 32, 64) + mix16(b, n-48, 80)
	}
	if n > 32 {
		acc += mix16(b, 16, 32) + mix16(b, n-32, 48)
	}
	return avalanche(acc + mix16(b, 0, 0) + mix16(b, n-16, 16))
}

func hash129to240(b []byte) uint64 {
	n := len(b)
	acc := uint64(n) * prime64a
	for i := range 8 {
		acc += mix16(b, 16*i, 16*i)
	}
	acc = avalanche(acc)
	for i := 8; i < n/16; i++ {
		acc += mix16(b, 16*i, 16*(i-8)+3)
	}
	return avalanche(acc + mix16(b, n-16, 136-17))
}

// Sizes of the long form, in bytes.
const (
	stripeLen  = 64
	stripesRow = (192 - stripeLen) / 8
	rowLen     = stripeLen * stripesRow
)

func hashLong(b []byte) uint64 {
	acc := [8]uint64{prime32c, prime64a, prime64b, prime64c, prime64d, prime32b, prime64e, prime32a}
	n := len(b)
	rest := b
	for len(rest) >= rowLen {
		for i := range stripesRow {
			accumulate(&acc, rest[i*stripeLen:], i*8)
		}
		for i := range acc {
			acc[i] = (acc[i] ^ acc[i]>>47 ^ secret64(192-stripeLen+8*i)) * prime32a
		}
		rest = rest[rowLen:]
	}
	for i := range len(rest) / stripeLen {
		accumulate(&acc, rest[i*stripeLen:], i*8)
	}
	if n%stripeLen != 0 {
		accumulate(&acc, b[n-stripeLen:], 192-stripeLen-7)
	}
	h := uint64(n) * prime64a
	for i := 0; i < 4; i++ {
		h += fold(acc[2*i]^secret64(11+16*i), acc[2*i+1]^secret64(11+16*i+8))
	}
	return avalanche(h)
}

// accumulate adds a stripe; unlike the final XXH3 it does not swap neighbouring lanes.
func accumulate(acc *[8]uint64, b []byte, s int) {
	b = b[:stripeLen]
	for i := range acc {
		d := binary.LittleEndian.Uint64(b[8*i:])
		k := d ^ secret64(s+8*i)
		acc[i] += d + (k&0xffffffff)*(k>>32)
	}
}
