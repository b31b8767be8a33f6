package register

import "github.com/cambiumdb/cambium/distrib/ring"

// Group is who holds a key at one epoch: ring.View's Seats.
type Group struct {
	Epoch uint64
	Seats []ring.Seat
}

// Quorum reports whether the seats for which has is true are a majority of each end of the key that there is. While owners
// change there are two, so a quorum meets every one of the epoch before and every one of the epoch behind.
func (g *Group) Quorum(has func(seat int) bool) bool {
	var all, got [2]int
	for i, s := range g.Seats {
		for end, bit := range [2]ring.Ends{ring.OldEnd, ring.NewEnd} {
			if s.Ends&bit == 0 {
				continue
			}
			all[end]++
			if has(i) {
				got[end]++
			}
		}
	}
	for end := range all {
		if all[end] > 0 && got[end] <= all[end]/2 {
			return false
		}
	}
	return all[0]+all[1] > 0
}
