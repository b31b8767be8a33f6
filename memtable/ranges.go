package memtable

import (
	"bytes"
	"sync"
	"sync/atomic"

	"github.com/cambiumdb/cambium/internal/rangedel"
)

// ranges holds the range tombstones.
type ranges struct {
	state atomic.Pointer[rangeState]
	// flatten keeps several readers from making the same list; it guards nothing.
	flatten sync.Mutex
}

// rangeState never changes once it is published.
type rangeState struct {
	all  []rangedel.Tombstone // in the order of arrival; appended to in place beyond its length
	flat rangedel.List        // of the first n
	n    int
	size int64
}

// pendingLimit is how many tombstones beyond the flat ones a cover looks through one by one.
func (s *rangeState) pendingLimit() int { return 32 + s.n/16 }

func (s *rangeState) flattened() *rangeState {
	return &rangeState{all: s.all, flat: rangedel.Fragment(s.all), n: len(s.all), size: s.size}
}

// tombstoneOverhead is about what a tombstone takes beside its keys: itself and its span.
const tombstoneOverhead = 200

// add publishes one more tombstone. If a reader flattened the old state meanwhile, that work
// is lost and nothing else.
func (r *ranges) add(t rangedel.Tombstone) {
	s := &rangeState{}
	if old := r.state.Load(); old != nil {
		*s = *old
	}
	s.all = append(s.all, t)
	s.size += int64(len(t.Start) + len(t.End) + tombstoneOverhead)
	if len(s.all)-s.n > s.pendingLimit() {
		s = s.flattened()
	}
	r.state.Store(s)
}

func (r *ranges) list() rangedel.List {
	s := r.state.Load()
	if s == nil {
		return nil
	}
	if s.n == len(s.all) {
		return s.flat
	}
	r.flatten.Lock()
	defer r.flatten.Unlock()
	s = r.state.Load()
	if s.n < len(s.all) {
		f := s.flattened()
		r.state.CompareAndSwap(s, f) // fails if one was added: the next reader does it
		s = f
	}
	return s.flat
}

func (r *ranges) cover(user []byte, at uint64) (seq uint64, ok bool) {
	s := r.state.Load()
	if s == nil {
		return 0, false
	}
	seq, ok = s.flat.Cover(user, at)
	for i := s.n; i < len(s.all); i++ {
		t := &s.all[i]
		if t.Seq <= at && (!ok || t.Seq > seq) && bytes.Compare(t.Start, user) <= 0 && bytes.Compare(user, t.End) < 0 {
			seq, ok = t.Seq, true
		}
	}
	return seq, ok
}

func (r *ranges) bytes() int64 {
	if s := r.state.Load(); s != nil {
		return s.size
	}
	return 0
}

func (r *ranges) count() int {
	if s := r.state.Load(); s != nil {
		return len(s.all)
	}
	return 0
}
