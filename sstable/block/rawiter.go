package block

import "bytes"

// RawIter walks a meta block forward: keys are opaque bytes. It serves the properties, the
// metaindex and dumps.
type RawIter struct {
	layout
	next int
	key  []byte
	val  []byte
	err  error
}

// Init points the iterator before the first entry of data.
func (i *RawIter) Init(data []byte, origin Origin) error {
	*i = RawIter{key: i.key[:0]}
	i.err = i.parse(data, origin)
	return i.err
}

// Next moves to the next entry; on a new iterator to the first.
func (i *RawIter) Next() bool {
	if i.err != nil || i.next >= i.end {
		return false
	}
	e, ok := i.entryAt(i.next)
	if !ok || e.shared > len(i.key) {
		i.err = i.origin.Errorf("bad entry at byte %d of %d", i.next, i.end)
		return false
	}
	i.key = append(i.key[:e.shared], i.data[e.keyAt:e.valAt]...)
	i.val = i.data[e.valAt:e.next:e.next]
	i.next = e.next
	return true
}

// Find moves to the entry whose key is name.
func (i *RawIter) Find(name string) bool {
	i.next = 0
	for i.Next() {
		if bytes.Equal(i.key, []byte(name)) {
			return true
		}
	}
	return false
}

// Key is the current key; it is valid until the iterator moves.
func (i *RawIter) Key() []byte { return i.key }

// Value is the current value; it aliases the block.
func (i *RawIter) Value() []byte { return i.val }

// Err is the corruption that stopped the iterator, if any.
func (i *RawIter) Err() error { return i.err }
