package rangedel

import (
	"bytes"
	"slices"
)

// Fragment turns tombstones, in any order and overlapping in any way, into a List. It keeps
// the keys of ts.
//
// Its cost is O(n log n) for the two patterns that occur in bulk, tombstones that share a start
// (a queue trimmed again and again) or an end: their spans share one array of sequence numbers.
func Fragment(ts []Tombstone) List {
	starts := make([]Tombstone, 0, len(ts))
	for _, t := range ts {
		if bytes.Compare(t.Start, t.End) < 0 {
			starts = append(starts, t)
		}
	}
	if len(starts) == 0 {
		return nil
	}
	ends := slices.Clone(starts)
	slices.SortFunc(starts, func(a, b Tombstone) int { return bytes.Compare(a.Start, b.Start) })
	slices.SortFunc(ends, func(a, b Tombstone) int { return bytes.Compare(a.End, b.End) })

	// Sweep over the boundaries; active holds the tombstones over [at, next boundary).
	var out List
	var active seqSet
	var at []byte
	for len(ends) > 0 {
		next := ends[0].End
		if len(starts) > 0 && bytes.Compare(starts[0].Start, next) < 0 {
			next = starts[0].Start
		}
		if seqs := active.snapshot(); len(seqs) > 0 {
			out = out.appendSpan(Span{Start: at, End: next, Seqs: seqs})
		}
		for len(ends) > 0 && bytes.Equal(ends[0].End, next) {
			active.remove(ends[0].Seq)
			ends = ends[1:]
		}
		for len(starts) > 0 && bytes.Equal(starts[0].Start, next) {
			active.add(starts[0].Seq)
			starts = starts[1:]
		}
		at = next
	}
	return out
}

// Merge returns the union of the lists.
func Merge(lists ...List) List {
	switch len(lists) {
	case 0:
		return nil
	case 1:
		return lists[0]
	case 2:
		return merge2(lists[0], lists[1])
	}
	mid := len(lists) / 2
	return merge2(Merge(lists[:mid]...), Merge(lists[mid:]...))
}

func merge2(a, b List) List {
	if len(a) == 0 {
		return b
	}
	if len(b) == 0 {
		return a
	}
	out := make(List, 0, len(a)+len(b))
	x, y := a[0], b[0] // what is left of the first span of each
	stepA := func() {
		if a = a[1:]; len(a) > 0 {
			x = a[0]
		}
	}
	stepB := func() {
		if b = b[1:]; len(b) > 0 {
			y = b[0]
		}
	}
	for len(a) > 0 && len(b) > 0 {
		c := bytes.Compare(x.Start, y.Start)
		switch {
		case c < 0 && bytes.Compare(x.End, y.Start) <= 0:
			out = out.appendSpan(x)
			stepA()
		case c < 0:
			out = out.appendSpan(Span{Start: x.Start, End: y.Start, Seqs: x.Seqs})
			x.Start = y.Start
		case c > 0 && bytes.Compare(y.End, x.Start) <= 0:
			out = out.appendSpan(y)
			stepB()
		case c > 0:
			out = out.appendSpan(Span{Start: y.Start, End: x.Start, Seqs: y.Seqs})
			y.Start = x.Start
		default:
			seqs := union(x.Seqs, y.Seqs)
			switch e := bytes.Compare(x.End, y.End); {
			case e < 0:
				out = out.appendSpan(Span{Start: x.Start, End: x.End, Seqs: seqs})
				y.Start = x.End
				stepA()
			case e > 0:
				out = out.appendSpan(Span{Start: x.Start, End: y.End, Seqs: seqs})
				x.Start = y.End
				stepB()
			default:
				out = out.appendSpan(Span{Start: x.Start, End: x.End, Seqs: seqs})
				stepA()
				stepB()
			}
		}
	}
	for ; len(a) > 0; stepA() {
		out = out.appendSpan(x)
	}
	for ; len(b) > 0; stepB() {
		out = out.appendSpan(y)
	}
	return out
}

// union merges two descending slices without duplicates into one.
func union(a, b []uint64) []uint64 {
	out := make([]uint64, 0, len(a)+len(b))
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0] > b[0]:
			out, a = append(out, a[0]), a[1:]
		case a[0] < b[0]:
			out, b = append(out, b[0]), b[1:]
		default:
			out, a, b = append(out, a[0]), a[1:], b[1:]
		}
	}
	out = append(out, a...)
	return append(out, b...)
}

// seqSet is a descending set of sequence numbers that hands out its contents as slices without
// copying them. The elements are buf[lo:hi]; buf[minLo:maxHi] may be in somebody's hands and is
// never written again, so taking from either end, and putting to an end that was never handed
// out, costs no copy.
type seqSet struct {
	buf          []uint64
	lo, hi       int
	minLo, maxHi int
	again        map[uint64]int // how many times more than once a member was added
}

// snapshot returns the members; the slice never changes.
func (s *seqSet) snapshot() []uint64 { return s.buf[s.lo:s.hi:s.hi] }

func (s *seqSet) find(seq uint64) (int, bool) {
	i, ok := slices.BinarySearchFunc(s.buf[s.lo:s.hi], seq, func(e, seq uint64) int {
		switch {
		case e > seq:
			return -1
		case e < seq:
			return 1
		}
		return 0
	})
	return s.lo + i, ok
}

func (s *seqSet) add(seq uint64) {
	i, ok := s.find(seq)
	switch {
	case ok:
		if s.again == nil {
			s.again = make(map[uint64]int)
		}
		s.again[seq]++
	case i == s.lo && s.lo == s.minLo && s.lo > 0:
		s.lo--
		s.minLo--
		s.buf[s.lo] = seq
	case i == s.hi && s.hi == s.maxHi && s.hi < len(s.buf):
		s.buf[s.hi] = seq
		s.hi++
		s.maxHi++
	default:
		s.rebuild(s.buf[s.lo:i], []uint64{seq}, s.buf[i:s.hi])
	}
}

func (s *seqSet) remove(seq uint64) {
	if s.again[seq] > 0 {
		s.again[seq]--
		return
	}
	i, ok := s.find(seq)
	switch {
	case !ok:
	case i == s.lo:
		s.lo++
	case i == s.hi-1:
		s.hi--
	default:
		s.rebuild(s.buf[s.lo:i], nil, s.buf[i+1:s.hi])
	}
}

// rebuild makes a fresh buffer with room at both ends.
func (s *seqSet) rebuild(parts ...[]uint64) {
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	room := n + 4
	buf := make([]uint64, n+2*room)
	at := room
	for _, p := range parts {
		at += copy(buf[at:], p)
	}
	s.buf, s.lo, s.hi, s.minLo, s.maxHi = buf, room, at, room, at
}
