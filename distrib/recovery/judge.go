// Package recovery says how a node starts with the store that it finds: whether that is whose it should be, and holds what
// it held.
//
//	found, err := recovery.Look(store)
//	verdict, err := recovery.Judge(found, "n1", recovery.Known{Cluster: id, ID: 1, Run: last, Others: true})
//	err = recovery.MarkBegun(store, recovery.Self{ClusterID: id, ID: 1, Name: "n1"}, verdict.Refill, sync)
//	births, err := replica.NextRun(store, last)
//
// The node asks others for its last run before, and tells them of the new one.
package recovery

import "fmt"

// Verdict is how a node starts with the store that it found.
type Verdict struct {
	// Aside: the store lacks what the node had stored, and is put aside.
	Aside  bool
	Refill Refill
	Dirty  bool // it may differ from the others
}

// Refill says that a node may lack what counted as stored: until it has compared all with others, its reads do not
// count.
type Refill string

// The refills.
const (
	RefillNot Refill = ""
	// RefillUp: with those that are up, one at least for each range. The node crashed, and lost at most what was not synced yet.
	RefillUp Refill = "up"
	// RefillAll: with all that hold the same ranges. The node has lost its data, or is new.
	RefillAll Refill = "all"
)

// bytes is r as a store has it.
func (r Refill) bytes() []byte {
	if r == RefillNot {
		return nil
	}
	return []byte(r)
}

// Known is what a node that starts hears of itself.
type Known struct {
	Cluster string
	ID, Run uint64 // of the node of its name and of its last start; 0: there is none
	Others  bool   // there are other members
}

// Judge says how a node of a name starts, from what its store says and what others know.
func Judge(f Found, name string, k Known) (Verdict, error) {
	anew := Verdict{}
	if k.Others {
		anew = Verdict{Refill: RefillAll, Dirty: true}
	}
	switch w := f.Self; {
	case w == nil && f.Run > 0:
		return Verdict{}, fmt.Errorf("the store has been started %d times but does not say whose it is: it is damaged; put it aside, and the node is refilled from the others", f.Run)
	case w == nil:
		return anew, nil // new, or it comes back without its data
	case w.ClusterID != k.Cluster:
		return Verdict{}, fmt.Errorf("the store is of cluster %s, this is %s: a node moves to another cluster with an empty directory", w.ClusterID, k.Cluster)
	case w.Name != name:
		return Verdict{}, fmt.Errorf("the store is node %s's, this is to be %s: start it as %s, or with an empty directory", w.Name, name, w.Name)
	case k.ID == 0:
		return Verdict{}, fmt.Errorf("node %s was taken out of cluster %s: to come back it needs an empty directory", name, k.Cluster)
	case w.ID != k.ID:
		return Verdict{}, fmt.Errorf("the store is of node number %d, the cluster knows %s as %d: another node has taken that name", w.ID, name, k.ID)
	case f.Run < k.Run: // an old copy
		anew.Aside = true
		return anew, nil
	case f.Refill != RefillNot || f.Clean || !k.Others:
		return Verdict{Refill: f.Refill, Dirty: f.Refill != RefillNot}, nil
	case f.Synced:
		return Verdict{Dirty: true}, nil
	}
	return Verdict{Refill: RefillUp, Dirty: true}, nil
}
