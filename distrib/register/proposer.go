package register

import (
	"slices"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/internal/bugs"
)

// MaxFold is how many waiting operations one round carries out.
const MaxFold = 256

// Send is a request to be made now, to the owner of that seat.
type Send struct {
	Node    uint64
	Request *Request
}

// Beaten says that another proposer is at work on the key. The caller waits, the longer and the more by chance the
// higher Attempt is, and calls Retry; or it takes the operations back with Withdraw and hands them to By.Node.
type Beaten struct {
	Attempt int
	By      Ballot // the highest that was met
}

// Effects are what a step asks of the caller.
type Effects struct {
	Sends   []Send
	Results []Result
	// Decided is the ballot of a value that was decided now; zero: none. The next Accept tells the acceptors; where none
	// follows soon, the caller tells them: Decision.
	Decided Ballot
	Beaten  *Beaten // nil: no
	// Behind is an epoch above the proposer's that an acceptor has: the caller looks for the new topology and calls
	// Move, then Retry. Zero: no.
	Behind uint64
}

// phase is what a proposer is at.
type phase uint8

const (
	idle      phase = iota
	asking          // what is the last value, and is it decided?
	preparing       // a ballot is to be promised
	accepting       // a value is to be taken
	beaten          // Retry is awaited
)

// awaits reports whether answers to a request of that kind are waited for.
func (p phase) awaits(kind RequestKind) bool {
	return p == asking && kind == Ask || p == preparing && kind == Prepare || p == accepting && kind == Accept
}

// answer is what became of a request to a seat.
type answer struct {
	state answerState
	reply Reply
}

type answerState uint8

const (
	awaited answerState = iota
	agreed
	denied  // it answered, and did nothing
	lost    // no answer: it may have done it, or may still
	missing // there was no way to it: it did nothing
)

// waiting is an operation that was not answered yet.
type waiting struct {
	Operation
	// sent is the ballot of the first proposal that it has changed and that may be decided yet, by whoever finds it; zero: none.
	sent Ballot
	gone bool // it was answered: it must not be proposed again
	late bool // it came while a change was under way
	// strays is how many have become siblings since it came, of a Get that has met more.
	strays int
}

// Proposer carries out the operations of one node on one key. It steps from event to event as a value does: no
// clock, no goroutine, no I/O. now is of a Clock of the node, given once.
type Proposer struct {
	node, run uint64
	group     Group
	last      distrib.Timestamp // the highest time used or met

	phase    phase
	queue    []waiting // for the next round
	round    []waiting // in this one
	heard    []answer  // in this round, by seat
	ballot   Ballot    // of this round
	attempts int       // rounds lost in a row
	met      Ballot    // the highest ballot that refused this round

	// ready: a quorum has promised promised, and base, of the ballot known, is the last value below it and decided.
	ready    bool
	promised Ballot
	known    Ballot // of base; zero: base is of no ballot
	base     Value
	decided  Ballot         // the last that is known to be
	strays   distrib.Record // met, and not part of base

	proposed Value    // while accepting
	results  []Result // of round, once proposed is decided
	absorbed int      // how many strays are part of proposed

	losers []loser // in the order in which they lost
	turn   int     // how many of them were told at once the last time
}

// NewProposer returns the proposer of a node, in that run, for a key that is held by group. above is the time that an earlier
// proposer for the key in this run had reached, or any later one.
func NewProposer(node, run uint64, group Group, above distrib.Timestamp) *Proposer {
	return &Proposer{node: node, run: run, group: group, last: above}
}

// Last is the highest time that the proposer used or met.
func (p *Proposer) Last() distrib.Timestamp { return p.last }

// Idle reports whether nothing waits.
func (p *Proposer) Idle() bool { return p.phase == idle && len(p.queue) == 0 && len(p.losers) == 0 }

// Awaits reports whether an answer of a node to a request is waited for.
func (p *Proposer) Awaits(node uint64, r *Request) bool {
	i := slices.IndexFunc(p.group.Seats, func(s ring.Seat) bool { return s.Node == node })
	return i >= 0 && p.phase.awaits(r.Kind) && r.Ballot == p.ballot && p.heard[i].state == awaited
}

// Size is about how many bytes the proposer keeps when it is idle.
func (p *Proposer) Size() int { return p.base.Size() }

// Submit takes operations.
func (p *Proposer) Submit(now distrib.Timestamp, ops ...Operation) (e Effects) {
	for _, o := range ops {
		p.queue = append(slices.Clip(p.queue), waiting{Operation: o, late: p.phase == accepting})
	}
	p.start(now, &e)
	return e
}

// Retry goes on after Beaten.
func (p *Proposer) Retry(now distrib.Timestamp) (e Effects) {
	if p.phase == beaten {
		p.phase = idle
		p.start(now, &e)
	}
	return e
}

// Move takes a newer view of the key. What is under way begins anew.
func (p *Proposer) Move(now distrib.Timestamp, group Group) (e Effects) {
	if group.Epoch <= p.group.Epoch {
		return e
	}
	p.group, p.ready = group, false
	p.tellAll(&e)
	if p.phase != beaten {
		p.putBack()
		p.phase = idle
		p.start(now, &e)
	}
	return e
}

// Expire answers an operation whose time is over.
func (p *Proposer) Expire(op distrib.OpID) (e Effects) {
	for _, list := range []*[]waiting{&p.round, &p.queue} {
		*list = slices.Clone(*list)
		for i := range *list {
			if w := &(*list)[i]; w.ID == op && !w.gone {
				p.giveUp(w, &e)
			}
		}
	}
	p.queue = slices.DeleteFunc(p.queue, func(w waiting) bool { return w.gone })
	if i := slices.IndexFunc(p.losers, func(l loser) bool { return l.ID == op }); i >= 0 {
		e.Results = append(e.Results, p.losers[i].result)
		p.losers = slices.Delete(slices.Clone(p.losers), i, i+1)
	}
	p.rest()
	return e
}

// rest takes that Retry is not to be waited for where nothing is left to be tried.
func (p *Proposer) rest() {
	if p.phase == beaten && len(p.queue) == 0 {
		p.phase = idle
	}
}

// giveUp answers an operation that is not known to have been ordered.
func (p *Proposer) giveUp(w *waiting, e *Effects) {
	outcome := Failed
	if !w.sent.Zero() && !bugs.On(bugs.LostIsFailed) {
		outcome = Unknown
	}
	w.gone = true
	e.Results = append(e.Results, Result{Op: w.ID, Outcome: outcome})
}

// Withdraw takes back the operations that no acceptor can have heard of, to hand them to another node. Those are not
// answered.
func (p *Proposer) Withdraw() (ops []Operation) {
	if p.phase != beaten {
		return nil
	}
	var stay []waiting
	for _, w := range p.queue {
		if w.sent.Zero() {
			ops = append(ops, w.Operation)
		} else {
			stay = append(stay, w)
		}
	}
	p.queue = stay
	p.rest()
	return ops
}

// putBack returns what is left of the round to the queue.
func (p *Proposer) putBack() {
	left := slices.DeleteFunc(slices.Clone(p.round), func(w waiting) bool { return w.gone })
	p.queue, p.round, p.results, p.proposed = append(left, p.queue...), nil, nil, Value{}
}

// lose ends a round that another proposer has beaten.
func (p *Proposer) lose(e *Effects) {
	p.clear()
	p.putBack()
	p.tellAll(e)
	p.phase, p.ready = beaten, false
	if len(p.queue) == 0 { // all of it was answered meanwhile
		p.phase = idle
		return
	}
	p.attempts++
	e.Beaten = &Beaten{p.attempts, p.met}
}

// clear takes that no acceptor has taken the proposal or will, if each has said so. Of earlier proposals that says nothing.
func (p *Proposer) clear() {
	if p.phase != accepting || slices.ContainsFunc(p.heard, func(a answer) bool { return a.state != denied && a.state != missing }) {
		return
	}
	for i := range p.round {
		if p.round[i].sent == p.ballot {
			p.round[i].sent = Ballot{}
		}
	}
}

// fail ends a round for which too few nodes can be reached.
func (p *Proposer) fail(now distrib.Timestamp, e *Effects) {
	p.clear()
	for i := range p.round {
		if w := &p.round[i]; !w.gone {
			p.giveUp(w, e)
		}
	}
	p.tellAll(e)
	p.round, p.results, p.proposed = nil, nil, Value{}
	p.phase, p.ready = idle, false
	p.start(now, e)
}

// settle ends a round with its results.
func (p *Proposer) settle(now distrib.Timestamp, results []Result, e *Effects) {
	var again []waiting
	for i, w := range p.round {
		if w.gone {
			continue
		}
		r := results[i]
		w.strays += p.absorbed
		late := len(Strays(&Value{Record: r.Record, Changes: p.base.Changes}, p.strays))
		if late > 0 && w.Kind == Get { // they may have been acknowledged before it came
			again = append(again, w)
			continue
		}
		r.Strays = w.strays + late
		if r.Verdict == Mismatch && w.contends() {
			p.losers = append(slices.Clip(p.losers), loser{w.Operation, r})
			continue
		}
		e.Results = append(e.Results, r)
	}
	p.queue = append(again, p.queue...)
	p.round, p.results, p.proposed = nil, nil, Value{}
	p.phase, p.attempts = idle, 0
	p.turn = 1
	p.tell(now, p.turn, e)
	p.start(now, e)
}
