package topology

import (
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// Plan is what changes make move. It can be committed as long as the topology is the one that it was made for.
type Plan struct {
	ID    string
	Epoch uint64 // that it is made for
	Gains []Gain // what new owners get
	Notes []string

	topology *distrib.Topology
	changes  []Change
	next     []distrib.Member
	dead     []uint64
	bytes    int64
}

// Gain is a range that a node gets, and who has it, the dead left out.
type Gain struct {
	To    uint64
	From  []uint64
	Range ring.Range
}

// Move is what goes from one node to another: a range that several hold is counted for the first of them.
type Move struct {
	From, To string
	Ranges   int
	Bytes    int64
}

// NewPlan plans changes of t. down says who is thought to be down: of such a member that goes nothing can be had.
func NewPlan(t *distrib.Topology, changes []Change, down func(node uint64) bool) (*Plan, error) {
	if c := t.Change; c != nil {
		return nil, fmt.Errorf("plan: change %s is in stage %s: let it end, or abort it", c.ID, c.Stage)
	}
	next, err := membersAfter(t, changes)
	if err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	p := &Plan{Epoch: t.Epoch, topology: t, changes: changes, next: next}
	for _, m := range t.Members {
		switch gone := !in(next, m.ID); {
		case down(m.ID) && gone:
			p.dead = append(p.dead, m.ID)
			p.Notes = append(p.Notes, fmt.Sprintf("%s is down: what only it has is lost", m.Name))
		case down(m.ID):
			p.Notes = append(p.Notes, fmt.Sprintf("%s is down: the change waits for it", m.Name))
		}
	}
	for _, m := range next {
		if !in(t.Members, m.ID) && down(m.ID) {
			return nil, fmt.Errorf("plan: %s, which is to join, is down: start it first", m.Name)
		}
	}
	if len(next) < t.Replicas {
		p.Notes = append(p.Notes, fmt.Sprintf("%d members are left: keys have %d replicas, not %d", len(next), len(next), t.Replicas))
	}
	if p.Gains, err = gains(t, next, p.dead); err != nil {
		return nil, fmt.Errorf("plan: %w", err)
	}
	p.ID, err = p.id()
	return p, err
}

// gains are what the owners in next get that they have not in t.
func gains(t *distrib.Topology, next []distrib.Member, dead []uint64) (list []Gain, err error) {
	from, err := ringOf(t, t.Members)
	if err != nil {
		return nil, err
	}
	to, err := ringOf(t, next)
	if err != nil {
		return nil, err
	}
	for _, m := range ring.Moves(from, to) {
		var alive []uint64
		for _, id := range m.From {
			if !slices.Contains(dead, id) {
				alive = append(alive, id)
			}
		}
		for _, id := range m.Gain {
			if len(alive) == 0 {
				return nil, fmt.Errorf("all nodes that have %s are down: nothing is left to give to %s", m.Range, nameOf(t, id))
			}
			list = append(list, Gain{To: id, From: alive, Range: m.Range})
		}
	}
	return list, nil
}

// id names the plan: the epoch, the changes, and a hash of all that they rest on. So any node can commit it.
func (p *Plan) id() (string, error) {
	t := p.topology
	b, err := json.Marshal([]any{t.ClusterID, t.Replicas, t.VNodes, t.Members, t.Joining, p.next, p.dead})
	if err != nil {
		return "", fmt.Errorf("plan: %w", err)
	}
	var all []string
	for _, c := range p.changes {
		all = append(all, c.encode())
	}
	return fmt.Sprintf("%d-%s-%08x", p.Epoch, strings.Join(all, ","), crc32.Checksum(b, castagnoli)), nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Recall makes the plan of an id again.
func Recall(t *distrib.Topology, id string, down func(node uint64) bool) (*Plan, error) {
	bad := func(why string) error { return fmt.Errorf("commit: %q is the id of no plan: %s", id, why) }
	epoch, rest, ok := strings.Cut(id, "-")
	e, err := strconv.ParseUint(epoch, 10, 64)
	end := strings.LastIndexByte(rest, '-')
	if !ok || err != nil || end < 0 {
		return nil, bad("want EPOCH-CHANGES-HASH")
	}
	var changes []Change
	for _, s := range strings.Split(rest[:end], ",") {
		c, err := decodeChange(s)
		if err != nil {
			return nil, bad(err.Error())
		}
		changes = append(changes, c)
	}
	if e != t.Epoch {
		return nil, fmt.Errorf("commit: plan %s is of epoch %d, this is %d: plan again", id, e, t.Epoch)
	}
	p, err := NewPlan(t, changes, down)
	if err != nil {
		return nil, err
	}
	if p.ID != id {
		return nil, fmt.Errorf("commit: the cluster has changed since plan %s was made, or a node went down or came up: plan again", id)
	}
	return p, nil
}

// Pieces are the range by the top halves of its tokens, both ends included; where it wraps around there are two.
func Pieces(r ring.Range) [][2]uint64 {
	first := r.After.Next().Hi
	if r.After == r.Last {
		return [][2]uint64{{0, math.MaxUint64}}
	}
	if r.After.Next().Compare(r.Last) <= 0 {
		return [][2]uint64{{first, r.Last.Hi}}
	}
	return [][2]uint64{{0, r.Last.Hi}, {first, math.MaxUint64}}
}

// Measure tells the plan how many bytes of keys and values each of Gains has. seconds is how long the moves take where
// each node gets rate bytes a second.
func (p *Plan) Measure(bytes []int64, rate int64) (moves []Move, total int64, seconds float64) {
	each := map[uint64]int64{}
	for i, g := range p.Gains {
		from, to := nameOf(p.topology, g.From[0]), nameOf(p.topology, g.To)
		k := slices.IndexFunc(moves, func(m Move) bool { return m.From == from && m.To == to })
		if k < 0 {
			k = len(moves)
			moves = append(moves, Move{From: from, To: to})
		}
		moves[k].Ranges++
		moves[k].Bytes += bytes[i]
		total += bytes[i]
		each[g.To] += bytes[i]
	}
	slices.SortFunc(moves, func(a, b Move) int {
		if c := strings.Compare(a.To, b.To); c != 0 {
			return c
		}
		return strings.Compare(a.From, b.From)
	})
	for _, n := range each {
		seconds = max(seconds, float64(n)/float64(rate))
	}
	p.bytes = total
	return moves, total, seconds
}

// Commit returns the topology with which the change begins. It is driven by owner, unless that goes with it.
func (p *Plan) Commit(owner uint64) *distrib.Topology {
	next := *p.topology
	next.Epoch++
	if !in(p.next, owner) {
		owner = p.next[0].ID
	}
	c := &distrib.Change{ID: p.ID, Owner: owner, Stage: stages[0], Since: next.Epoch, Next: p.next, Dead: p.dead, Bytes: p.bytes}
	for _, change := range p.changes {
		c.What = append(c.What, change.String())
	}
	next.Change = c
	return &next
}

// plans are how many bytes the plans made here for an epoch move. Those for an older one cannot be committed.
type plans struct {
	epoch uint64
	bytes map[string]int64 // by id
}

// plansKept bounds the plans of an epoch: what is forgotten is measured again by the commit.
const plansKept = 64

func (p *plans) keep(plan *Plan, bytes int64) {
	switch {
	case plan.Epoch < p.epoch:
		return
	case plan.Epoch > p.epoch || len(p.bytes) >= plansKept:
		*p = plans{plan.Epoch, map[string]int64{}}
	}
	p.bytes[plan.ID] = bytes
}
