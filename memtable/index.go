package memtable

import (
	"hash/maphash"
	"math/bits"
	"sync/atomic"
)

// index maps user keys to their newest nodes: open addressing over slots of 8 bytes,
//
//	tag (32 bits of the hash) << 32 | offset of the node
//
// in parts that grow one by one, so that no single Add pays for moving a large table. A slot's
// home is given by the high bits of its tag, so growing reads no node. One goroutine puts; a
// reader that still holds a table that was replaced meanwhile sees it as of that moment.
//
// Tables lie on the Go heap and hold no pointers: about 11 to 21 bytes for each user key.
type index struct {
	parts    [indexParts]indexPart
	firstLog uint8 // log2 of the slots of a new part
	bytes    atomic.Int64
}

const indexParts = 64

type indexPart struct {
	table atomic.Pointer[indexTable]
	n     int // slots in use; the writer's
}

type indexTable struct {
	slots []atomic.Uint64
	shift uint8 // a slot's home is tag >> shift
}

// seed is new in each process, so that nobody can choose keys that collide.
var seed = maphash.MakeSeed()

func hashOf(user []byte) uint64 { return maphash.Bytes(seed, user) }

// init sizes the parts for entries of a kibibyte; smaller ones make them grow.
func (x *index) init(sizeBytes int64) {
	x.firstLog = uint8(max(4, bits.Len64(uint64(max(0, sizeBytes))/1024/indexParts)))
}

func newIndexTable(log uint8) *indexTable {
	return &indexTable{slots: make([]atomic.Uint64, 1<<log), shift: 32 - log}
}

// put makes the user key with this hash lead to off. older is the node that it led to so far,
// 0 if there was none.
func (x *index) put(hash uint64, off, older uint32) {
	part := &x.parts[hash>>58]
	t := part.table.Load()
	tag := hash & (1<<32 - 1)
	if older != 0 {
		i, old := tag>>t.shift, tag<<32|uint64(older)
		for t.slots[i].Load() != old {
			i = (i + 1) & uint64(len(t.slots)-1)
		}
		t.slots[i].Store(tag<<32 | uint64(off))
		return
	}
	if t == nil {
		t = newIndexTable(x.firstLog)
		x.bytes.Add(int64(8 * len(t.slots)))
		part.table.Store(t)
	} else if part.n >= len(t.slots)/4*3 && t.shift > 0 {
		t = t.grown()
		x.bytes.Add(int64(4 * len(t.slots)))
		part.table.Store(t)
	}
	t.insert(tag, tag<<32|uint64(off))
	part.n++
}

func (t *indexTable) insert(tag, slot uint64) {
	i := tag >> t.shift
	for t.slots[i].Load() != 0 {
		i = (i + 1) & uint64(len(t.slots)-1)
	}
	t.slots[i].Store(slot)
}

// grown returns a table with the same contents and twice the room.
func (t *indexTable) grown() *indexTable {
	g := newIndexTable(32 - t.shift + 1)
	for i := range t.slots {
		if s := t.slots[i].Load(); s != 0 {
			g.insert(s>>32, s)
		}
	}
	return g
}

// lookup returns the newest node of user, 0 if there is none.
func (m *Memtable) lookup(user []byte) uint32 { return m.lookupHash(user, hashOf(user)) }

// lookupHash is lookup of a user key whose hash is known.
func (m *Memtable) lookupHash(user []byte, hash uint64) uint32 {
	t := m.index.parts[hash>>58].table.Load()
	if t == nil {
		return 0
	}
	tag := uint32(hash)
	mask := uint64(len(t.slots) - 1)
	for i := uint64(tag >> t.shift); ; i = (i + 1) & mask {
		s := t.slots[i].Load()
		if s == 0 {
			return 0
		}
		if uint32(s>>32) == tag {
			if n := m.node(uint32(s)); string(m.user(n)) == string(user) {
				return uint32(s)
			}
		}
	}
}
