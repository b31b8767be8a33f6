// Package memtable holds the newest writes in memory, in order: a threaded red-black tree in
// an arena that the garbage collector never scans, with a hash index beside it.
//
//	m := memtable.New(memtable.Options{SizeBytes: 64 << 20})
//	m.Add(ikey.Make([]byte("k"), 7, ikey.KindSet), []byte("v"))
//	t, v, ok := m.Get([]byte("k"), ikey.MaxSeq) // #7,SET "v" true
//	it := m.NewIterator()                       // internal/iterator's contract
//	defer it.Close()
//	m.Unref()                                   // the last one frees the arena
//
// One goroutine at a time writes (Add, AddRangeDelete); any number read beside it without
// locks. Whatever an Add that has returned put in, every later read and every later step of
// an iterator takes into account; an Add still under way may show or not. Nothing is ever
// moved or removed: a delete is an entry.
//
// # How it works
//
// A node holds links, lengths, the trailer, the key and the value (node.go). Nodes lie on a
// circular doubly linked list in key order, which is the truth, and form a red-black tree over
// it, which is the way to find places on the list quickly. Add links the node into the tree's
// neighbours' list first: the one atomic store to the predecessor's next publishes it.
// Rotations never touch the list, so iteration is exact whatever the tree goes through. A seek
// descends the tree without a lock; if a rotation led it astray it still ends at some node
// before its target, and walks the list from there. The end of the walk, a node before the
// target whose successor is not, proves itself, so no sequence lock is needed.
//
// The hash index maps a user key to its newest node; older versions follow it on the list.
package memtable

import (
	"bytes"
	"sync/atomic"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/invariants"
	"github.com/cambiumdb/cambium/internal/rangedel"
)

// Options of a new memtable.
type Options struct {
	// SizeBytes is the size at which the owner means to seal the memtable. It only sets first
	// allocations: a memtable grows as needed. 0 means small.
	SizeBytes int64
}

// Memtable is an ordered set of entries and range tombstones.
type Memtable struct {
	arena   arena
	root    atomic.Uint32 // the tree's top node, 0 when empty
	finger  uint32        // the node added last; the writer's
	index   index
	outside outside
	ranges  ranges
	count   atomic.Int64
	refs    atomic.Int64
}

// New returns an empty memtable with one reference.
func New(opts Options) *Memtable {
	m := &Memtable{}
	m.arena.init(opts.SizeBytes)
	m.index.init(opts.SizeBytes)
	head := m.arena.alloc(headerLen + minInlineKey)
	invariants.Check(head == 0, "list head at %d", head)
	m.refs.Store(1)
	return m
}

// Add puts an entry in; it copies key and value. A key that is already there, trailer and
// all, is kept too and comes after the new one: the owner's sequence numbers exclude it.
//
// Entries that arrive in order, or nearly, and new versions of keys that are there, are added without a search of the
// tree.
func (m *Memtable) Add(key ikey.Key, value []byte) {
	p := makeProbe(key)
	off, n := m.newNode(&p, value)
	hash := hashOf(p.user)
	pl := m.locate(&p, hash)
	m.link(off, n, pl)
	m.finger = off
	m.indexNode(off, &p, pl, hash)
	m.count.Add(1)
}

// indexNode makes the index find the node when it is the newest of its user key.
func (m *Memtable) indexNode(off uint32, p *probe, pl place, hash uint64) {
	if pl.pred != 0 && m.sameUser(m.node(pl.pred), p) {
		return // not the newest
	}
	older := uint32(0)
	if pl.succ != 0 && m.sameUser(m.node(pl.succ), p) {
		older = pl.succ
	}
	m.index.put(hash, off, older)
}

// AddRangeDelete puts a tombstone over [start, end) in; it copies the keys.
func (m *Memtable) AddRangeDelete(start, end []byte, seq uint64) {
	m.ranges.add(rangedel.Tombstone{Start: bytes.Clone(start), End: bytes.Clone(end), Seq: seq})
}

// maxOlder bounds the versions that Get walks over before it seeks.
const maxOlder = 8

// Get returns the newest point entry of user that a reader at seq sees. Range tombstones are
// not considered. The value is valid while the caller holds a reference.
func (m *Memtable) Get(user []byte, seq uint64) (t ikey.Trailer, value []byte, ok bool) {
	if invariants.Enabled {
		invariants.Check(m.refs.Load() > 0, "get %q from a freed memtable", user)
	}
	off := m.lookup(user)
	if off == 0 {
		return 0, nil, false
	}
	n := m.node(off)
	if n.trailer.Seq() <= seq {
		return n.trailer, m.value(n), true
	}
	p := makeProbe(ikey.Seek(user, seq))
	for range maxOlder {
		off = n.next.Load()
		if off == 0 {
			return 0, nil, false
		}
		n = m.node(off)
		if n.trailer.Seq() <= seq || !m.sameUser(n, &p) {
			break
		}
	}
	if n.trailer.Seq() > seq && m.sameUser(n, &p) {
		if _, off = m.seek(&p); off == 0 {
			return 0, nil, false
		}
		n = m.node(off)
	}
	if !m.sameUser(n, &p) {
		return 0, nil, false
	}
	return n.trailer, m.value(n), true
}

// RangeDels returns the range tombstones. The list does not change and outlives the memtable.
// It is made anew only after tombstones were added.
func (m *Memtable) RangeDels() rangedel.List { return m.ranges.list() }

// Cover returns the greatest sequence number, not above at, of a range tombstone over user. It
// is RangeDels().Cover without the cost of making the list when tombstones and reads alternate.
func (m *Memtable) Cover(user []byte, at uint64) (seq uint64, ok bool) {
	return m.ranges.cover(user, at)
}

// Bytes returns the memory in use in bytes: entries, index, large values, range tombstones.
// Up to 2 MiB more may be resident, the page in which the arena ends.
func (m *Memtable) Bytes() int64 {
	return m.arena.used.Load() + m.index.bytes.Load() + m.outside.bytes.Load() + m.ranges.bytes()
}

// Count returns the number of entries and range tombstones.
func (m *Memtable) Count() int { return int(m.count.Load()) + m.ranges.count() }

// Empty reports whether there is neither an entry nor a range tombstone.
func (m *Memtable) Empty() bool { return m.Count() == 0 }

// Ref takes a reference. The caller must be sure of one that is held meanwhile.
func (m *Memtable) Ref() {
	n := m.refs.Add(1)
	invariants.Check(n > 1, "reference to a freed memtable: %d", n)
}

// Unref gives a reference back. The last one frees the memtable's memory: nothing that Get or
// an iterator returned may be used any more.
func (m *Memtable) Unref() {
	n := m.refs.Add(-1)
	invariants.Check(n >= 0, "memtable freed twice: %d", n)
	if n == 0 {
		m.arena.free()
		m.outside.free()
	}
}
