package register

import (
	"cmp"
	"fmt"

	"github.com/cambiumdb/cambium/distrib"
)

// Ballot names one proposal for a key. It is compared whole, and never used for two values: a node's run is never
// used twice, and a proposer goes up in time within its run.
type Ballot struct {
	Epoch uint64            // of the topology by which the proposer chose whom to ask
	Time  distrib.Timestamp // a hybrid clock's; only its order counts
	Node  uint64            // of the proposer
	Run   uint64            // the number of this start of the node
}

// Compare orders ballots by epoch, time, node and run.
func (b Ballot) Compare(c Ballot) int {
	return cmp.Or(cmp.Compare(b.Epoch, c.Epoch), cmp.Compare(b.Time, c.Time), cmp.Compare(b.Node, c.Node), cmp.Compare(b.Run, c.Run))
}

// Zero reports whether b is the zero ballot, below all others: nothing was promised or accepted.
func (b Ballot) Zero() bool { return b == Ballot{} }

// Next is the ballot of the same proposer right above b.
func (b Ballot) Next() Ballot {
	b.Time++
	return b
}

// String formats as EPOCH/TIME@NODE.RUN.
func (b Ballot) String() string { return fmt.Sprintf("%d/%d@%d.%d", b.Epoch, b.Time, b.Node, b.Run) }

// MaxAhead is how far, in milliseconds, the clock of another node may be ahead.
const MaxAhead = 60_000

// Clock is a hybrid logical clock: never behind the wall clock, and never behind a time that it was told (Kulkarni,
// Demirbas, Madappa, Avva, Leone, "Logical physical clocks", OPODIS 2014). The zero value is ready. It is not for
// use by several goroutines at once.
//
// No promise rests on wall clocks. One that is wrong makes its ballots win or lose too often, and no more.
type Clock struct{ last distrib.Timestamp }

// Tick returns a time above all before. wall is in milliseconds since 1970.
func (c *Clock) Tick(wall int64) distrib.Timestamp {
	c.last = max(c.last+1, distrib.Timestamp(max(0, wall))<<16)
	return c.last
}

// Observe takes a time of another node. One that is more than MaxAhead before wall is refused with an error and
// changes nothing: it would carry all clocks away with it.
func (c *Clock) Observe(t distrib.Timestamp, wall int64) error {
	if ahead := Millis(t) - wall; ahead > MaxAhead {
		return fmt.Errorf("a time %d ms ahead of this node's clock, the limit is %d ms: one of the clocks is wrong", ahead, int64(MaxAhead))
	}
	c.last = max(c.last, t)
	return nil
}

// Millis is the wall clock's part of a time, in milliseconds since 1970.
func Millis(t distrib.Timestamp) int64 { return int64(t >> 16) }
