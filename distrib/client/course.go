package client

import "time"

// course says what an operation does next: it steps from event to event, and knows neither time nor nodes.
//
//	start -> send 0 -> ... -> won | over
//
// Candidates are tried in their order, in two rounds at most: the second comes after a pause, for those that were
// being connected to, or were overloaded; at once where some only had no room.
type course struct {
	candidates int
	left       int         // how many tries may still be made
	extra      func() bool // takes one from the budget of tries that add load

	next    int  // the candidate to be tried next
	second  bool // round
	full    bool // a candidate had no room for one more: in the second round it is waited for
	asked   bool // a try was sent
	pending int  // tries that were sent and may still be answered
	doubt   bool // of a try that was sent it is not known that nothing happened
	final   bool // no other node would answer better: no more tries
}

// maxTries bounds the tries of an operation, also those that could not be sent.
const maxTries = 12

// pauseBetween is before the second round: longer than a node waits after its first failed connection.
const pauseBetween = pauseLeast + 10*time.Millisecond

// step is what to do next.
type step struct {
	do    doing
	to    int           // send: the candidate
	after time.Duration // pause
}

type doing uint8

const (
	wait  doing = iota // for an answer, or the end of the time
	send               // to a candidate
	pause              // then call course.rested
	won                // with the answer that came last
	over               // there is nothing more to try or to wait for
)

// verdict is what an answer says of the operation.
type verdict uint8

const (
	good       verdict = iota
	failed             // nothing happened; another node may do better
	unknown            // it may have happened; another node may know
	overloaded         // nothing happened; later it may
	refused            // nothing happened, and no other node would do it
	settled            // nothing happened, and no other try will do it
	forgotten          // it may have happened, and no node will know
)

func (c *course) start() step { return c.another() }

// another goes on at the next candidate.
func (c *course) another() step {
	switch {
	case c.final || c.left == 0:
	case c.next < c.candidates:
		c.next++
		c.left--
		return step{do: send, to: c.next - 1}
	case c.pending == 0 && !c.second && (!c.asked || c.extra()):
		c.second, c.next = true, 0
		if c.full {
			return c.another()
		}
		return step{do: pause, after: pauseBetween}
	}
	if c.pending > 0 {
		return step{do: wait}
	}
	return step{do: over}
}

// goesOn reports whether there is another candidate in this round.
func (c *course) goesOn() bool { return c.next < c.candidates && c.left > 0 && !c.final }

// rested is called after a pause.
func (c *course) rested() step { return c.another() }

// sent is called when the candidate was given the request.
func (c *course) sent() step {
	c.asked = true
	c.pending++
	return step{do: wait}
}

// unsent is called when the candidate could not be given the request; full: since it has as many as it may have.
func (c *course) unsent(full bool) step {
	c.full = c.full || full
	return c.another()
}

// withdrawn is called when a request was taken back before it reached the node, or the stream broke before.
func (c *course) withdrawn() step {
	c.pending--
	return c.another()
}

// lost is called when the stream broke after the request was given to it.
func (c *course) lost() step {
	c.pending--
	c.doubt = true
	return c.another()
}

// impatient is called when the last try has waited for longer than the patience with its node. free: another one adds
// no load.
func (c *course) impatient(free bool) step {
	if c.goesOn() && (free || c.extra()) {
		return c.another()
	}
	return step{do: wait}
}

// answered is called with each answer.
func (c *course) answered(v verdict, retryAfter time.Duration) step {
	c.pending--
	switch v {
	case good:
		return step{do: won}
	case refused:
		c.final = true
	case settled:
		c.final, c.doubt, c.pending = true, false, 0
	case forgotten:
		c.final, c.doubt = true, true
	case unknown:
		c.doubt = true
	case overloaded:
		if c.final || c.left == 0 || !c.extra() {
			c.final = true
			break
		}
		if c.next == c.candidates {
			c.next = 0
		}
		return step{do: pause, after: retryAfter}
	}
	return c.another()
}

// others reports whether a try beside the one that is being answered may have been carried out, or may still.
func (c *course) others() bool { return c.doubt || c.pending > 1 }

// outcome is what is known when it has ended without a good answer.
func (c *course) outcome() Outcome {
	if c.doubt || c.pending > 0 {
		return Unknown
	}
	return Failed
}
