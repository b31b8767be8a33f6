package register

import (
	"slices"

	"github.com/cambiumdb/cambium/distrib"
)

// loser is a change whose condition does not hold, and which is not told so yet.
type loser struct {
	Operation
	result Result // when it lost
}

// contends reports whether who has lost is likely to try again at once with what is there now: of those who do, all but one would
// lose again.
func (o *Operation) contends() bool {
	return o.Kind == Put && (o.If == IfValue || o.If == IfSeen) && !o.Retried
}

// Queued reports whether some who have lost wait for their turn, or to hear that they have, and nothing is under way: then the caller
// calls Turn, a few milliseconds later.
func (p *Proposer) Queued() bool { return p.phase == idle && len(p.losers)+len(p.queue) > 0 }

// Turn tells the next who have lost, since those told before have not come back: twice as many each time.
func (p *Proposer) Turn(now distrib.Timestamp) (e Effects) {
	if p.Queued() {
		p.turn *= 2
		p.tell(now, p.turn, &e)
		p.queue = slices.Clone(p.queue)
		for i := range p.queue {
			p.queue[i].late = false
		}
		p.start(now, &e)
	}
	return e
}

// allLate reports whether all operations of the round, of which none changes anything, have lost to the change before. Who has made
// that is about to make the next: with it they are told, without a question of their own.
func (p *Proposer) allLate() bool {
	return !slices.ContainsFunc(p.round, func(w waiting) bool { return !w.late || !w.contends() })
}

// tell tells the first losers what is there now, which base is: that is decided, and was when they came or since. One whose condition
// holds by now is carried out.
func (p *Proposer) tell(now distrib.Timestamp, most int, e *Effects) {
	n := min(most, len(p.losers))
	for _, l := range p.losers[:n] {
		verdict := p.base.holds(&l.Operation, max(now, p.last))
		if verdict == Done {
			p.queue = append(p.queue[:len(p.queue):len(p.queue)], waiting{Operation: l.Operation, strays: l.result.Strays})
			continue
		}
		l.result.Verdict, l.result.Record = verdict, p.base.Record
		e.Results = append(e.Results, l.result)
	}
	p.losers = p.losers[n:]
}

// tellAll tells all losers what was there when they lost.
func (p *Proposer) tellAll(e *Effects) {
	for _, l := range p.losers {
		e.Results = append(e.Results, l.result)
	}
	p.losers = nil
}
