package coordinator

import (
	"fmt"
	"math/bits"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib/ring"
)

// settle plays a write to its end: a node of down refuses all, and one of lost does not answer.
func settle(w *write, down, lostOnes uint) {
	todo := w.start()
	for len(todo) > 0 {
		s := todo[0]
		todo = todo[1:]
		a := did
		switch bit := uint(1) << s.Node; {
		case down&bit != 0:
			a = refused
		case lostOnes&bit != 0:
			a = lost
		}
		todo = append(todo, w.answer(s.Try, a)...)
	}
}

// subset are the nodes 1, 2, .. of which the bits are set.
func subset(set uint) (ids []uint64) {
	for id := uint64(1); id < 16; id++ {
		if set&(1<<id) != 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// TestBothEnds goes through all ends of up to three of five nodes, all W, all nodes that fail, in either way, and with
// one that may stand in or none. Whatever end is read with an R of which R + W > N, a write that was acknowledged is
// found; one is acknowledged whenever enough owners of each end are there; and one that failed is nowhere.
func TestBothEnds(t *testing.T) {
	const nodes, fallback = 5, 6
	acknowledged, checked := 0, 0
	for oldSet := uint(2); oldSet < 1<<(nodes+1); oldSet += 2 {
		for newSet := uint(2); newSet < 1<<(nodes+1); newSet += 2 {
			if bits.OnesCount(oldSet) > 3 || bits.OnesCount(newSet) > 3 {
				continue
			}
			seats := seatsOf(subset(oldSet), subset(newSet))
			for w := 1; w <= max(bits.OnesCount(oldSet), bits.OnesCount(newSet)); w++ {
				for failing := uint(0); failing < 1<<(nodes+1); failing += 2 {
					for _, silent := range []bool{false, true} {
						for _, spare := range []bool{false, true} {
							checked++
							if checkEnds(t, seats, w, failing, silent, spare, fallback) {
								acknowledged++
							}
						}
					}
				}
			}
		}
	}
	require.Greater(t, acknowledged, checked/4)
	require.Less(t, acknowledged, checked)
}

func checkEnds(t *testing.T, seats []ring.Seat, w int, failing uint, silent, spare bool, fallback uint64) bool {
	k := &keyNodes{owners: seats, reachable: len(seats)}
	if spare {
		k.spares.list = []uint64{fallback}
	}
	need, err := quorums(w, k.count())
	require.NoError(t, err)
	write := newWrite(k, need, false)
	if down, gone := failing, uint(0); silent {
		settle(&write, gone, down)
	} else {
		settle(&write, down, gone)
	}
	scene := func() string {
		return fmt.Sprintf("owners %v, W %d, nodes %v fail, silent %v, spare %v", seats, w, subset(failing), silent, spare)
	}
	outcome, holds := write.outcome(), write.places()
	if outcome == Pending {
		t.Fatal(scene(), "it never ends")
	}
	there, n := counts{}, k.count()
	for _, s := range seats {
		if failing&(1<<s.Node) == 0 {
			there.add(s.Ends)
		}
	}
	if outcome != OK {
		if there.reaches(need) {
			t.Fatal(scene(), "enough nodes are there, and it is", outcome)
		}
		if outcome == Failed && len(holds) > 0 {
			t.Fatal(scene(), "it failed, and is at", holds)
		}
		return false
	}
	for end, e := range []ring.Ends{ring.OldEnd, ring.NewEnd} {
		without := 0 // owners of the end of whom neither they nor somebody in their place have it
		for _, s := range seats {
			has := slices.ContainsFunc(holds, func(p Place) bool { return p.For == s.Node || p.For == 0 && p.Node == s.Node })
			if s.Ends&e != 0 && !has {
				without++
			}
		}
		if r := n[end] - min(w, n[end]) + 1; without >= r {
			t.Fatal(scene(), "a read of", r, "owners of end", end, "may miss it")
		}
	}
	return true
}
