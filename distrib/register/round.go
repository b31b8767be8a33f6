package register

import (
	"slices"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/vclock"
	"github.com/cambiumdb/cambium/internal/bugs"
)

// start begins a round if there is something to do.
func (p *Proposer) start(now distrib.Timestamp, e *Effects) {
	if p.phase != idle || len(p.queue) == 0 {
		return
	}
	n := min(len(p.queue), MaxFold)
	p.round, p.queue = slices.Clone(p.queue[:n]), slices.Clone(p.queue[n:])
	p.met, p.absorbed = Ballot{}, 0
	if p.ready {
		if next, results, changed := p.fold(p.promised, now); changed {
			p.propose(p.promised, next, results, e)
			return
		}
		if len(p.queue) == 0 && p.allLate() {
			p.putBack()
			return
		}
		p.ask(now, e) // is it the last value still?
		return
	}
	if slices.ContainsFunc(p.round, func(w waiting) bool { return !w.reads() }) {
		p.prepare(now, e)
		return
	}
	p.ask(now, e)
}

// tick is a time above all that this proposer used or met.
func (p *Proposer) tick(now distrib.Timestamp) distrib.Timestamp {
	p.last = max(p.last+1, now)
	return p.last
}

// begin asks all seats.
func (p *Proposer) begin(to phase, e *Effects, request func(seat int) *Request) {
	p.phase, p.heard = to, make([]answer, len(p.group.Seats))
	for i, s := range p.group.Seats {
		e.Sends = append(e.Sends, Send{s.Node, request(i)})
	}
}

// prepare asks for a promise.
func (p *Proposer) prepare(now distrib.Timestamp, e *Effects) {
	p.ready = false
	p.ballot = Ballot{p.group.Epoch, p.tick(now), p.node, p.run}
	r := &Request{Kind: Prepare, Ballot: p.ballot, Have: p.known, Decided: p.decided}
	p.begin(preparing, e, func(int) *Request { return r })
}

// ask asks what the last value is. One seat sends it where the proposer knows none, for the others their ballots will do.
func (p *Proposer) ask(now distrib.Timestamp, e *Effects) {
	p.ballot = Ballot{p.group.Epoch, p.tick(now), p.node, p.run}
	digest := p.question(true)
	sender := max(0, slices.IndexFunc(p.group.Seats, func(s ring.Seat) bool { return s.Node == p.node }))
	p.begin(asking, e, func(i int) *Request {
		if i == sender && p.known.Zero() {
			return p.question(false)
		}
		return digest
	})
}

func (p *Proposer) question(digest bool) *Request {
	return &Request{Kind: Ask, Ballot: p.ballot, Have: p.known, Digest: digest, Decided: p.decided}
}

// fold carries out the round on the last value, to be proposed at a ballot.
func (p *Proposer) fold(at Ballot, now distrib.Timestamp) (next Value, results []Result, changed bool) {
	p.round = slices.DeleteFunc(slices.Clone(p.round), func(w waiting) bool { return w.gone })
	var ops []Operation
	for _, w := range p.round {
		ops = append(ops, w.Operation)
	}
	strays := Strays(&p.base, p.strays)
	p.absorbed = len(strays)
	time := max(at.Time, now)
	next, results, changed = Apply(Absorb(p.base, time, strays), time, ops)
	return next, results, changed || len(strays) > 0
}

// propose asks to take a value at a ballot that a quorum has promised.
func (p *Proposer) propose(at Ballot, next Value, results []Result, e *Effects) {
	p.ballot, p.proposed, p.results, p.strays = at, next, results, nil
	for i := range p.round {
		if w := &p.round[i]; results[i].changed && w.sent.Zero() {
			w.sent = at
		}
	}
	p.last = max(p.last, at.Next().Time)
	r := &Request{Kind: Accept, Ballot: at, Next: at.Next(), Value: next, Decided: p.decided}
	p.begin(accepting, e, func(int) *Request { return r })
}

// Answer takes what a node said.
func (p *Proposer) Answer(now distrib.Timestamp, node uint64, reply *Reply) (e Effects) {
	state := agreed
	if !reply.OK {
		state = denied
	}
	p.hear(now, node, reply.Kind, reply.Ballot, answer{state, *reply}, &e)
	return e
}

// Lost takes that the answer of a node to a request is not waited for any more. sent is false where the request cannot have
// reached it.
func (p *Proposer) Lost(now distrib.Timestamp, node uint64, r *Request, sent bool) (e Effects) {
	state := missing
	if sent {
		state = lost
	}
	p.hear(now, node, r.Kind, r.Ballot, answer{state: state}, &e)
	return e
}

func (p *Proposer) hear(now distrib.Timestamp, node uint64, kind RequestKind, ballot Ballot, a answer, e *Effects) {
	i := slices.IndexFunc(p.group.Seats, func(s ring.Seat) bool { return s.Node == node })
	if i < 0 || !p.phase.awaits(kind) || ballot != p.ballot || p.heard[i].state != awaited {
		return // of a round that is over
	}
	p.heard = slices.Clone(p.heard)
	p.heard[i] = a
	switch a.state {
	case denied:
		if p.met.Compare(a.reply.Promised) < 0 {
			p.met = a.reply.Promised
		}
		p.last = max(p.last, p.met.Time)
		if epoch := max(a.reply.Fence, a.reply.Promised.Epoch); epoch > p.group.Epoch {
			e.Behind = epoch
		}
	case agreed:
		p.last = max(p.last, a.reply.Accepted.Time)
		if !a.reply.Accepted.Zero() && len(a.reply.Data) > 0 {
			p.strays = vclock.Merge(p.strays, a.reply.Data)
		}
	}
	p.advance(now, e)
}

// have reports whether the seats in any of some states are a quorum.
func (p *Proposer) have(states ...answerState) bool {
	return p.group.Quorum(func(i int) bool { return slices.Contains(states, p.heard[i].state) })
}

// advance ends the round if it can be.
func (p *Proposer) advance(now distrib.Timestamp, e *Effects) {
	switch {
	case p.have(agreed) || p.phase == asking && bugs.On(bugs.OneIsBelieved):
		switch p.phase {
		case asking:
			p.asked(now, e)
		case preparing:
			p.prepared(now, e)
		case accepting:
			p.accepted(now, e)
		}
	case p.have(agreed, awaited):
	case p.have(agreed, denied):
		p.lose(e)
	case p.have(agreed, denied, awaited):
	case p.phase == accepting && p.unheard():
	default:
		p.fail(now, e)
	}
}

// unheard reports whether no owner is known to have taken the proposal, or lost, and one may still say so: if all do, nothing happened.
func (p *Proposer) unheard() bool {
	is := func(states ...answerState) bool {
		return slices.ContainsFunc(p.heard, func(a answer) bool { return slices.Contains(states, a.state) })
	}
	return is(awaited) && !is(agreed, lost)
}

// highest is the highest ballot of those who agreed, and whether the value is known to be decided: held by a quorum of
// them. open says that this may show yet.
func (p *Proposer) highest() (b Ballot, held, open bool) {
	first := true
	for _, a := range p.heard {
		if a.state == agreed && (first || a.reply.Accepted.Compare(b) > 0 && !bugs.On(bugs.FirstIsTaken)) {
			b, first = a.reply.Accepted, false
		}
	}
	holds := func(i int) bool { return p.heard[i].state == agreed && p.heard[i].reply.Accepted == b }
	held = p.group.Quorum(holds)
	open = p.group.Quorum(func(i int) bool { return holds(i) || p.heard[i].state == awaited })
	return b, held, open
}

// learn takes the value of the ballot b as the base if it is known or came with an answer.
func (p *Proposer) learn(b Ballot) bool {
	if b == p.known && !b.Zero() {
		return true
	}
	for _, a := range p.heard {
		if a.state == agreed && a.reply.Accepted == b && !a.reply.Omitted {
			p.known, p.base = b, a.reply.Value
			return true
		}
	}
	return false
}

// data is what those who agreed hold of a key of which nothing was accepted.
func (p *Proposer) data() (list []distrib.Record) {
	for _, a := range p.heard {
		if a.state == agreed && a.reply.Accepted.Zero() && len(a.reply.Data) > 0 {
			list = append(list, a.reply.Data)
		}
	}
	return list
}

// asked ends the question for the last value: it is answered from, if a quorum holds it and nothing changes. Else a round begins.
func (p *Proposer) asked(now distrib.Timestamp, e *Effects) {
	b, held, open := p.highest()
	held = held || bugs.On(bugs.OneIsBelieved)
	if !held && open {
		return
	}
	p.ready = p.ready && b == p.known
	if !held || b.Zero() && len(p.data()) > 0 {
		p.prepare(now, e)
		return
	}
	switch {
	case b.Zero() && p.ready: // base has its birth
	case b.Zero():
		p.known, p.base = Ballot{}, Value{}
	case !p.learn(b):
		p.fetch(b, e)
		return
	default:
		p.decided = b
	}
	next, results, changed := p.fold(p.promised, now)
	switch {
	case !changed:
		p.settle(now, results, e)
	case p.ready:
		p.propose(p.promised, next, results, e)
	default:
		p.prepare(now, e)
	}
}

// fetch asks a holder of the last value for it.
func (p *Proposer) fetch(b Ballot, e *Effects) {
	for i, a := range p.heard {
		if a.state == agreed && a.reply.Accepted == b {
			p.heard[i] = answer{}
			e.Sends = append(e.Sends, Send{p.group.Seats[i].Node, p.question(false)})
			return
		}
	}
}

// prepared goes on with a promised ballot: from the last value that was or may have been decided, or from what the replicas hold
// where there is none.
func (p *Proposer) prepared(now distrib.Timestamp, e *Effects) {
	b, held, _ := p.highest()
	if b.Zero() {
		data := p.data()
		p.known, p.base = b, Promote(p.ballot, data...)
		held = held && len(data) == 0
	} else {
		p.learn(b)
	}
	open := p.judge(held, e)
	next, results, changed := p.fold(p.ballot, now)
	if changed || open || !held && !bugs.On(bugs.NoIdentityRound) {
		p.propose(p.ballot, next, results, e)
		return
	}
	p.ready, p.promised = true, p.ballot
	if !b.Zero() {
		p.decided = b
	}
	p.settle(now, results, e)
}

// judge finds out what became of earlier proposals of the round's operations. Those of which base knows nothing cannot be decided any
// more once a later value is: held says that base is. open says that there are others, which end with the decision of this round.
func (p *Proposer) judge(held bool, e *Effects) (open bool) {
	p.round = slices.Clone(p.round)
	for i := range p.round {
		switch w := &p.round[i]; {
		case w.gone || w.sent.Zero() || p.base.has(w.ID):
		case p.base.Forgotten >= w.sent.Time:
			p.giveUp(w, e)
		case held && p.known.Compare(w.sent) > 0:
			w.sent = Ballot{}
		default:
			open = true
		}
	}
	return open
}

// accepted takes that the proposed value is decided.
func (p *Proposer) accepted(now distrib.Timestamp, e *Effects) {
	p.known, p.base, p.decided = p.ballot, p.proposed, p.ballot
	p.promised = p.ballot.Next()
	p.ready = p.group.Quorum(func(i int) bool {
		return p.heard[i].state == agreed && p.heard[i].reply.Promised == p.promised
	})
	e.Decided = p.ballot
	p.settle(now, p.results, e)
}
