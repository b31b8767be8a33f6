package compaction

import (
	"bytes"
	"slices"
	"sort"

	"github.com/cambiumdb/cambium/internal/manifest"
)

const (
	// minPartFiles is the least a part of a plan reads, in target file sizes: smaller ones make
	// small tables.
	minPartFiles = 2
	// samplesPerPart is about how many stretches of the inputs a part consists of.
	samplesPerPart = 32
)

// MaxParts is the number of ranges that it makes sense to divide the plan into.
func (p *Plan) MaxParts(targetFileBytes int64) int {
	if p.TrivialMove {
		return 1
	}
	return int(max(1, p.Bytes()/(minPartFiles*targetFileBytes)))
}

// divide returns the ranges of user keys in which the plan's inputs are merged side by side: from
// the lowest key to the highest, without a gap.
func divide(in *inputs) ([]keyRange, error) {
	n := min(in.env.Parts, in.plan.MaxParts(in.env.targetFileBytes()))
	if n < 2 {
		return []keyRange{{hiOpen: true}}, nil
	}
	stretches, err := in.stretches(in.plan.Bytes() / int64(n*samplesPerPart))
	if err != nil {
		return nil, err
	}
	cuts := chooseCuts(stretches, n, in.plan.Grandparents, in.plan.Align)
	ranges := make([]keyRange, 0, len(cuts)+1)
	var lo []byte
	for _, cut := range cuts {
		ranges = append(ranges, keyRange{lo: lo, hi: cut, hiExclusive: true})
		lo = cut
	}
	return append(ranges, keyRange{lo: lo, hiOpen: true}), nil
}

// stretch is a part of an input table: the bytes of entries that end about at a user key.
type stretch struct {
	end   []byte
	bytes int64
}

// stretches divides the tables that are to be read by their indexes.
func (in *inputs) stretches(every int64) ([]stretch, error) {
	var out []stretch
	for _, input := range in.plan.Inputs {
		for _, t := range input.Tables {
			if in.unread.tables[t.Num] {
				continue
			}
			r, release, err := in.env.OpenTable(t)
			if err != nil {
				return nil, err
			}
			err = r.Divide(every, func(end []byte, n int64) { out = append(out, stretch{bytes.Clone(end), n}) })
			release()
			if err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}

// chooseCuts returns up to n-1 user keys, ascending, that cut the stretches into n parts of about
// the same size. Where a grandparent begins near such a key it is cut there: outputs end there
// anyway. With onlyThere it is cut nowhere else, unless there is no grandparent at all.
func chooseCuts(stretches []stretch, n int, grandparents []*manifest.Table, onlyThere bool) [][]byte {
	if len(stretches) == 0 {
		return nil
	}
	slices.SortFunc(stretches, func(a, b stretch) int { return bytes.Compare(a.end, b.end) })
	before := make([]int64, len(stretches)+1) // bytes before each
	for i, s := range stretches {
		before[i+1] = before[i] + s.bytes
	}
	at := func(user []byte) int64 {
		return before[sort.Search(len(stretches), func(i int) bool { return bytes.Compare(stretches[i].end, user) > 0 })]
	}
	part := before[len(stretches)] / int64(n)
	near := part / 4
	if onlyThere {
		near = part / 2
	}
	var cuts [][]byte
	add := func(cut []byte) {
		pos := at(cut)
		fresh := len(cuts) == 0 || bytes.Compare(cuts[len(cuts)-1], cut) < 0
		if fresh && pos > 0 && pos < before[len(stretches)] {
			cuts = append(cuts, cut)
		}
	}
	for i := 1; i < n; i++ {
		want := part * int64(i)
		best, distance := []byte(nil), near+1
		for _, g := range grandparents {
			if d := max(at(g.Smallest.User)-want, want-at(g.Smallest.User)); d < distance {
				best, distance = g.Smallest.User, d
			}
		}
		switch {
		case best != nil:
			add(best)
		case !onlyThere || len(grandparents) == 0:
			add(stretches[sort.Search(len(stretches)-1, func(i int) bool { return before[i+1] >= want })].end)
		}
	}
	return cuts
}
