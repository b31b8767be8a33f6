package node

import "fmt"

// verdict is how a node starts with the store that it found.
type verdict struct {
	// Aside: the store lacks what the node had stored, and is put aside.
	Aside  bool
	Refill refill
	Dirty  bool // it may differ from the others
}

// refill says that a node may lack what counted as stored: until it has compared all with others, its reads do not
// count.
type refill string

const (
	refillNot refill = ""
	// refillUp: with those that are up. The node crashed, and lost at most what was not synced yet.
	refillUp refill = "up"
	// refillAll: with all that hold the same ranges. The node has lost its data, or is new.
	refillAll refill = "all"
)

// bytes is r as a store has it.
func (r refill) bytes() []byte {
	if r == refillNot {
		return nil
	}
	return []byte(r)
}

// known is what a node that starts hears of itself.
type known struct {
	cluster string
	id, run uint64 // of the node of its name and of its last start; 0: there is none
	others  bool   // there are other members
}

// judge says how a node of a name starts, from what its store says and what others know.
func judge(f found, name string, k known) (verdict, error) {
	anew := verdict{}
	if k.others {
		anew = verdict{Refill: refillAll, Dirty: true}
	}
	switch w := f.self; {
	case w == nil && f.run > 0:
		return verdict{}, fmt.Errorf("the store has been started %d times but does not say whose it is: it is damaged; put it aside, and the node is refilled from the others", f.run)
	case w == nil:
		return anew, nil // new, or it comes back without its data
	case w.ClusterID != k.cluster:
		return verdict{}, fmt.Errorf("the store is of cluster %s, this is %s: a node moves to another cluster with an empty directory", w.ClusterID, k.cluster)
	case w.Name != name:
		return verdict{}, fmt.Errorf("the store is node %s's, this is to be %s: start it as %s, or with an empty directory", w.Name, name, w.Name)
	case k.id == 0:
		return verdict{}, fmt.Errorf("node %s was taken out of cluster %s: to come back it needs an empty directory", name, k.cluster)
	case w.ID != k.id:
		return verdict{}, fmt.Errorf("the store is of node number %d, the cluster knows %s as %d: another node has taken that name", w.ID, name, k.id)
	case f.run < k.run: // an old copy
		anew.Aside = true
		return anew, nil
	case f.refill != refillNot || f.clean || !k.others:
		return verdict{Refill: f.refill, Dirty: f.refill != refillNot}, nil
	case f.synced:
		return verdict{Dirty: true}, nil
	}
	return verdict{Refill: refillUp, Dirty: true}, nil
}
