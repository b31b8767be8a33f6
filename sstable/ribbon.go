package sstable

import (
	"encoding/binary"
	"math/bits"
)

// ribbonBlock is the number of slots that share columns, and the width of a coefficient row.
const ribbonBlock = 128

// ribbon is RocksDB's Standard128Ribbon filter: a banded linear system over GF(2) whose
// solution is stored by columns. Bytes:
//
//	segment(16 bytes)*  0xFE seed(1) blocks(uint24)
//
// Each block of 128 slots owns upper segments, the first few (below upperStart) one fewer. A key
// is in when for each column the parity of its coefficients over the solution equals the bit
// of its fingerprint. Source: RocksDB util/ribbon_impl.h, util/ribbon_alg.h.
type ribbon struct {
	seed       uint64
	starts     uint64
	upper      uint64 // columns of the blocks from upperStart on
	upperStart uint64
}

// parseRibbon reads a ribbon filter; data are its segments.
func parseRibbon(data, meta []byte) filter {
	blocks := uint64(meta[2]) | uint64(meta[3])<<8 | uint64(meta[4])<<16
	segments := uint64(len(data)) / 16
	if blocks < 2 || segments == 0 {
		return filter{}
	}
	seed := uint64(meta[1]) * 0xc78219a23eeadd03
	seed ^= (seed & 0xf0f0f0f0f0f0f0f0) >> 4
	r := ribbon{
		seed:   uint64(uint32(seed)),
		starts: blocks*ribbonBlock - ribbonBlock + 1,
		upper:  (segments + blocks - 1) / blocks,
	}
	r.upperStart = r.upper*blocks - segments
	if r.upper > 32 {
		r.upper, r.upperStart = 32, 0
	}
	return filter{kind: filterRibbon, bits: data, ribbon: r}
}

// ribbonMay answers for the hash h of a user key.
func (f *filter) ribbonMay(h uint64) bool {
	r := &f.ribbon
	h = (h ^ r.seed) * 0x6193d459236a3a0d
	start, _ := bits.Mul64(h, r.starts)
	blk, bit := start/ribbonBlock, start%ribbonBlock
	segment := blk*r.upper - min(blk, r.upperStart)
	columns := r.upper
	if blk < r.upperStart {
		columns--
	}
	a := h * 0xc28f82822b650bed
	left, right := shift128(a, (a^0xc367844a6e52731d)|1, uint(bit))
	want := uint32(bits.ReverseBytes64(a))
	at := segment * 16
	step := columns * 16
	for i := range columns {
		p := parity(f.bits[at+16*i:], left)
		if bit > 0 {
			p ^= parity(f.bits[at+step+16*i:], right)
		}
		if p != want>>i&1 {
			return false
		}
	}
	return true
}

// shift128 spreads the row hi‖lo over two blocks, n bits into the first.
func shift128(hi, lo uint64, n uint) (left, right [2]uint64) {
	if n < 64 {
		return [2]uint64{lo << n, hi<<n | lo>>(64-n)}, [2]uint64{hi >> (64 - n), 0}
	}
	n -= 64
	return [2]uint64{0, lo << n}, [2]uint64{hi<<n | lo>>(64-n), hi >> (64 - n)}
}

// parity is the parity of the bits of the segment at the start of b that row selects.
func parity(b []byte, row [2]uint64) uint32 {
	x := binary.LittleEndian.Uint64(b)&row[0] ^ binary.LittleEndian.Uint64(b[8:])&row[1]
	return uint32(bits.OnesCount64(x) & 1)
}
