package sstable

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"github.com/cambiumdb/cambium/sstable/block"
)

// filterKind is the sort of filter that a block's last bytes announce.
type filterKind uint8

const (
	filterNone   filterKind = iota // unknown or broken: everything may be there
	filterFast                     // FastLocalBloom, format version 5
	filterLegacy                   // bloom of format versions 2 to 4
	filterRibbon
)

// filterMetaLen is the number of bytes behind the bits of every built-in filter.
const filterMetaLen = 5

// filter answers whether a user key may be in the table. Bytes:
//
//	fast:   line(64 bytes)*  0xFF 0x00 probes(1) 0x00 0x00
//	legacy: line(64 bytes)*  probes(1) lines(fixed32)
//	ribbon: see type ribbon
//
// Source: RocksDB table/block_based/filter_policy.cc, util/bloom_impl.h.
type filter struct {
	kind     filterKind
	bits     []byte
	lines    uint32
	lineBits uint // log2 of a legacy filter's line in bytes
	probes   int
	ribbon   ribbon
}

// parseFilter reads the block of a filter. What it does not know gives filterNone, which
// never says no.
func parseFilter(b []byte) filter {
	n := len(b) - filterMetaLen
	if n <= 0 {
		return filter{}
	}
	meta := b[n:]
	switch marker := meta[0]; {
	case marker == 0xff:
		return parseFast(b[:n], meta)
	case marker == 0xfe:
		return parseRibbon(b[:n], meta)
	case marker >= 0x80:
		return filter{}
	}
	probes := int(meta[0])
	lines := binary.LittleEndian.Uint32(meta[1:])
	if probes == 0 || lines == 0 || uint64(n)%uint64(lines) != 0 {
		return filter{}
	}
	line := uint64(n) / uint64(lines)
	if line < 64 || line&(line-1) != 0 {
		return filter{}
	}
	return filter{kind: filterLegacy, bits: b[:n], lines: lines, lineBits: uint(bits.TrailingZeros64(line)), probes: probes}
}

func parseFast(data, meta []byte) filter {
	probes := int(meta[2] & 0x1f)
	switch {
	case meta[1] != 0, meta[2]>>5 != 0, meta[3] != 0 || meta[4] != 0:
		return filter{}
	case probes < 1 || probes > 30, len(data)%64 != 0, uint64(len(data))>>6 > math.MaxUint32:
		return filter{}
	}
	return filter{kind: filterFast, bits: data, lines: uint32(len(data) >> 6), probes: probes}
}

// mayContain reports false only when user was certainly never added.
func (f *filter) mayContain(user []byte) bool {
	switch f.kind {
	case filterFast:
		return f.fast(filterHash(user))
	case filterLegacy:
		return f.legacy(block.RocksHash(user, legacyBloomSeed))
	case filterRibbon:
		return f.ribbonMay(filterHash(user))
	}
	return true
}

const golden = 0x9e3779b9

func (f *filter) fast(h uint64) bool {
	at := (uint64(uint32(h)) * uint64(f.lines) >> 32) << 6
	line := f.bits[at : at+64 : at+64]
	x := uint32(h >> 32)
	for range f.probes {
		pos := x >> 23
		if line[pos>>3]>>(pos&7)&1 == 0 {
			return false
		}
		x *= golden
	}
	return true
}

const legacyBloomSeed = 0xbc9f1d34

func (f *filter) legacy(h uint32) bool {
	at := uint64(h%f.lines) << f.lineBits
	line := f.bits[at : at+1<<f.lineBits]
	mask := uint32(len(line)*8 - 1)
	delta := bits.RotateLeft32(h, 15)
	for range f.probes {
		pos := h & mask
		if line[pos>>3]>>(pos&7)&1 == 0 {
			return false
		}
		h += delta
	}
	return true
}

// String describes the filter for dumps.
func (f *filter) String() string {
	switch f.kind {
	case filterFast:
		return fmt.Sprintf("bloom lines=%d probes=%d", f.lines, f.probes)
	case filterLegacy:
		return fmt.Sprintf("legacy-bloom lines=%d line=%dB probes=%d", f.lines, 1<<f.lineBits, f.probes)
	}
	if f.kind == filterRibbon {
		return fmt.Sprintf("ribbon columns=%d slots=%d", f.ribbon.upper, f.ribbon.starts+ribbonBlock-1)
	}
	return "unknown"
}

// filterBuilder gathers the hashes of a table's user keys.
type filterBuilder struct {
	millibits int // bits per key times 1000; 0 = no filter
	hashes    []uint64
}

func newFilterBuilder(bitsPerKey float64) filterBuilder {
	if !(bitsPerKey > 0) {
		return filterBuilder{}
	}
	return filterBuilder{millibits: int(min(max(bitsPerKey, 1), 100)*1000 + 0.5)}
}

// add notes user; calls with equal keys must follow one another.
func (b *filterBuilder) add(user []byte) {
	if b.millibits == 0 {
		return
	}
	h := filterHash(user)
	if n := len(b.hashes); n > 0 && b.hashes[n-1] == h {
		return
	}
	b.hashes = append(b.hashes, h)
}

// size is the length of the finished block in bytes.
func (b *filterBuilder) size() int {
	if b.millibits == 0 || len(b.hashes) == 0 {
		return 0
	}
	raw := (uint64(len(b.hashes))*uint64(b.millibits) + 7999) / 8000
	return int((min(raw, 0xffffffc0)+63)&^63) + filterMetaLen
}

// finish returns the filter block, with room for a trailer; nil when there are no keys.
func (b *filterBuilder) finish() []byte {
	n := b.size()
	if n == 0 {
		return nil
	}
	out := make([]byte, n, n+block.TrailerLen)
	data, meta := out[:n-filterMetaLen], out[n-filterMetaLen:]
	lines := uint64(len(data) >> 6)
	probes := probesFor(b.millibits)
	for _, h := range b.hashes {
		at := (uint64(uint32(h)) * lines >> 32) << 6
		line := data[at : at+64 : at+64]
		x := uint32(h >> 32)
		for range probes {
			pos := x >> 23
			line[pos>>3] |= 1 << (pos & 7)
			x *= golden
		}
	}
	meta[0], meta[2] = 0xff, byte(probes)
	return out
}

// probesFor is RocksDB's choice for lines of 64 bytes (util/bloom_impl.h).
func probesFor(millibits int) int {
	for i, limit := range [...]int{2080, 3580, 5100, 6640, 8300, 10070, 11720, 14001, 16050, 18300, 22001, 25501} {
		if millibits <= limit {
			return i + 1
		}
	}
	if millibits > 50000 {
		return 24
	}
	return (millibits-1)/2000 - 1
}
