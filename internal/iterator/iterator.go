// Package iterator holds the ordered-stream contract that memtables, tables and merges of
// them share, and the two ways to combine streams: merging (overlapping inputs) and
// concatenating (disjoint inputs in order).
//
//	it := iterator.NewMerging(mem.NewIterator(), table.NewIterator(opts))
//	defer it.Close()
//	for ok := it.First(); ok; ok = it.Next() {
//		use(it.Key(), it.Value())
//	}
//	if err := it.Err(); err != nil { ... }
//
// An iterator belongs to one goroutine.
package iterator

import "github.com/cambiumdb/cambium/internal/ikey"

// Iterator walks entries in the order of ikey.Compare. A new iterator is not positioned.
//
// Every positioning call returns whether the iterator is now on an entry. False means the end
// was reached or an error happened: Err tells which, and an error sticks until the next
// absolute positioning call (First, Last, SeekGE, SeekLT). Next past the last entry and Prev
// before the first leave the iterator exhausted; Next then goes nowhere after an exhausted
// Next, and Prev goes nowhere after an exhausted Prev, but Prev after an exhausted forward walk
// goes to the last entry and Next after an exhausted backward walk goes to the first.
//
// Key and Value are valid only while positioned, until the next positioning call or Close.
// Whoever keeps them copies them.
type Iterator interface {
	First() bool
	Last() bool
	SeekGE(target ikey.Key) bool // first entry >= target
	SeekLT(target ikey.Key) bool // last entry < target
	Next() bool
	Prev() bool
	Valid() bool
	Key() ikey.Key
	Value() []byte
	Err() error
	Close() error
}
