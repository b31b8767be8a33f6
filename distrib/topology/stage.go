package topology

import (
	"fmt"
	"slices"

	"github.com/cambiumdb/cambium/distrib"
)

// stages in their order.
var stages = []distrib.Stage{distrib.StageDouble, distrib.StageStream, distrib.StageVerify, distrib.StageSwitch, distrib.StageClean}

// works reports whether nodes have to do something in a stage, and not only to have it.
func works(s distrib.Stage) bool {
	return s == distrib.StageStream || s == distrib.StageVerify || s == distrib.StageClean
}

// Report is how far a node is.
type Report struct {
	Epoch  uint64 // of its topology
	Oldest uint64 // epoch of the views under which something goes on there
	// What follows is of its part in a stage of a change.
	Change     string
	Stage      distrib.Stage
	Done       bool
	Ranges, Of int   // that are done, of how many
	Keys       int   // that came to it
	Bytes      int64 // of these
	// Trouble is why the part does not go on, or why there is no report.
	Trouble string
}

// Waiting is what a change waits for.
type Waiting struct {
	Node string
	For  string
}

// String is both.
func (w Waiting) String() string { return w.Node + ": " + w.For }

// Step returns the topology of the next stage of the change of t, or, where next is nil, what it waits for. reports are
// by node.
func Step(t *distrib.Topology, reports map[uint64]Report) (next *distrib.Topology, waiting []Waiting) {
	for _, m := range participants(t) {
		r, ok := reports[m.ID]
		if !ok {
			r.Trouble = "has not answered yet"
		}
		if what := lacks(t.Change, r); what != "" {
			waiting = append(waiting, Waiting{m.Name, what})
		}
	}
	if len(waiting) > 0 {
		return nil, waiting
	}
	return advance(t), nil
}

// lacks is what a node has still to do in the stage of c; empty: nothing.
func lacks(c *distrib.Change, r Report) string {
	trouble := func(what string) string {
		if r.Trouble != "" {
			return what + ": " + r.Trouble
		}
		return what
	}
	switch {
	case r.Epoch == 0:
		return r.Trouble
	case r.Epoch < c.Since:
		return trouble(fmt.Sprintf("has epoch %d, the stage began with %d", r.Epoch, c.Since))
	case r.Oldest < c.Since:
		return fmt.Sprintf("operations of epoch %d go on, the stage began with %d", r.Oldest, c.Since)
	case !works(c.Stage):
		return ""
	case r.Change != c.ID || r.Stage != c.Stage:
		return trouble("has not begun")
	case !r.Done && r.Of == 0:
		return trouble(string(c.Stage) + " goes on")
	case !r.Done:
		return trouble(fmt.Sprintf("%d of %d ranges", r.Ranges, r.Of))
	}
	return ""
}

// advance is t with the next stage of its change, or behind the last one.
func advance(t *distrib.Topology) *distrib.Topology {
	next, change := *t, *t.Change
	next.Epoch++
	next.Fence = change.Since
	i := slices.Index(stages, change.Stage)
	if i+1 < len(stages) {
		change.Stage, change.Since = stages[i+1], next.Epoch
		next.Change = &change
		return &next
	}
	next.Change, next.Members, next.Joining = nil, nil, nil
	all := everybody(t) // addresses may have changed since the plan
	for _, m := range change.Next {
		if i := slices.IndexFunc(all, func(o distrib.Member) bool { return o.ID == m.ID }); i >= 0 {
			m.Addr, m.HTTP, m.Run = all[i].Addr, all[i].HTTP, all[i].Run
		}
		next.Members = append(next.Members, m)
	}
	for _, m := range t.Joining {
		if !in(change.Next, m.ID) {
			next.Joining = append(next.Joining, m)
		}
	}
	return &next
}

// Abort returns t without its change: all is as before it, and nodes that were to join wait again. Once reads ask the
// new owners there is no way back.
func Abort(t *distrib.Topology, id string) (*distrib.Topology, error) {
	c := t.Change
	switch {
	case c == nil:
		return nil, fmt.Errorf("abort: no change of owners is under way in epoch %d", t.Epoch)
	case c.ID != id:
		return nil, fmt.Errorf("abort %s: the change under way is %s", id, c.ID)
	case slices.Index(stages, c.Stage) > slices.Index(stages, distrib.StageVerify):
		return nil, fmt.Errorf("abort %s: it is in stage %s, and reads ask the new owners already: let it end, and plan the way back", id, c.Stage)
	}
	next := *t
	next.Epoch++
	next.Change = nil
	return &next, nil
}

// takenOver is t with another owner of its change.
func takenOver(t *distrib.Topology, owner uint64) *distrib.Topology {
	next, change := *t, *t.Change
	next.Epoch++
	change.Owner = owner
	next.Change = &change
	return &next
}
