package node

import (
	"context"
	"math"
	"slices"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/antientropy"
	"github.com/cambiumdb/cambium/distrib/gossip"
	"github.com/cambiumdb/cambium/distrib/meta"
	"github.com/cambiumdb/cambium/distrib/recovery"
	"github.com/cambiumdb/cambium/distrib/ring"
)

const (
	// tick is how often the node looks whether there is something to do.
	tick = time.Second
	// pieceTokens is how many tokens are compared at a time: a 64th of the ring.
	pieceTokens = uint64(1) << 58
)

func (n *Node) startBackground() {
	ctx, cancel := context.WithCancel(context.Background())
	n.stopping = cancel
	n.onClose(func() error { n.stopBackground(); return nil })
	watch, unwatch := context.WithCancel(ctx)
	n.loops.Go(func() { n.meta.Watch(watch, n.watched) })
	n.loops.Go(func() { n.mover.Load().Run(ctx) })
	n.loops.Go(func() { n.every(ctx, n.kick, n.meet) })
	n.loops.Go(func() { n.every(ctx, nil, func(context.Context) { n.log("clock", n.clock.Keep()) }) })
	n.loops.Go(func() { n.every(ctx, n.awake, n.handOver) })
	n.loops.Go(func() { n.keepComparing(ctx) })
	n.loops.Go(func() { n.restoreRegisters(ctx) })
	n.loops.Go(func() {
		defer unwatch()
		n.every(ctx, nil, func(ctx context.Context) {
			if n.hasLeft() {
				unwatch()
				return
			}
			n.seat(ctx)
		})
	})
}

func (n *Node) stopBackground() {
	n.stopping()
	n.loops.Wait()
}

// every calls f each tick, and when woken.
func (n *Node) every(ctx context.Context, woken <-chan struct{}, f func(ctx context.Context)) {
	t := time.NewTicker(tick)
	defer t.Stop()
	for {
		f(ctx)
		select {
		case <-t.C:
		case <-woken:
		case <-ctx.Done():
			return
		}
	}
}

func (n *Node) log(what string, err error) {
	if err != nil {
		n.opts.Logger.Error(what, "error", err)
	}
}

func (n *Node) watched(t *distrib.Topology, revision int64) {
	before := n.view()
	n.log("topology", n.setView(t, revision))
	if n.view() != before {
		n.refresh() // others wait to hear that it is known here
	}
}

// meet tells others the node's state, and looks for a newer topology and for nodes that it does not hear of.
func (n *Node) meet(ctx context.Context) {
	v, p := n.view(), n.parts
	state := gossip.State{Epoch: n.mover.Load().Oldest(), Run: n.births.Run(), DataBytes: uint64((*n.store.Load()).DiskBytes())}
	for _, k := range p.hints.Kept() {
		state.HintBytes += uint64(k.Bytes)
	}
	p.gossip.SetState(state)
	n.forgetGone(v)
	members := p.gossip.Members()
	strange := slices.ContainsFunc(v.others(n.self.Load().ID), func(m distrib.Member) bool {
		return !slices.ContainsFunc(members, func(g gossip.Member) bool { return g.Node == m.ID && g.Liveness != distrib.Down && g.Addr != "" })
	})
	behind := slices.ContainsFunc(members, func(g gossip.Member) bool { return g.State.Epoch > v.topology.Epoch })
	if !strange && !behind {
		return
	}
	list, _ := n.helloAll(ctx, n.addresses(v.topology), v.topology.ClusterID, false) // who does not answer is asked again
	if t := newest(nil, list); t != nil {
		n.watched(t, 0)
	}
	if strange {
		_ = p.gossip.Join(seedsOf(list)) // likewise
	}
}

// forgetGone drops what is kept of nodes that are no more in the cluster.
func (n *Node) forgetGone(v *view) {
	n.parts.hints.Forget(v.gone)
	n.parts.gossip.Forget(v.gone)
	n.conns.keep(v)
}

// hasLeft reports whether the node is no more one of the cluster. It may come back with an empty directory only, so it does
// not follow the ring metadata any more, which would be all over its log.
func (n *Node) hasLeft() bool {
	if !n.view().gone(n.self.Load().ID) || meta.HasSeat(n.metaDir()) {
		return false
	}
	if !n.left.Swap(true) {
		n.opts.Logger.Info("the node has left the cluster: it can be stopped", "node", n.opts.Name)
	}
	return true
}

// seat does the next thing for the ring metadata to be kept where it should be, and tells all where it is.
func (n *Node) seat(ctx context.Context) {
	t := n.view().topology
	stay := t.Members
	if t.Change != nil {
		stay = t.Change.Next
	}
	var names []string
	for _, m := range stay {
		if slices.ContainsFunc(t.Members, func(is distrib.Member) bool { return is.ID == m.ID }) {
			names = append(names, m.Name)
		}
	}
	endpoints, err := n.seats.Seats(ctx, names, func(name string) bool { _, ok := n.view().named(name); return ok })
	if err == nil && len(endpoints) > 0 && !slices.Equal(endpoints, t.Metadata) {
		err = n.change(ctx, func(t *distrib.Topology) *distrib.Topology {
			if slices.Equal(endpoints, t.Metadata) {
				return nil
			}
			next := *t
			next.Metadata = endpoints
			return &next
		})
	}
	if err != nil && ctx.Err() == nil {
		n.opts.Logger.Debug("seat of the ring metadata", "error", err)
	}
}

// wakeHints has hints handed over at once.
func (n *Node) wakeHints() {
	select {
	case n.awake <- struct{}{}:
	default:
	}
}

// handOver gives nodes that are back what was kept for them. Who is not a key's any more, or no more, gets nothing: those
// who hold the key now do.
func (n *Node) handOver(ctx context.Context) {
	p := n.parts
	for _, k := range p.hints.Kept() {
		v := n.view()
		_, member := v.members[k.Target]
		if member && p.gossip.Liveness(k.Target) == distrib.Down {
			continue
		}
		sent, err := p.hints.Drain(ctx, k.Target, func(key []byte, record distrib.Record) error {
			return n.mover.Load().Deliver(ctx, k.Target, key, record)
		})
		if sent > 0 || err != nil {
			n.opts.Logger.Info("hints handed over", "node", v.name(k.Target), "records", sent, "error", err)
		}
	}
}

func owners(r *ring.Ring, t ring.Token) (ids []uint64) {
	for _, i := range r.Replicas(t) {
		ids = append(ids, r.Node(i).ID)
	}
	return ids
}

// refilled says whether the node may lack something.
func (n *Node) refilled() recovery.Refill { return *n.lost.Load() }

// setRefill notes whether the node may lack something.
func (n *Node) setRefill(r recovery.Refill) error {
	if err := recovery.MarkRefill(*n.store.Load(), r); err != nil {
		return err
	}
	n.lost.Store(&r)
	return nil
}

// keepComparing compares now and then, and at first often where the node's reads wait for it.
func (n *Node) keepComparing(ctx context.Context) {
	const eager = 50
	for tries := 0; ; tries++ {
		n.compareDirty(ctx)
		wait := tick
		if n.refilled() != recovery.RefillNot && tries < eager {
			wait = tick / 10
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// awaitRefill waits until the node's reads count, for some seconds at most: with another node down it may take until
// that is back, and meanwhile this one can do all else.
func (n *Node) awaitRefill(ctx context.Context) {
	for end := time.Now().Add(refillPatience); n.refilled() != recovery.RefillNot && time.Now().Before(end) && ctx.Err() == nil; {
		time.Sleep(refillPatience / 300)
	}
}

// refillPatience is how long the start of a node waits to be refilled.
const refillPatience = 3 * time.Second

// compareDirty compares what may differ with the others that hold it. Once all was compared the node's reads count.
func (n *Node) compareDirty(ctx context.Context) {
	p := n.parts
	began, enough := n.refilled(), true
	if began == recovery.RefillAll && !n.known() {
		return
	}
	for next, more := uint64(0), true; more; {
		s, ok := p.dirty.Next(next)
		if !ok {
			break
		}
		s.Last = min(s.Last, s.First|(pieceTokens-1))
		n.log("clean ranges", p.dirty.Clean(s))
		all, own, err := n.compare(ctx, s, began)
		if err != nil {
			n.opts.Logger.Info("ranges that may differ could not be compared yet", "error", err)
		}
		if !all {
			n.log("mark ranges", p.dirty.MarkRange(s))
		}
		enough = enough && own
		next = s.Last + 1
		more = next != 0 && ctx.Err() == nil
	}
	if began != recovery.RefillNot && enough && ctx.Err() == nil {
		n.log("refill", n.setRefill(recovery.RefillNot))
		n.opts.Logger.Info("the node holds all that it should: its reads count")
	}
}

// known reports whether all members know the topology of this node, and nothing goes on there under an older one: so no
// write is under way that leaves this node out.
func (n *Node) known() bool {
	v := n.view()
	members := n.parts.gossip.Members()
	return !slices.ContainsFunc(v.others(n.self.Load().ID), func(m distrib.Member) bool {
		return !slices.ContainsFunc(members, func(g gossip.Member) bool { return g.Node == m.ID && g.State.Epoch >= v.topology.Epoch })
	})
}

// markOwn marks all that the node holds: it may differ from what others hold.
func (n *Node) markOwn(dirty *antientropy.Dirty) error {
	own, _ := n.stretches(antientropy.Slots{Last: math.MaxUint64})
	list := make([]antientropy.Slots, len(own))
	for i, s := range own {
		list[i] = antientropy.Slots{First: s.First.Hi, Last: s.Last.Hi}
	}
	return dirty.MarkRange(list...)
}

// stretches are those of slots: what this node holds, and what others do.
func (n *Node) stretches(s antientropy.Slots) (own, others []ring.Stretch) {
	for _, stretch := range n.view().keys.Reads().Stretches() {
		switch first, last := max(s.First, stretch.First.Hi), min(s.Last, stretch.Last.Hi); {
		case first > last:
		case slices.Contains(stretch.Nodes, n.self.Load().ID):
			own = append(own, stretch)
		default:
			others = append(others, stretch)
		}
	}
	return own, others
}

// compare makes those who hold tokens hold the same: first of what this node holds, and then of what it does not, since it may have
// written there for a client. all: nobody was left out since he is down. own: so it is of what the node holds, or with RefillUp it
// was compared with another at least.
func (n *Node) compare(ctx context.Context, s antientropy.Slots, mode recovery.Refill) (all, own bool, err error) {
	mine, others := n.stretches(s)
	all, some, err := n.compareStretches(ctx, s, mine, mode == recovery.RefillUp)
	if err != nil {
		return false, false, err
	}
	own = all || mode == recovery.RefillUp && some
	rest, _, err := n.compareStretches(ctx, s, others, false)
	return all && rest, own, err
}

// compareStretches compares slots within stretches. Those of which a node is down are left out, unless partly asks for
// the comparison of the others, if there is more than one. all: no node was down. some: more than one was not, of each.
func (n *Node) compareStretches(ctx context.Context, s antientropy.Slots, list []ring.Stretch, partly bool) (all, some bool, err error) {
	all, some = true, true
	for _, stretch := range list {
		nodes := slices.DeleteFunc(slices.Clone(stretch.Nodes), func(id uint64) bool { return n.parts.gossip.Liveness(id) == distrib.Down })
		if len(nodes) < len(stretch.Nodes) {
			all, some = false, some && len(nodes) > 1
			if !partly || len(nodes) < 2 {
				continue
			}
		}
		first, last := max(s.First, stretch.First.Hi), min(s.Last, stretch.Last.Hi)
		if _, err := antientropy.Exchange(ctx, patient{n.parts.client}, nodes, first, last, antientropy.Options{}); err != nil {
			return false, false, err
		}
	}
	return all, some, nil
}
