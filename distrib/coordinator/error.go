package coordinator

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/cambiumdb/cambium/distrib"
)

// State is what became of the request to a node.
type State uint8

// The states.
const (
	Acknowledged State = iota
	Refused            // nothing happened there
	NoAnswer           // it may have happened there, or may still
	Down               // it was not asked, since it is thought to be down and answered no probe
	Reachable          // it was not asked, since too few others can be reached
)

// String returns the state in words.
func (s State) String() string {
	return [...]string{"acknowledged", "refused", "no answer", "down", "reachable"}[s]
}

// ReplicaState is a node that an operation asked, or passed over, and what became of that.
type ReplicaState struct {
	Node, For uint64 // as in Place
	State     State
	Err       error // why it is not Acknowledged
}

// Error is an operation that is not known to have succeeded.
type Error struct {
	Op       string // "put", "delete", "get" or "resolve"
	Key      []byte
	OpID     distrib.OpID // of a write: to try it again with
	Outcome  Outcome      // Failed or Unknown
	Need     int          // how many nodes had to do it
	Owners   []uint64     // of the key
	Replicas []ReplicaState
	// Err is why it ended though nodes might have answered still: the caller's context.
	Err error

	name func(node uint64) string
}

// Error says what is known and why.
func (e *Error) Error() string {
	var b strings.Builder
	done := 0
	for _, r := range e.Replicas {
		if r.State == Acknowledged {
			done++
		}
	}
	fmt.Fprintf(&b, "%s %q: %s: %d of %d nodes did it", e.Op, e.Key, e.Outcome, done, e.Need)
	separator := ": "
	for _, r := range e.Replicas {
		name := e.name(r.Node)
		b.WriteString(separator + name)
		if r.For != 0 {
			b.WriteString(" for " + e.name(r.For))
		}
		b.WriteString(" " + r.State.String())
		if r.Err != nil && r.State != Down {
			b.WriteString(": " + strings.TrimPrefix(r.Err.Error(), "node "+name+": "))
		}
		separator = "; "
	}
	if e.Err != nil {
		b.WriteString(separator + e.Err.Error())
	}
	if e.Outcome == Unknown {
		b.WriteString(": it may happen still: read the key, or try again with the same op id")
	}
	return b.String()
}

// Unwrap returns what the nodes said, and Err.
func (e *Error) Unwrap() (errs []error) {
	for _, r := range e.Replicas {
		if r.Err != nil {
			errs = append(errs, r.Err)
		}
	}
	if e.Err != nil {
		errs = append(errs, e.Err)
	}
	return errs
}

// errDown is why a node was passed over.
var errDown = fmt.Errorf("it is thought to be down: %w", distrib.ErrUnreachable)

// note adds what became of the request to a node, in place of what became of an earlier one.
func note(list []ReplicaState, node, instead uint64, err error) []ReplicaState {
	r := ReplicaState{Node: node, For: instead, Err: err}
	switch {
	case errors.Is(err, distrib.ErrRefused):
		r.State = Refused
	case err != nil:
		r.State = NoAnswer
	}
	return noteState(list, r)
}

func noteState(list []ReplicaState, r ReplicaState) []ReplicaState {
	if i := slices.IndexFunc(list, func(old ReplicaState) bool { return old.Node == r.Node }); i >= 0 {
		list[i] = r
		return list
	}
	return append(list, r)
}

// passedOver are owners of a key that are thought to be down.
func passedOver(owners []uint64) (list []ReplicaState) {
	for _, node := range owners {
		list = append(list, ReplicaState{Node: node, State: Down, Err: errDown})
	}
	return list
}
