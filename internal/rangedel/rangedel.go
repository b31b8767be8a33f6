// Package rangedel holds range tombstones in flat form: sorted, disjoint spans of user keys,
// each with the sequence numbers of every tombstone that covers it.
//
//	l := rangedel.Fragment([]rangedel.Tombstone{
//		{Start: []byte("a"), End: []byte("m"), Seq: 7},
//		{Start: []byte("g"), End: []byte("z"), Seq: 9},
//	})                                        // [a,g)#7  [g,m)#9,7  [m,z)#9
//	seq, ok := l.Cover([]byte("h"), 8)        // 7, true: #9 is too new for a reader at 8
//
// A tombstone covers the user keys of [Start, End) and deletes the entries of them whose
// sequence number is lower than its own. Everything here is a pure function over values: a
// List and what it points to never change after they are made, so any number of goroutines
// may use one; results share memory with their arguments.
package rangedel

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/cambiumdb/cambium/internal/ikey"
)

// Tombstone is one DeleteRange: it covers [Start, End). One with Start >= End covers nothing.
type Tombstone struct {
	Start, End []byte
	Seq        uint64
}

// Span is a range [Start, End) and the sequence numbers of the tombstones over all of it, in
// descending order, each once.
type Span struct {
	Start, End []byte
	Seqs       []uint64
}

// String formats the span for people: [a,c)#9,7.
func (s Span) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "[%s,%s)#", s.Start, s.End)
	for i, seq := range s.Seqs {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, "%d", seq)
	}
	return b.String()
}

// List is a set of tombstones in canonical form: spans sorted and disjoint, none empty, and
// no two that touch with the same sequence numbers. Two lists that delete the same entries are
// equal span by span. The nil List is the empty set.
type List []Span

// String formats the list for people, one space between spans.
func (l List) String() string {
	parts := make([]string, len(l))
	for i := range l {
		parts[i] = l[i].String()
	}
	return strings.Join(parts, " ")
}

// Find returns the index of the first span that ends after user, len(l) if there is none. The
// span holds user if it also starts at or before it.
func (l List) Find(user []byte) int {
	lo, hi := 0, len(l)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if bytes.Compare(l[mid].End, user) > 0 {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo
}

// Cover returns the greatest sequence number, not above at, of a tombstone over user. An entry
// of user with a lower sequence number is deleted for a reader at position at.
func (l List) Cover(user []byte, at uint64) (seq uint64, ok bool) {
	i := l.Find(user)
	if i == len(l) || bytes.Compare(l[i].Start, user) > 0 {
		return 0, false
	}
	return l[i].Cover(at)
}

// Cover returns the greatest sequence number of the span that is not above at.
func (s Span) Cover(at uint64) (seq uint64, ok bool) {
	lo, hi := 0, len(s.Seqs)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if s.Seqs[mid] <= at {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	if lo == len(s.Seqs) {
		return 0, false
	}
	return s.Seqs[lo], true
}

// Truncate returns the part of the list inside [lo, hi). A nil hi is unbounded, as is a nil or
// empty lo; lo >= hi holds nothing.
func (l List) Truncate(lo, hi []byte) List {
	if hi != nil && bytes.Compare(lo, hi) >= 0 {
		return nil
	}
	first := l.Find(lo)
	last := len(l)
	if hi != nil {
		last, _ = slices.BinarySearchFunc(l, hi, func(s Span, hi []byte) int { return bytes.Compare(s.Start, hi) })
	}
	if first >= last {
		return nil
	}
	cut := l[first:last:last]
	cutLo := bytes.Compare(cut[0].Start, lo) < 0
	cutHi := hi != nil && bytes.Compare(cut[len(cut)-1].End, hi) > 0
	if !cutLo && !cutHi {
		return cut
	}
	cut = slices.Clone(cut)
	if cutLo {
		cut[0].Start = lo
	}
	if cutHi {
		cut[len(cut)-1].End = hi
	}
	return cut
}

// TruncateToBounds returns the part of a table's tombstones inside the table's bounds, which
// is all of them that counts: what a table's tombstone deleted beyond the bounds may since
// have been written again by a neighbour. An inclusive largest bound keeps its user key
// covered; the exclusive end of a tombstone (ikey.RangeDelSentinel) does not.
func (l List) TruncateToBounds(smallest, largest ikey.Key) List {
	hi := largest.User
	if !largest.IsExclusiveBound() {
		hi = append(bytes.Clone(hi), 0)
	}
	if hi == nil {
		return nil
	}
	return l.Truncate(smallest.User, hi)
}

// appendSpan adds s, which starts at or after the end of the list, keeping the canonical form.
func (l List) appendSpan(s Span) List {
	if n := len(l); n > 0 && bytes.Equal(l[n-1].End, s.Start) && slices.Equal(l[n-1].Seqs, s.Seqs) {
		l[n-1].End = s.End
		return l
	}
	return append(l, s)
}
