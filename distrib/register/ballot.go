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
