package compaction

import (
	"bytes"
	"fmt"
	"slices"
	"sort"

	"github.com/cambiumdb/cambium/internal/manifest"
)

// keyRange is a range of user keys: [lo, hi], or [lo, hi) where the bound is the exclusive end
// of a range tombstone. nil lo and unbounded hi are open ends.
type keyRange struct {
	lo, hi      []byte
	hiExclusive bool
	hiOpen      bool // no upper end; hi is unused
}

func rangeOf(t *manifest.Table) keyRange {
	return keyRange{lo: t.Smallest.User, hi: t.Largest.User, hiExclusive: t.Largest.IsExclusiveBound()}
}

// userRange makes the range of a caller's bounds: both inclusive, nil = open.
func userRange(lo, hi []byte) keyRange { return keyRange{lo: lo, hi: hi, hiOpen: hi == nil} }

// rangeOfAll is the smallest range that holds all tables; there must be one.
func rangeOfAll(tables []*manifest.Table) keyRange {
	r := rangeOf(tables[0])
	for _, t := range tables[1:] {
		r = r.union(rangeOf(t))
	}
	return r
}

// endsBefore reports whether all of r lies below user.
func (r keyRange) endsBefore(user []byte) bool {
	if r.hiOpen {
		return false
	}
	c := bytes.Compare(r.hi, user)
	return c < 0 || c == 0 && r.hiExclusive
}

func (r keyRange) overlaps(o keyRange) bool { return !r.endsBefore(o.lo) && !o.endsBefore(r.lo) }

func (r keyRange) union(o keyRange) keyRange {
	if bytes.Compare(o.lo, r.lo) < 0 {
		r.lo = o.lo
	}
	switch {
	case r.hiOpen:
	case o.hiOpen:
		r.hi, r.hiExclusive, r.hiOpen = nil, false, true
	default:
		c := bytes.Compare(o.hi, r.hi)
		if c > 0 || c == 0 && !o.hiExclusive {
			r.hi, r.hiExclusive = o.hi, o.hiExclusive
		}
	}
	return r
}

// String draws the range: [a..c], [a..c) or [a..).
func (r keyRange) String() string {
	switch {
	case r.hiOpen:
		return fmt.Sprintf("[%s..)", r.lo)
	case r.hiExclusive:
		return fmt.Sprintf("[%s..%s)", r.lo, r.hi)
	}
	return fmt.Sprintf("[%s..%s]", r.lo, r.hi)
}

// overlapping returns the tables of a sorted, disjoint level that overlap r, as indexes
// [i, j), widened to a clean cut.
func overlapping(level []*manifest.Table, r keyRange) (i, j int) {
	i = sort.Search(len(level), func(i int) bool { return !rangeOf(level[i]).endsBefore(r.lo) })
	j = i
	for j < len(level) && !r.endsBefore(level[j].Smallest.User) {
		j++
	}
	return cleanCut(level, i, j)
}

// cleanCut widens [i, j) until no user key lies both inside and outside of it. Our own tables
// never share a user key; RocksDB's may, where a key has several versions.
func cleanCut(level []*manifest.Table, i, j int) (int, int) {
	if i == j {
		return i, j
	}
	for i > 0 && !rangeOf(level[i-1]).endsBefore(level[i].Smallest.User) {
		i--
	}
	for j < len(level) && !rangeOf(level[j-1]).endsBefore(level[j].Smallest.User) {
		j++
	}
	return i, j
}

// overlappingL0 returns the tables of L0 that overlap r, directly or through one another, in
// L0's order (newest first). It widens r to what they hold.
func overlappingL0(l0 []*manifest.Table, r keyRange) []*manifest.Table {
	in := make([]bool, len(l0))
	for grown := true; grown; {
		grown = false
		for i, t := range l0 {
			if !in[i] && rangeOf(t).overlaps(r) {
				in[i], grown = true, true
				r = r.union(rangeOf(t))
			}
		}
	}
	var out []*manifest.Table
	for i, t := range l0 {
		if in[i] {
			out = append(out, t)
		}
	}
	return out
}

// disjoint reports whether no two of the tables overlap, in whatever order they come.
func disjoint(tables []*manifest.Table) bool {
	byKey := slices.Clone(tables)
	slices.SortFunc(byKey, func(a, b *manifest.Table) int { return bytes.Compare(a.Smallest.User, b.Smallest.User) })
	for i := 1; i < len(byKey); i++ {
		if rangeOf(byKey[i-1]).overlaps(rangeOf(byKey[i])) {
			return false
		}
	}
	return true
}

func totalBytes(tables []*manifest.Table) int64 {
	var n int64
	for _, t := range tables {
		n += int64(t.Size)
	}
	return n
}
