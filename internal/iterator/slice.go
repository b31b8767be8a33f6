package iterator

import (
	"sort"

	"github.com/cambiumdb/cambium/internal/ikey"
)

// Entry is a key and its value.
type Entry struct {
	Key   ikey.Key
	Value []byte
}

// Slice walks entries held in memory. Its Err and Close never fail.
type Slice struct {
	entries []Entry
	pos     int // -1: before the first; len(entries): past the last
	placed  bool
}

// NewSlice returns an iterator over entries, which must be in order and must not change while
// it is in use.
func NewSlice(entries []Entry) *Slice { return &Slice{entries: entries} }

func (s *Slice) set(pos int) bool {
	s.pos, s.placed = pos, true
	return s.Valid()
}

// First goes to the first entry.
func (s *Slice) First() bool { return s.set(0) }

// Last goes to the last entry.
func (s *Slice) Last() bool {
	return s.set(len(s.entries) - 1)
}

// SeekGE goes to the first entry at or after target.
func (s *Slice) SeekGE(target ikey.Key) bool { return s.set(s.search(target)) }

// SeekLT goes to the last entry before target.
func (s *Slice) SeekLT(target ikey.Key) bool { return s.set(s.search(target) - 1) }

func (s *Slice) search(target ikey.Key) int {
	return sort.Search(len(s.entries), func(i int) bool { return ikey.Compare(s.entries[i].Key, target) >= 0 })
}

// Next goes to the entry after the current one.
func (s *Slice) Next() bool {
	if !s.placed || s.pos >= len(s.entries) {
		return false
	}
	return s.set(s.pos + 1)
}

// Prev goes to the entry before the current one.
func (s *Slice) Prev() bool {
	if !s.placed || s.pos < 0 {
		return false
	}
	return s.set(s.pos - 1)
}

// Valid reports whether the iterator is on an entry.
func (s *Slice) Valid() bool { return s.placed && s.pos >= 0 && s.pos < len(s.entries) }

// Key returns the current key.
func (s *Slice) Key() ikey.Key { return s.entries[s.pos].Key }

// Value returns the current value.
func (s *Slice) Value() []byte { return s.entries[s.pos].Value }

// Err returns nil.
func (s *Slice) Err() error { return nil }

// Close leaves the iterator without entries.
func (s *Slice) Close() error {
	*s = Slice{}
	return nil
}
