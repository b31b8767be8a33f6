package iterator

import (
	"bytes"
	"encoding/binary"
	"errors"

	"github.com/cambiumdb/cambium/internal/ikey"
)

// Merging walks the union of its inputs in order. Entries with equal keys come in the order
// of the inputs (newest input first, by convention), and in the opposite order backwards.
// An error of any input stops it.
type Merging struct {
	inputs []mergeInput
	heap   []*mergeInput // positioned inputs; the next one in the direction of travel first
	// rival is the better child of heap[0], or nil when it is not known. While an input wins
	// many times in a row, it alone is compared with.
	rival  *mergeInput
	dir    direction
	err    error
	turned []byte // the user key at which turn turned
}

type direction int8

const (
	unplaced direction = iota // no position: new, or after an error
	forward
	backward
)

// mergeInput caches where its iterator stands.
type mergeInput struct {
	prefix uint64 // the first 8 bytes of the user key as a number that compares like them
	key    ikey.Key
	it     Iterator
	index  int
}

// NewMerging returns an iterator over the union of its. It owns them: Close closes them all.
// An iterator of a structure that grows while it is walked (a memtable) may be among them: the
// order is kept whatever appears.
func NewMerging(its ...Iterator) Iterator {
	if len(its) == 1 {
		return its[0]
	}
	m := &Merging{inputs: make([]mergeInput, len(its)), heap: make([]*mergeInput, 0, len(its))}
	for i, it := range its {
		m.inputs[i] = mergeInput{it: it, index: i}
	}
	return m
}

// First goes to the first entry.
func (m *Merging) First() bool {
	return m.place(forward, func(in *mergeInput) bool { return in.it.First() })
}

// Last goes to the last entry.
func (m *Merging) Last() bool {
	return m.place(backward, func(in *mergeInput) bool { return in.it.Last() })
}

// SeekGE goes to the first entry at or after target.
func (m *Merging) SeekGE(target ikey.Key) bool {
	return m.place(forward, func(in *mergeInput) bool { return in.it.SeekGE(target) })
}

// SeekLT goes to the last entry before target.
func (m *Merging) SeekLT(target ikey.Key) bool {
	return m.place(backward, func(in *mergeInput) bool { return in.it.SeekLT(target) })
}

// place positions every input with move and rebuilds the heap for direction dir.
func (m *Merging) place(dir direction, move func(*mergeInput) bool) bool {
	m.err = nil
	return m.rebuild(dir, move)
}

func (m *Merging) rebuild(dir direction, move func(*mergeInput) bool) bool {
	m.heap, m.rival, m.dir = m.heap[:0], nil, dir
	for i := range m.inputs {
		in := &m.inputs[i]
		if move(in) {
			in.load()
			m.heap = append(m.heap, in)
		} else if err := in.it.Err(); err != nil {
			return m.fail(err)
		}
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.sift(i)
	}
	return len(m.heap) > 0
}

// Next goes to the entry after the current one.
func (m *Merging) Next() bool {
	switch m.dir {
	case forward:
		return m.step()
	case backward:
		return m.turn(forward)
	}
	return false
}

// Prev goes to the entry before the current one.
func (m *Merging) Prev() bool {
	switch m.dir {
	case backward:
		return m.step()
	case forward:
		return m.turn(backward)
	}
	return false
}

// step moves on in the direction of travel.
func (m *Merging) step() bool {
	if len(m.heap) == 0 {
		return false
	}
	top := m.heap[0]
	var ok bool
	if m.dir == forward {
		ok = top.it.Next()
	} else {
		ok = top.it.Prev()
	}
	if ok {
		top.load()
		if m.rival == nil || m.before(m.rival, top) {
			m.siftTop()
		}
		return true
	}
	if err := top.it.Err(); err != nil {
		return m.fail(err)
	}
	last := len(m.heap) - 1
	m.heap[0] = m.heap[last]
	m.heap = m.heap[:last]
	m.siftTop()
	return last > 0
}

// turn reverses the direction of travel. Before it every other input stands at its first entry
// on the far side of the current one, so one step back brings it to the near side, unless an
// entry has appeared in between; then it seeks.
func (m *Merging) turn(dir direction) bool {
	if len(m.heap) == 0 {
		// Exhausted: every input is, and by contract turns round by itself.
		return m.rebuild(dir, func(in *mergeInput) bool { return in.move(dir) })
	}
	cur := *m.heap[0]
	m.turned = append(m.turned[:0], cur.key.User...)
	cur.key.User = m.turned // the input's own step may reuse its memory
	return m.rebuild(dir, func(in *mergeInput) bool {
		if !in.move(dir) {
			return false
		}
		if in.index == cur.index {
			return true
		}
		in.load()
		if dir == forward && !less(in, &cur) || dir == backward && less(in, &cur) {
			return true
		}
		return in.seekPast(&cur, dir)
	})
}

// move takes one step in direction dir.
func (in *mergeInput) move(dir direction) bool {
	if dir == forward {
		return in.it.Next()
	}
	return in.it.Prev()
}

// seekPast goes to the entry of in next to cur in direction dir, in the order of less.
func (in *mergeInput) seekPast(cur *mergeInput, dir direction) bool {
	target := cur.key
	// Inputs of lower index come before an equal key, those of higher index after it.
	if in.index < cur.index {
		target = successor(target)
	}
	if dir == forward {
		return in.it.SeekGE(target)
	}
	return in.it.SeekLT(target)
}

// successor returns the smallest key above k.
func successor(k ikey.Key) ikey.Key {
	if k.Trailer > 0 {
		return ikey.Key{User: k.User, Trailer: k.Trailer - 1}
	}
	return ikey.Key{User: append(bytes.Clone(k.User), 0), Trailer: ^ikey.Trailer(0)}
}

func (m *Merging) fail(err error) bool {
	m.err, m.heap, m.rival, m.dir = err, m.heap[:0], nil, unplaced
	return false
}

// Valid reports whether the iterator is on an entry.
func (m *Merging) Valid() bool { return len(m.heap) > 0 }

// Key returns the current key.
func (m *Merging) Key() ikey.Key { return m.heap[0].key }

// Value returns the current value.
func (m *Merging) Value() []byte { return m.heap[0].it.Value() }

// Err returns the error that stopped the iterator, nil if none did.
func (m *Merging) Err() error { return m.err }

// Close closes every input and returns their errors.
func (m *Merging) Close() error {
	var errs []error
	for i := range m.inputs {
		if err := m.inputs[i].it.Close(); err != nil {
			errs = append(errs, err)
		}
	}
	m.inputs = nil
	m.fail(nil)
	return errors.Join(errs...)
}

// load reads the key that the input stands on.
func (in *mergeInput) load() {
	in.key = in.it.Key()
	in.prefix = keyPrefix(in.key.User)
}

// keyPrefix returns the first 8 bytes of b, padded with zeros, as a big-endian number: where
// two differ they order like the keys.
func keyPrefix(b []byte) uint64 {
	if len(b) >= 8 {
		return binary.BigEndian.Uint64(b)
	}
	var p uint64
	for i, c := range b {
		p |= uint64(c) << (56 - 8*i)
	}
	return p
}

// less is the total order of the merge: key, then index of the input.
func less(a, b *mergeInput) bool {
	if a.prefix != b.prefix {
		return a.prefix < b.prefix
	}
	if c := ikey.Compare(a.key, b.key); c != 0 {
		return c < 0
	}
	return a.index < b.index
}

// before reports whether a is met before b in the direction of travel.
func (m *Merging) before(a, b *mergeInput) bool {
	if m.dir == forward {
		return less(a, b)
	}
	return less(b, a)
}

// siftTop restores the heap after its top changed, and finds the new rival.
func (m *Merging) siftTop() {
	m.sift(0)
	switch len(m.heap) {
	case 0, 1:
		m.rival = nil
	case 2:
		m.rival = m.heap[1]
	default:
		m.rival = m.heap[1]
		if m.before(m.heap[2], m.rival) {
			m.rival = m.heap[2]
		}
	}
}

// sift moves the input at i down to its place.
func (m *Merging) sift(i int) {
	h := m.heap
	if i >= len(h) {
		return
	}
	in := h[i]
	for {
		c := 2*i + 1
		if c >= len(h) {
			break
		}
		if c+1 < len(h) && m.before(h[c+1], h[c]) {
			c++
		}
		if !m.before(h[c], in) {
			break
		}
		h[i] = h[c]
		i = c
	}
	h[i] = in
}
