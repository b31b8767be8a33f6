package memtable

import (
	"bytes"
	"encoding/binary"
	"math"
	"sync/atomic"
	"unsafe"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/invariants"
)

// node is the fixed part of an entry in the arena. The key follows it, padded with zeros to a
// multiple of 8 bytes and at least 16, then the value:
//
//	 0 next, prev   the list in key order; 0 is its head
//	 8 parent       the writer's: parent<<1 | red
//	12 keyLen
//	16 trailer
//	24 valueLen
//	28 outside      1 + the entry's number in Memtable.outside, 0 for an entry all in the arena
//	32 left, right  0 for none
//	40 key, value
//
// What a descent reads, children and first 16 key bytes, is adjacent; an entry with a 16-byte
// key and up to 8 bytes of value fills one cache line.
//
// next, prev, left and right change while others read and are atomic. Everything else but
// parent, which readers never look at, is written before the node is published and stays.
type node struct {
	next, prev  atomic.Uint32
	parent      uint32
	keyLen      uint32
	trailer     ikey.Trailer
	valueLen    uint32
	outside     uint32
	left, right atomic.Uint32
}

const (
	headerLen    = 40
	minInlineKey = 16
	// maxInlineKey is the longest key that lies in the arena. Only a log of another program
	// brings longer ones.
	maxInlineKey = 64 << 10
	// maxInlineValue is the length below which a value lies in the arena.
	maxInlineValue = 64 << 10
)

// node returns the node at off.
func (m *Memtable) node(off uint32) *node { return (*node)(m.arena.at(off)) }

// word returns 8 key bytes of the node as a number that orders like them. i is 0 or 1.
func (n *node) word(i uintptr) uint64 {
	return binary.BigEndian.Uint64((*[8]byte)(unsafe.Add(unsafe.Pointer(n), headerLen+8*i))[:])
}

// user returns the node's user key.
func (m *Memtable) user(n *node) []byte {
	if n.keyLen > maxInlineKey {
		return m.outside.get(n.outside).key
	}
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(n), headerLen)), n.keyLen)
}

// value returns the node's value.
func (m *Memtable) value(n *node) []byte {
	if n.outside != 0 {
		return m.outside.get(n.outside).value
	}
	return unsafe.Slice((*byte)(unsafe.Add(unsafe.Pointer(n), headerLen+inlineLen(n.keyLen))), n.valueLen)
}

// inlineLen is the room that a key of length n takes in a node.
func inlineLen(n uint32) uintptr {
	if n > maxInlineKey {
		return minInlineKey
	}
	return max(minInlineKey, (uintptr(n)+7)&^7)
}

// newNode makes an unlinked node.
func (m *Memtable) newNode(p *probe, value []byte) (off uint32, n *node) {
	invariants.Check(len(p.user) <= math.MaxUint32 && len(value) <= math.MaxUint32, "entry of %d + %d bytes", len(p.user), len(value))
	room := inlineLen(uint32(len(p.user)))
	size := headerLen + room
	big := len(p.user) > maxInlineKey || len(value) >= maxInlineValue
	if !big {
		size += uintptr(len(value))
	}
	off = m.arena.alloc(size)
	n = m.node(off)
	n.keyLen, n.valueLen, n.trailer = uint32(len(p.user)), uint32(len(value)), p.trailer
	// Fresh arena memory is zero, so the padding need not be written.
	at := unsafe.Add(unsafe.Pointer(n), headerLen)
	copy(unsafe.Slice((*byte)(at), room), p.user)
	if !big {
		copy(unsafe.Slice((*byte)(unsafe.Add(at, room)), len(value)), value)
		return off, n
	}
	e := outsider{value: m.outside.keep(value)}
	if len(p.user) > maxInlineKey {
		e.key = m.outside.keep(p.user)
	}
	n.outside = m.outside.add(e)
	return off, n
}

// probe is a key prepared for comparisons with nodes: its first 16 bytes, padded with zeros,
// as two numbers. Where padded words differ they order like the keys; where all are equal, one
// key is the other with zeros appended, and the lengths decide.
type probe struct {
	w0, w1  uint64
	user    []byte
	trailer ikey.Trailer
}

func makeProbe(k ikey.Key) probe {
	p := probe{user: k.User, trailer: k.Trailer}
	if len(k.User) >= 16 {
		p.w0 = binary.BigEndian.Uint64(k.User)
		p.w1 = binary.BigEndian.Uint64(k.User[8:])
		return p
	}
	var b [16]byte
	copy(b[:], k.User)
	p.w0 = binary.BigEndian.Uint64(b[:])
	p.w1 = binary.BigEndian.Uint64(b[8:])
	return p
}

// less reports whether the node comes before the probe.
func (m *Memtable) less(n *node, p *probe) bool {
	if w := n.word(0); w != p.w0 {
		return w < p.w0
	}
	if w := n.word(1); w != p.w1 {
		return w < p.w1
	}
	return m.lessTail(n, p)
}

// lessTail is less for keys whose first 16 padded bytes are equal.
func (m *Memtable) lessTail(n *node, p *probe) bool {
	if n.keyLen > 16 && len(p.user) > 16 {
		if c := bytes.Compare(m.user(n)[16:], p.user[16:]); c != 0 {
			return c < 0
		}
	} else if int(n.keyLen) != len(p.user) {
		return int(n.keyLen) < len(p.user)
	}
	return n.trailer > p.trailer
}

// sameUser reports whether the node has the probe's user key.
func (m *Memtable) sameUser(n *node, p *probe) bool {
	return n.word(0) == p.w0 && n.word(1) == p.w1 && int(n.keyLen) == len(p.user) &&
		(n.keyLen <= 16 || bytes.Equal(m.user(n)[16:], p.user[16:]))
}

// outsider is what of an entry does not lie in the arena: the value, and the key if it is too
// long.
type outsider struct{ key, value []byte }

// outside is an append-only table of what is too large for the arena. The bytes lie in mappings
// of their own: on the Go heap they would cost twice their size, since the collector lets the heap
// double before it runs.
type outside struct {
	// table is replaced when it is full; its elements are written before the node that names
	// them is published.
	table atomic.Pointer[[]outsider]
	n     int
	bytes atomic.Int64
	maps  []chunk
	room  []byte // the free part of the last of maps
}

// firstOutside is the size of the first mapping, in bytes. Each is twice the one before, so that
// there are few; pages that are not used cost nothing.
const firstOutside = 256 << 10

// keep returns a copy of b that lives as long as the memtable.
func (o *outside) keep(b []byte) []byte {
	if len(b) > len(o.room) {
		n := max(len(b), min(chunkLen, firstOutside<<min(len(o.maps), 16)))
		c, _ := newChunk((n + unit - 1) / unit * unit)
		o.maps = append(o.maps, c)
		o.room = unsafe.Slice((*byte)(c.base()), n)
	}
	out := o.room[:len(b):len(b)]
	o.room = o.room[len(b):]
	copy(out, b)
	return out
}

// free gives the bytes back.
func (o *outside) free() {
	for _, c := range o.maps {
		c.free()
	}
	o.maps, o.room = nil, nil
}

// add stores e and returns its number, from 1.
func (o *outside) add(e outsider) uint32 {
	t := o.table.Load()
	if t == nil || o.n == len(*t) {
		bigger := make([]outsider, max(8, 2*o.n))
		if t != nil {
			copy(bigger, *t)
		}
		t = &bigger
		o.table.Store(t)
	}
	(*t)[o.n] = e
	o.n++
	o.bytes.Add(int64(len(e.key) + len(e.value) + int(unsafe.Sizeof(e))))
	return uint32(o.n)
}

// get returns entry number i.
func (o *outside) get(i uint32) outsider { return (*o.table.Load())[i-1] }
