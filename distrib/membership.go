package distrib

import (
	"context"
	"errors"
)

// Member is a node of the cluster as the ring metadata has it.
type Member struct {
	ID     uint64  // never given to another node, nor to a node that comes back without its data
	Name   string  // of the operator's choice, unique
	Addr   string  // host:port of gRPC
	HTTP   string  // host:port of metrics and health, empty: none
	Zone   string  // where it fails together with others, empty: alone
	Weight float64 // how much it holds beside others; 0 is 1
	Run    uint64  // the number of its last start
}

// Topology is the truth of who is in the cluster and holds what: the ring metadata. It changes as a whole, and
// each change of more than the numbers of starts raises Epoch.
type Topology struct {
	ClusterID string // fixed by the first node
	Secret    []byte // with which the nodes encrypt what they gossip; clients are not told
	Epoch     uint64
	Replicas  int // N
	VNodes    int
	NextID    uint64 // of the next member
	Members   []Member
	// Joining are nodes that have been let in and hold nothing yet: a plan makes them members.
	Joining []Member
	// Change is the change of owners under way, nil: none.
	Change *Change
	// Fence is the oldest epoch whose requests are taken: what was begun under an older one must not happen any more.
	Fence uint64
	// Metadata are the client endpoints of the store of this topology, where nodes run it themselves.
	Metadata []string
}

// Change of the owners of ranges. Each stage is an epoch of the topology.
type Change struct {
	ID    string
	Owner uint64 // the node that drives it; another takes over where that is gone
	Stage Stage
	Since uint64   // the epoch with which the stage began
	Next  []Member // the members after it
	// Dead are members that it takes out and of which nothing can be had: nobody waits for them or takes their requests.
	Dead  []uint64
	What  []string // the changes, for people
	Bytes int64    // of keys and values that were planned to move
}

// Stage of a change of owners.
type Stage string

// The stages, in their order. A change may be aborted up to StageVerify.
const (
	StageDouble Stage = "write-both" // writes count where the old and the new owners have them; reads ask the old
	StageStream Stage = "stream"     // new owners are given what they lack
	StageVerify Stage = "verify"     // both ends are compared by hash
	StageSwitch Stage = "switch"     // reads ask the new owners; writes still go to both
	StageClean  Stage = "clean-up"   // owners no more remove what they held
)

// ErrChanged is returned by MetaStore.Update where the topology was changed by another meanwhile.
var ErrChanged = errors.New("the topology was changed meanwhile")

// MetaStore holds the topology. Data operations do not need it: every node keeps the last topology that it saw.
type MetaStore interface {
	// Load returns the topology and the revision for Update; revision 0: there is none yet.
	Load(ctx context.Context) (t *Topology, revision int64, err error)
	// Update replaces the topology of that revision, or returns ErrChanged. Revision 0 founds.
	Update(ctx context.Context, t *Topology, revision int64) (int64, error)
	// Watch calls changed with each new topology, and may leave out those that have been replaced meanwhile. It
	// returns when ctx ends, and goes on by itself after losing its connection.
	Watch(ctx context.Context, changed func(t *Topology, revision int64))
	Close() error
}

// Liveness is what a node thinks of another.
type Liveness uint8

// The opinions: of a suspect it is not certain yet.
const (
	Up Liveness = iota
	Suspect
	Down
)
