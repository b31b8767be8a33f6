package ring

import (
	"math"
	"slices"
)

// Stretch is the tokens from First to Last, both included, that the same nodes hold. It does not wrap around.
type Stretch struct {
	First, Last Token
	Nodes       []uint64 // ids, ascending
}

// Stretches divides the whole ring, ascending. Neighbours that the same nodes hold are one.
func (r *Ring) Stretches() (list []Stretch) {
	var first *Stretch // what wraps around: its second half is the end of the ring
	add := func(s Stretch) {
		if k := len(list); k > 0 && slices.Equal(list[k-1].Nodes, s.Nodes) {
			list[k-1].Last = s.Last
			return
		}
		list = append(list, s)
	}
	end := Token{Hi: math.MaxUint64, Lo: math.MaxUint64}
	for rg, nodes := range r.Ranges() {
		var ids []uint64
		for _, n := range nodes {
			ids = append(ids, r.Node(n).ID)
		}
		slices.Sort(ids)
		if first == nil {
			first = &Stretch{First: rg.After.Next(), Last: end, Nodes: ids}
			add(Stretch{Last: rg.Last, Nodes: ids})
			continue
		}
		add(Stretch{First: rg.After.Next(), Last: rg.Last, Nodes: ids})
	}
	if first.First != (Token{}) { // else a token stands at the very end, and nothing wraps around
		add(*first)
	}
	return list
}
