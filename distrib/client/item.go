package client

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
)

// Consistency is how many of a key's N nodes must do what is asked.
type Consistency uint8

// The consistencies. Linearizable operations on a key have one order, which all clients see; the first of them makes the key
// linearizable for good. A node that serves none answers ErrUnimplemented.
const (
	Quorum Consistency = iota
	One
	All
	Linearizable
)

var consistencies = []struct {
	name string
	wire api.Consistency
}{{"quorum", api.Consistency_QUORUM}, {"one", api.Consistency_ONE}, {"all", api.Consistency_ALL}, {"linearizable", api.Consistency_LINEARIZABLE}}

// String is the name that ParseConsistency takes.
func (c Consistency) String() string { return consistencies[c].name }

func (c Consistency) wire() api.Consistency { return consistencies[c].wire }

// ParseConsistency reads one, quorum, all or linearizable.
func ParseConsistency(s string) (Consistency, error) {
	for i, c := range consistencies {
		if strings.EqualFold(s, c.name) {
			return Consistency(i), nil
		}
	}
	return 0, fmt.Errorf("consistency %q: want one, quorum, all or linearizable", s)
}

// Level is how many nodes must answer, and which count. The zero value is a sloppy quorum.
type Level struct {
	Consistency Consistency
	Nodes       int  // R or W, 1 to N, in place of Consistency; 0: as Consistency says
	Strict      bool // only the key's own nodes count; else the next healthy ones stand in
}

func (l Level) message() *api.Level {
	return &api.Level{Consistency: l.Consistency.wire(), Nodes: uint32(l.Nodes), Strict: l.Strict}
}

func (l Level) check() error {
	if l.Nodes > 0 && l.Consistency == Linearizable {
		return fmt.Errorf("level: %d nodes beside linearizable, which a majority of the key's own nodes decides: want 0", l.Nodes)
	}
	if l.Nodes < 0 {
		return fmt.Errorf("level: %d nodes, want 1 to N, or 0 for what the consistency says", l.Nodes)
	}
	if int(l.Consistency) >= len(consistencies) {
		return fmt.Errorf("level: consistency %d, want one, quorum, all or linearizable", l.Consistency)
	}
	return nil
}

// Place is a node that counted.
type Place struct {
	Node string
	For  string // the node that it stands in for, empty: it holds the key itself
}

// String is NODE, or NODE for NODE.
func (p Place) String() string {
	if p.For == "" {
		return p.Node
	}
	return p.Node + " for " + p.For
}

// Item is what was read of a key.
type Item struct {
	Key []byte
	// Siblings are the writes that no other has seen, deletes included. None: the key was never written.
	Siblings []distrib.Sibling
	// Context is what a put must hold to overwrite them all. It is opaque.
	Context  []byte
	Answered []Place
	Repaired bool // a node that answered lacked something
	// Linearizable: the key is. Where it was not read so, what was decided last may be missing.
	Linearizable bool
	// Strays is how many versions came to light that nodes had stored which did not know the key to be linearizable.
	Strays int

	decided bool // as the key's register says: it has said what has expired too
}

// ErrSiblings is returned where one value is asked for and there are several, which were written concurrently.
var ErrSiblings = errors.New("there are concurrent values")

// Seen returns the siblings as they are now: what has expired is deleted. Of what was read linearizable the key's register has said
// that, and the clock here does not matter.
func (i *Item) Seen() []distrib.Sibling {
	now := int64(0)
	if !i.decided {
		now = time.Now().UnixMilli()
	}
	seen, _ := distrib.AsOf(i.Siblings, now)
	return seen
}

// Live returns the values that are there: neither deleted nor expired.
func (i *Item) Live() []distrib.Value {
	var live []distrib.Value
	for _, s := range i.Seen() {
		if !s.Value.Deleted {
			live = append(live, s.Value)
		}
	}
	return live
}

// Found reports whether the key has a value.
func (i *Item) Found() bool { return len(i.Live()) > 0 }

// Value returns the value where there is one; else the error is a distrib.ErrNotFound or an ErrSiblings.
func (i *Item) Value() ([]byte, error) {
	switch live := i.Live(); len(live) {
	case 0:
		return nil, fmt.Errorf("get %q: %w", i.Key, distrib.ErrNotFound)
	case 1:
		return live[0].Data, nil
	default:
		return nil, fmt.Errorf("get %q: %w: %d of them", i.Key, ErrSiblings, len(live))
	}
}

// Resolve makes one value of the siblings. The error is a distrib.ErrNotFound where it is none. Nothing is written: a
// put of the value with Context does that.
func (i *Item) Resolve(r distrib.Resolver) ([]byte, error) {
	if seen := i.Seen(); len(seen) > 0 {
		if v := r(seen); !v.Deleted {
			return v.Data, nil
		}
	}
	return nil, fmt.Errorf("get %q: %w", i.Key, distrib.ErrNotFound)
}
