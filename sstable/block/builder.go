package block

import (
	"encoding/binary"
	"math"
)

// hashIndexBit marks, in a block's footer word, that a hash index precedes it.
const hashIndexBit = 1 << 31

// Limits of a data block's hash index (table/block_based/data_block_hash_index.h).
const (
	hashMaxRestarts = 253
	hashMaxBlock    = 64 << 10
	hashEmpty       = 255
	hashCollision   = 254
	hashUtilization = 0.75
	hashSeed        = 397
)

// Builder makes an uncompressed data or meta block from keys in ascending order.
type Builder struct {
	interval int
	hashed   bool
	trailer  int // bytes of a key that the hash index leaves out

	buf      []byte
	restarts []uint32
	counter  int
	entries  int
	last     []byte
	hashes   []hashEntry
	hashOff  bool // the hash index cannot be made for this block
}

type hashEntry struct {
	hash    uint32
	restart uint8
}

// NewBuilder returns a builder that stores a whole key every interval entries. Its keys are
// opaque bytes.
func NewBuilder(interval int) *Builder {
	b := &Builder{interval: max(interval, 1)}
	b.Reset()
	return b
}

// NewDataBuilder returns a builder for a data block, whose keys are encoded internal keys;
// with hashed it adds RocksDB's hash index over user keys where the block allows one.
func NewDataBuilder(interval int, hashed bool) *Builder {
	b := &Builder{interval: max(interval, 1), hashed: hashed, trailer: 8}
	b.Reset()
	return b
}

// Reset forgets the block's entries and keeps its memory.
func (b *Builder) Reset() {
	b.buf = b.buf[:0]
	b.restarts = append(b.restarts[:0], 0)
	b.counter, b.entries = 0, 0
	b.last = b.last[:0]
	b.hashes = b.hashes[:0]
	b.hashOff = false
}

// Empty reports whether no entry was added since Reset.
func (b *Builder) Empty() bool { return b.entries == 0 }

// Entries is the number of entries added since Reset.
func (b *Builder) Entries() int { return b.entries }

// LastKey is the key added last; it is valid until the next Add or Reset.
func (b *Builder) LastKey() []byte { return b.last }

// EstimatedSize is the length in bytes that Finish would give now.
func (b *Builder) EstimatedSize() int {
	n := len(b.buf) + 4*len(b.restarts) + 4
	if b.hashed && !b.hashOff {
		n += len(b.hashes) + len(b.hashes)/3 + 3
	}
	return n
}

// Add appends an entry. Keys must ascend; the caller checks. It copies both slices.
func (b *Builder) Add(key, value []byte) {
	shared := 0
	switch {
	case b.counter >= b.interval:
		b.restarts = append(b.restarts, uint32(len(b.buf)))
		b.counter = 0
	case b.counter > 0:
		shared = sharedPrefix(b.last, key)
	}
	b.buf = appendLens(b.buf, shared, len(key)-shared, len(value))
	b.buf = append(b.buf, key[shared:]...)
	b.buf = append(b.buf, value...)
	b.last = append(b.last[:shared], key[shared:]...)
	b.counter++
	b.entries++
	if b.hashed && !b.hashOff {
		b.hashKey(key)
	}
}

func appendLens(dst []byte, shared, unshared, vlen int) []byte {
	if shared|unshared|vlen < 0x80 {
		return append(dst, byte(shared), byte(unshared), byte(vlen))
	}
	dst = binary.AppendUvarint(dst, uint64(shared))
	dst = binary.AppendUvarint(dst, uint64(unshared))
	return binary.AppendUvarint(dst, uint64(vlen))
}

// sharedPrefix is the length of the longest common prefix of a and b.
func sharedPrefix(a, b []byte) int {
	n := min(len(a), len(b))
	i := 0
	for ; i+8 <= n; i += 8 {
		if binary.LittleEndian.Uint64(a[i:]) != binary.LittleEndian.Uint64(b[i:]) {
			break
		}
	}
	for i < n && a[i] == b[i] {
		i++
	}
	return i
}

// hashKey notes the user key for the hash index. Only the kinds that a point lookup resolves
// by the first entry it meets may be indexed, and that is all kinds we write.
func (b *Builder) hashKey(key []byte) {
	r := len(b.restarts) - 1
	if r >= hashMaxRestarts || len(b.buf) > hashMaxBlock {
		b.hashOff = true
		return
	}
	h := rocksHash(key[:len(key)-b.trailer], hashSeed)
	if n := len(b.hashes); n > 0 && b.hashes[n-1] == (hashEntry{h, uint8(r)}) {
		return
	}
	b.hashes = append(b.hashes, hashEntry{h, uint8(r)})
}

// Finish appends the restarts, the hash index and the footer, and returns the block. It is
// valid until the next Add or Reset; the caller may append a trailer to it.
func (b *Builder) Finish() []byte {
	for _, r := range b.restarts {
		b.buf = binary.LittleEndian.AppendUint32(b.buf, r)
	}
	word := uint32(len(b.restarts))
	if b.hashed && !b.hashOff && len(b.hashes) > 0 {
		if buckets := b.buckets(); buckets > 0 && len(b.buf)+buckets+6 <= hashMaxBlock {
			b.appendHashIndex(buckets)
			word |= hashIndexBit
		}
	}
	b.buf = binary.LittleEndian.AppendUint32(b.buf, word)
	return b.buf
}

// buckets is RocksDB's bucket count: entries over utilization, made odd.
func (b *Builder) buckets() int {
	n := int(float64(len(b.hashes))/hashUtilization) | 1
	if n > math.MaxUint16 {
		return 0
	}
	return n
}

func (b *Builder) appendHashIndex(buckets int) {
	at := len(b.buf)
	b.buf = grow(b.buf, buckets+2)[:at+buckets]
	table := b.buf[at:]
	for i := range table {
		table[i] = hashEmpty
	}
	for _, e := range b.hashes {
		switch p := &table[e.hash%uint32(buckets)]; *p {
		case hashEmpty:
			*p = e.restart
		case e.restart:
		default:
			*p = hashCollision
		}
	}
	b.buf = binary.LittleEndian.AppendUint16(b.buf, uint16(buckets))
}

// rocksHash is RocksDB's 32-bit hash (util/hash.cc, a variant of murmur whose last bytes are
// taken as signed).
func rocksHash(data []byte, seed uint32) uint32 {
	const m uint32 = 0xc6a4a793
	h := seed ^ uint32(len(data))*m
	for ; len(data) >= 4; data = data[4:] {
		h += binary.LittleEndian.Uint32(data)
		h *= m
		h ^= h >> 16
	}
	switch len(data) {
	case 3:
		h += uint32(int32(int8(data[2]))) << 16
		fallthrough
	case 2:
		h += uint32(int32(int8(data[1]))) << 8
		fallthrough
	case 1:
		h += uint32(int32(int8(data[0])))
		h *= m
		h ^= h >> 24
	}
	return h
}

// RocksHash is RocksDB's 32-bit hash of data. Legacy bloom filters use it too.
func RocksHash(data []byte, seed uint32) uint32 { return rocksHash(data, seed) }
