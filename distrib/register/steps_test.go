package register

import (
	"fmt"
	"slices"

	"github.com/cambiumdb/cambium/distrib/vclock"
)

// transition is an event and what it does to a copy of the world; it returns what promise is broken by it.
type transition struct {
	event
	step func(*world) string
}

// after is the world behind a transition.
func (w *world) after(t transition) (next *world, violation string) {
	n := *w
	violation = t.step(&n)
	n.clean()
	return &n, violation
}

// transitions are all that may happen next.
func (w *world) transitions() (list []transition) {
	try := func(e event, step func(*world) string) { list = append(list, transition{e, step}) }
	for i := range w.net {
		for _, m := range w.net[i] {
			switch {
			case m.request != nil && !(w.s.dead && w.epoch > 1 && m.node == 2):
				try(event{"deliver", m.prop, m.node, m}, func(n *world) string { return n.deliver(m, true) })
				if w.s.prompt {
					try(event{"answer lost", m.prop, m.node, m}, func(n *world) string { return n.deliver(m, false) })
				}
			case m.reply != nil:
				try(event{"deliver", m.node, m.prop, m}, func(n *world) string {
					return n.step(m.prop, func(p *Proposer) Effects { return p.Answer(0, uint64(m.node+1), m.reply) })
				})
			}
		}
	}
	for i, p := range w.props {
		if i == 1 && w.epoch < w.s.second {
			continue
		}
		if w.next[i] < len(w.s.scripts[i]) && (w.open[i] == 0 || w.s.folded) && (i == 0 || p.group.Epoch >= w.s.second) {
			try(event{what: "submit", a: i, b: w.next[i]}, func(n *world) string { return n.submit(i) })
		}
		if p.phase == beaten && w.retried[i] < w.s.retries {
			try(event{what: "retry", a: i}, func(n *world) string {
				n.retried[i]++
				return n.step(i, func(p *Proposer) Effects { return p.Retry(0) })
			})
		}
		if p.Queued() {
			try(event{what: "turn", a: i}, func(n *world) string { return n.step(i, func(p *Proposer) Effects { return p.Turn(0) }) })
		}
		w.failures(i, try)
		if p.group.Epoch < w.epoch && (i == 1 || !w.s.stays) {
			try(event{what: "move", a: i}, func(n *world) string {
				return n.step(i, func(p *Proposer) Effects { return p.Move(0, w.s.group(p.group.Epoch+1)) })
			})
		}
	}
	if w.crashed < w.s.crashes {
		for i, a := range w.nodes[:3] {
			try(event{what: "crash", a: i}, func(n *world) string {
				n.crashed++
				n.setNode(i, &acceptor{state: a.durable, durable: a.durable, data: a.durableData, durableData: a.durableData, fence: a.fence})
				return ""
			})
		}
	}
	if w.s.stray != nil && !w.strayed {
		for i := range w.nodes[:3] {
			try(event{what: "stray", a: i}, func(n *world) string {
				n.strayed = true
				for j, a := range w.nodes[:3] {
					if j == i || w.s.everywhere {
						data := vclock.Merge(a.data, w.s.stray)
						n.setNode(j, &acceptor{state: a.state, durable: a.durable, data: data, durableData: data, fence: a.fence})
					}
				}
				n.mon = n.mon.invoke(strayOp)
				return ""
			})
		}
	}
	if w.s.moves || w.s.wiped {
		w.changes(try)
	}
	return list
}

// failures are those of one proposer.
func (w *world) failures(i int, try func(event, func(*world) string)) {
	p := w.props[i]
	if w.lost < w.s.losses && len(p.heard) > 0 {
		r := &Request{Kind: [...]RequestKind{asking: Ask, preparing: Prepare, accepting: Accept}[p.phase], Ballot: p.ballot}
		for seat, a := range p.heard {
			if a.state == awaited {
				try(event{what: "lost", a: i, b: seat}, func(n *world) string {
					n.lost++
					return n.step(i, func(p *Proposer) Effects { return p.Lost(0, p.group.Seats[seat].Node, r, true) })
				})
			}
		}
	}
	if w.expired < w.s.expires && w.open[i] > 0 {
		waits := slices.Concat(p.round, p.queue)
		for _, l := range p.losers {
			waits = append(waits, waiting{Operation: l.Operation})
		}
		for _, o := range waits {
			if !o.gone {
				try(event{what: "expire", a: i, b: int(o.ID[0])}, func(n *world) string {
					n.expired++
					return n.step(i, func(p *Proposer) Effects { return p.Expire(o.ID) })
				})
			}
		}
	}
	if w.starts < w.s.starts && i == 0 {
		try(event{what: "restart", a: i}, func(n *world) string {
			n.starts++
			n.open[i] = 0 // nobody will be answered
			n.props[i] = n.proposer(i, p.run+1)
			n.hashProposer(i)
			return ""
		})
	}
}

// barrier reports whether every node that lives refuses what is of the first epoch.
func (w *world) barrier() bool {
	for i, a := range w.nodes[:w.owners()] {
		if a.fence < 2 && !(w.s.dead && i == 2) && !w.s.control.noFence {
			return false
		}
	}
	return true
}

// owners is how many nodes there are.
func (w *world) owners() int {
	if w.s.moves {
		return 4
	}
	return 3
}

// copies reports whether a node's registers are copied: those of all old owners that live, but not of who copies.
func (w *world) copies(i int) bool {
	return i < 2 || i == 2 && w.s.moves && !w.s.dead
}

// whole reports whether all registers were copied.
func (w *world) whole() bool {
	for i := range 3 {
		if w.copies(i) && !w.nodes[i].copied && !w.s.control.noCopy {
			return false
		}
	}
	return true
}

// changes are the steps of a change of owners, or of the return of a node without its store: the second epoch begins, of
// which every owner is told; behind that barrier who needs it copies what the others have accepted. Of a change the third
// begins then. No fence is needed there: quorums of the second meet those of the third.
func (w *world) changes(try func(event, func(*world) string)) {
	to := w.owners() - 1
	set := func(n *world, i int, change func(a *acceptor)) string {
		a := *n.nodes[i]
		change(&a)
		n.setNode(i, &a)
		return ""
	}
	switch {
	case w.s.wiped && !w.lostStore:
		try(event{what: "wipe", a: to}, func(n *world) string {
			n.lostStore = true
			since := uint64(2)
			if n.s.control.forgetful {
				since = 0
			}
			n.setNode(to, &acceptor{fence: 2, since: since})
			return ""
		})
	case w.epoch == 1 || w.epoch == 2 && w.s.moves && w.whole():
		try(event{what: "epoch", a: int(w.epoch)}, func(n *world) string { n.epoch++; return "" })
	}
	for i, a := range w.nodes[:w.owners()] {
		if a.fence < 2 && w.epoch > 1 && !w.s.control.noFence {
			try(event{what: "fence", a: i}, func(n *world) string {
				return set(n, i, func(a *acceptor) { a.fence = 2 })
			})
		}
	}
	if w.epoch != 2 || !w.barrier() && !w.s.control.earlyCopy {
		return
	}
	for i, a := range w.nodes[:3] {
		switch {
		case !w.copies(i) || a.copied:
		case a.read == nil:
			try(event{what: "read", a: i}, func(n *world) string {
				set(n, i, func(a *acceptor) { a.read = &a.state })
				if n.s.dead || n.s.wiped {
					return ""
				}
				return n.adopt(i, to) // at once: there are too many states else
			})
		default:
			try(event{what: "adopt", a: i}, func(n *world) string { return n.adopt(i, to) })
		}
	}
}

// adopt has a node take over what it was told by another.
func (w *world) adopt(from, to int) string {
	source, a := *w.nodes[from], *w.nodes[to]
	a.state, _ = a.state.Adopt(source.read)
	a.durable = a.state
	source.read, source.copied = nil, true
	w.setNode(from, &source)
	if w.whole() {
		a.since = 0
	}
	w.setNode(to, &a)
	return ""
}

func (w *world) submit(i int) string {
	o := w.s.scripts[i][w.next[i]]
	w.next[i]++
	w.open[i]++
	w.mon = w.mon.invoke(int(o.ID[0]))
	w.tells[o.ID[0]] = w.strayed && w.s.everywhere && o.Kind == Get
	return w.step(i, func(p *Proposer) Effects { return p.Submit(0, o) })
}

// deliver gives a request to an acceptor, whose answer is lost unless told.
func (w *world) deliver(m *message, told bool) string {
	a, c := *w.nodes[m.node], &w.s.control
	state := a.state
	if c.acceptOlder {
		state.Promised = state.Accepted
	}
	fence := a.fence
	if c.noFence {
		fence = 0
	}
	if !state.Answers(m.request.Kind, a.since) {
		if w.s.prompt && told {
			return w.step(m.prop, func(p *Proposer) Effects { return p.Lost(0, uint64(m.node+1), m.request, false) })
		}
		return ""
	}
	out := state.Step(max(fence, a.since), m.request, a.data)
	if out.Learned != nil {
		a.data = vclock.Merge(a.data, out.Learned) // not synced
	}
	if out.Save {
		a.state = out.State
		unsynced := c.unsyncedPromises && m.request.Kind == Prepare || c.unsyncedAccepts && m.request.Kind == Accept
		if !unsynced {
			a.durable, a.durableData = a.state, a.data
		}
	}
	w.setNode(m.node, &a)
	if !told {
		return ""
	}
	if c.dropStrays && out.State.Linearizable() {
		out.Reply.Data = nil
	}
	if w.s.prompt {
		return w.step(m.prop, func(p *Proposer) Effects { return p.Answer(0, uint64(m.node+1), &out.Reply) })
	}
	return w.send(&message{node: m.node, prop: m.prop, reply: &out.Reply})
}

// step has a proposer take an event, and carries out what it asks.
func (w *world) step(i int, do func(*Proposer) Effects) string {
	p := *w.props[i]
	p.heard, p.round, p.queue = slices.Clone(p.heard), slices.Clone(p.round), slices.Clone(p.queue)
	w.props[i] = &p
	e := do(&p)
	for _, r := range e.Results {
		w.open[i]--
		if violation := w.answered(&p, r); violation != "" {
			return violation
		}
	}
	for _, s := range e.Sends {
		r := *s.Request
		r.Digest = false // all seats are alike
		if !w.learns() {
			r.Decided = Ballot{}
		}
		if violation := w.send(&message{node: int(s.Node - 1), prop: i, request: &r}); violation != "" {
			return violation
		}
	}
	w.hashProposer(i)
	return ""
}

// learns reports whether what is decided is learned: it matters only beside eventual writes.
func (w *world) learns() bool { return w.s.stray != nil || len(w.s.data[0]) > 0 }

// answered takes what a client is told.
func (w *world) answered(p *Proposer, r Result) (violation string) {
	op := int(r.Op[0])
	if w.tells[op] && r.Outcome == OK && !vclock.Context(r.Record).Contains(w.s.stray[0].Dot) {
		return fmt.Sprintf("operation %d is answered without the eventual write: %s", op, contents(r.Record))
	}
	if w.mon = w.mon.answer(op, r); len(w.mon.configs) == 0 {
		return fmt.Sprintf("not linearizable: operation %d is answered %s %s %s", op, r.Outcome, r.Verdict, contents(r.Record))
	}
	if r.Outcome != OK || w.mon.ops[op].Kind != Put || r.Verdict > Repeated {
		return ""
	}
	w.acked[op] = p.known
	for r := range w.proposals {
		if violation := w.keeps(r); violation != "" {
			return violation
		}
	}
	return ""
}
