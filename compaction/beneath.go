package compaction

import (
	"bytes"
	"sort"

	"github.com/cambiumdb/cambium/internal/manifest"
)

// beneath knows the tables that may hold older entries than a plan's inputs do. A tombstone may
// be dropped only where none of them overlaps: that is the bottommost proof.
//
// Older data lies in L0 below the newest input, and in every level below the first input
// level, whether the plan skips it or not, except in the inputs themselves. In a first input
// level from L1 on, the tables beside the inputs hold other keys, unless a foreign table shares
// a user key with an input: those count too. What other compactions do meanwhile cannot break
// the proof: data only moves down, and the plan's reservation keeps others from moving anything
// into or through its range.
type beneath struct {
	loose  []*manifest.Table // L0: unordered, overlapping
	levels []sortedLevel
}

type sortedLevel struct {
	tables []*manifest.Table // ascending and disjoint
	at     int               // first that ends at or above the last key asked for
}

func newBeneath(v *manifest.Version, plan *Plan) *beneath {
	inputs := make(map[uint64]bool)
	first := manifest.NumLevels
	var firstKeys keyRange
	for _, in := range plan.Inputs {
		if in.Level < first {
			first, firstKeys = in.Level, rangeOfAll(in.Tables)
		}
		for _, t := range in.Tables {
			inputs[t.Num] = true
		}
	}
	b := &beneath{}
	if first == 0 {
		below := false
		for _, t := range v.Levels[0] {
			switch {
			case inputs[t.Num]:
				below = true
			case below:
				b.loose = append(b.loose, t)
			}
		}
	}
	for level := max(first, 1); level < manifest.NumLevels; level++ {
		var others []*manifest.Table
		for _, t := range v.Levels[level] {
			if !inputs[t.Num] && (level > first || rangeOf(t).overlaps(firstKeys)) {
				others = append(others, t)
			}
		}
		if len(others) > 0 {
			b.levels = append(b.levels, sortedLevel{tables: others})
		}
	}
	return b
}

// holdsKey reports whether an older version of user may exist. Calls must be in ascending
// order of user, so that a whole merge costs one walk over the tables.
func (b *beneath) holdsKey(user []byte) bool {
	for _, t := range b.loose {
		if bytes.Compare(t.Smallest.User, user) <= 0 && !rangeOf(t).endsBefore(user) {
			return true
		}
	}
	for i := range b.levels {
		l := &b.levels[i]
		for l.at < len(l.tables) && rangeOf(l.tables[l.at]).endsBefore(user) {
			l.at++
		}
		if l.at < len(l.tables) && bytes.Compare(l.tables[l.at].Smallest.User, user) <= 0 {
			return true
		}
	}
	return false
}

// holdsRange reports whether an older version of any key in [start, end) may exist. Calls may
// come in any order.
func (b *beneath) holdsRange(start, end []byte) bool {
	return b.overlaps(keyRange{lo: start, hi: end, hiExclusive: true})
}

// overlaps does the same for any range.
func (b *beneath) overlaps(r keyRange) bool {
	for _, t := range b.loose {
		if rangeOf(t).overlaps(r) {
			return true
		}
	}
	for _, l := range b.levels {
		i := sort.Search(len(l.tables), func(i int) bool { return !rangeOf(l.tables[i]).endsBefore(r.lo) })
		if i < len(l.tables) && rangeOf(l.tables[i]).overlaps(r) {
			return true
		}
	}
	return false
}
