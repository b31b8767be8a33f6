package memtable

import (
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/iterator"
)

// Iterator walks the entries of a memtable, beside its writer: each step takes into account
// every Add that returned before it. It holds a reference to the memtable.
type Iterator struct {
	m     *Memtable
	n     *node  // where it stands, nil if nowhere
	off   uint32 // of n
	state state
}

type state uint8

const (
	nowhere   state = iota
	standing        // on n
	pastLast        // an exhausted walk forwards
	pastFirst       // an exhausted walk backwards
)

var _ iterator.Iterator = (*Iterator)(nil)

// NewIterator returns an iterator over the entries; range tombstones are not among them.
func (m *Memtable) NewIterator() *Iterator {
	m.Ref()
	return &Iterator{m: m}
}

// stand goes to the node at off; 0 means that the walk ended in state end.
func (it *Iterator) stand(off uint32, end state) bool {
	if off == 0 {
		it.n, it.off, it.state = nil, 0, end
		return false
	}
	it.n, it.off, it.state = it.m.node(off), off, standing
	return true
}

// First goes to the first entry.
func (it *Iterator) First() bool { return it.stand(it.m.node(0).next.Load(), pastLast) }

// Last goes to the last entry.
func (it *Iterator) Last() bool { return it.stand(it.m.before(0), pastFirst) }

// SeekGE goes to the first entry at or after target.
func (it *Iterator) SeekGE(target ikey.Key) bool {
	p := makeProbe(target)
	_, after := it.m.seek(&p)
	return it.stand(after, pastLast)
}

// SeekLT goes to the last entry before target.
func (it *Iterator) SeekLT(target ikey.Key) bool {
	p := makeProbe(target)
	before, _ := it.m.seek(&p)
	return it.stand(before, pastFirst)
}

// Next goes to the entry after the current one.
func (it *Iterator) Next() bool {
	switch it.state {
	case standing:
		return it.stand(it.n.next.Load(), pastLast)
	case pastFirst:
		return it.First()
	}
	return false
}

// Prev goes to the entry before the current one.
func (it *Iterator) Prev() bool {
	switch it.state {
	case standing:
		return it.stand(it.m.before(it.off), pastFirst)
	case pastLast:
		return it.Last()
	}
	return false
}

// before returns the node before the one at off. The link back is set after the link forward
// that publishes a node, so it may be one node behind; the way forward from there is exact.
func (m *Memtable) before(off uint32) uint32 {
	b := m.node(off).prev.Load()
	for {
		next := m.node(b).next.Load()
		if next == off {
			return b
		}
		b = next
	}
}

// Valid reports whether the iterator is on an entry.
func (it *Iterator) Valid() bool { return it.n != nil }

// Key returns the current key. Unlike the contract demands, it stays valid for as long as the
// memtable is referenced.
func (it *Iterator) Key() ikey.Key {
	return ikey.Key{User: it.m.user(it.n), Trailer: it.n.trailer}
}

// Value returns the current value, valid for as long as the memtable is referenced.
func (it *Iterator) Value() []byte { return it.m.value(it.n) }

// Err returns nil: reading memory does not fail.
func (it *Iterator) Err() error { return nil }

// Close gives the reference to the memtable back.
func (it *Iterator) Close() error {
	if it.m != nil {
		it.m.Unref()
	}
	*it = Iterator{}
	return nil
}
