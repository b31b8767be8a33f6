package chaos

import (
	"fmt"
	"math/rand/v2"
	"time"
)

// Kind is what is done to a node.
type Kind uint8

// The kinds of faults. All but Restore and Wipe leave the directory of the node alone.
const (
	Kill      Kind = iota // kill -9; it is started again
	Pause                 // SIGSTOP; it goes on
	Partition             // nothing goes from it to others, nor from them to it
	Deaf                  // nothing comes to it from others
	Mute                  // nothing goes from it to others
	Link                  // nothing goes from it to one other
	Restart               // it is told to end, and is started again
	Wipe                  // kill -9; it is started again without its directory
	Restore               // kill -9; it is started again with its directory as of before its last start
)

var kindNames = [...]string{"kill", "pause", "partition", "deaf", "mute", "link", "restart", "wipe", "restore"}

// String is the kind's name.
func (k Kind) String() string { return kindNames[k] }

// Kinds are those that leave directories alone.
var Kinds = []Kind{Kill, Pause, Partition, Deaf, Mute, Link, Restart}

// Disks are those that do not, and Kill beside them. One such fault comes when nobody owes writes to others: so no write that
// counts at two nodes may be lost.
var Disks = []Kind{Wipe, Restore, Kill}

// Fault is a node's trouble.
type Fault struct {
	Kind  Kind
	Node  int           // 0 is the first
	Peer  int           // of a Link
	Lasts time.Duration // until it is mended
	Calm  time.Duration // from when the cluster has recovered until the next one
}

// String is such as "kill n1".
func (f Fault) String() string {
	if f.Kind == Link {
		return fmt.Sprintf("%s n%d to n%d", f.Kind, f.Node+1, f.Peer+1)
	}
	return fmt.Sprintf("%s n%d", f.Kind, f.Node+1)
}

// Plan makes a plan of faults that takes about so long. One follows the other, so that never more than one node is in
// trouble; of each kind there is one before there are two. Equal arguments make equal plans.
func Plan(seed uint64, nodes int, kinds []Kind, duration time.Duration) (faults []Fault) {
	r := rand.New(rand.NewPCG(seed, uint64(nodes)))
	between := func(low, high time.Duration) time.Duration {
		return (low + time.Duration(r.Int64N(int64(high-low)))).Round(10 * time.Millisecond)
	}
	var order []int
	for used := time.Duration(0); used < duration; {
		if len(order) == 0 {
			order = r.Perm(len(kinds))
		}
		f := Fault{Kind: kinds[order[0]], Node: r.IntN(nodes), Lasts: between(time.Second, 3*time.Second), Calm: between(500*time.Millisecond, 1500*time.Millisecond)}
		f.Peer = (f.Node + 1 + r.IntN(nodes-1)) % nodes
		order = order[1:]
		faults = append(faults, f)
		used += f.Lasts + f.Calm
	}
	return faults
}
