package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cambiumdb/cambium/distrib"
)

// operation is one that is under way: the request, encoded once, and its tries. The goroutine of the caller carries
// it out; what it uses is used again by others.
type operation struct {
	client       *Client
	name         string
	key          []byte
	field        protowire.Number // of the request
	want         protowire.Number // of the answer
	body         []byte
	retry        int // how many bytes of body, its first ones, say that an earlier try may have been stored
	op           distrib.OpID
	read         bool // nothing happens, whatever becomes of it
	linearizable bool

	course     course
	candidates [maxCandidates]*node
	tries      [maxTries]try
	used       int
	answers    chan answer
	timer      *time.Timer
	deadline   time.Duration // by Client.now
	patience   time.Duration // when the last try has waited long enough; 0: never
	look       time.Duration // when to look whether its node is silent, patience at the latest
	causes     []cause       // what went wrong, for the error: the last of each node
	said       *Error        // what a node said: the last, or the last that was UNKNOWN
}

// cause is why an operation had no good answer of a node.
type cause struct {
	node *node
	err  error
}

const (
	maxCandidates = 8
	// keptBody is the largest body whose room is used again. Larger ones are sent without being copied.
	keptBody = aloneBytes
	// headStart is how much earlier than the client a node gives up, a tenth at most: so what it knows arrives in time.
	headStart = 20 * time.Millisecond
)

var operations = sync.Pool{New: func() any {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return &operation{answers: make(chan answer, maxTries), timer: t}
}}

// newOperation returns an operation with no body yet. free it when it is done.
func (c *Client) newOperation(name string, key []byte, field, want protowire.Number) *operation {
	o := operations.Get().(*operation)
	o.client, o.name, o.key, o.field, o.want = c, name, key, field, want
	return o
}

// begin makes the first try.
func (o *operation) begin(ctx context.Context) step {
	c := o.client
	c.budget.operation()
	now := c.now()
	o.deadline = now + c.opts.Timeout
	if d, ok := ctx.Deadline(); ok {
		o.deadline = min(o.deadline, now+time.Until(d))
	}
	n := c.view.Load().candidates(c, o.key, &o.candidates)
	o.course = course{candidates: n, left: maxTries, extra: c.budget.take}
	if err := ctx.Err(); err != nil {
		o.course.left = 0
	}
	return o.sending(o.course.start())
}

// mayBeRetried begins the body with the field that says that an earlier try may have been stored. It is sent where that
// is so, or always.
func (o *operation) mayBeRetried(field protowire.Number, always bool) {
	if o.body = appendUint(o.body, field, 1); !always {
		o.retry = len(o.body)
	}
}

// request is the body as it is sent now, and whether it says that an earlier try may have been stored.
func (o *operation) request() (body []byte, retried bool) {
	if o.course.outcome() == Unknown || o.retry == 0 {
		return o.body, true
	}
	return o.body[o.retry:], false
}

// sending carries out steps that send, up to one that does something else.
func (o *operation) sending(s step) step {
	for s.do == send {
		n := o.candidates[s.to]
		t := &o.tries[o.used]
		o.used++
		left := o.deadline - o.client.now()
		left -= min(left/10, headStart)
		t.frame = frame{field: o.field, timeout: uint64(max(left.Milliseconds(), 1))}
		t.body, t.retried = o.request()
		t.answers = o.answers
		if err := n.submit(t, o.course.second); err != nil {
			t.session = nil
			o.note(n, err)
			s = o.course.unsent(errors.Is(err, errFull))
			continue
		}
		s = o.course.sent()
		o.patience = t.begun + n.patience.wait(len(o.body))
		o.look = min(o.patience, t.begun+n.quiet.wait(len(o.body)))
	}
	return s
}

// finish makes the further tries until one has a good answer, of which it returns the body, or nothing is left to do.
func (o *operation) finish(ctx context.Context, s step) ([]byte, error) {
	c := o.client
	rest := time.Duration(0) // when a pause ends
	if s.do == pause {
		rest = c.now() + s.after
	}
	for {
		switch s.do {
		case over:
			return nil, o.failure(ctx.Err())
		case pause, wait:
		}
		until := o.deadline
		if s.do == pause {
			until = min(until, rest)
		} else if o.patience != 0 {
			until = min(until, o.look)
		}
		o.timer.Reset(until - c.now())
		select {
		case a := <-o.answers:
			o.timer.Stop()
			next := o.heard(a)
			if next.do == won {
				return a.body, nil
			}
			if s.do == pause && next.do == wait {
				continue // the pause goes on
			}
			s = o.sending(next)
		case <-o.timer.C:
			switch now := c.now(); {
			case len(o.answers) > 0: // it came first, and was not looked at for other work
			case now >= o.deadline:
				return nil, o.failure(context.DeadlineExceeded)
			case s.do == pause && now >= rest:
				s = o.sending(o.course.rested())
			case s.do == wait && o.patience != 0 && now >= o.look:
				s = o.sending(o.impatient(now))
			}
		case <-ctx.Done():
			o.timer.Stop()
			return nil, o.failure(ctx.Err())
		case <-c.ctx.Done():
			o.timer.Stop()
			return nil, o.failure(errClosed)
		}
		if s.do == pause {
			rest = c.now() + s.after + rand.N(s.after/2+1)
		}
	}
}

// heard takes an answer.
func (o *operation) heard(a answer) step {
	n := a.try.node
	if a.err != nil {
		o.note(n, a.err)
		if a.taken {
			return o.course.lost()
		}
		return o.course.withdrawn()
	}
	n.patience.record(a.at - a.try.begun - time.Duration(len(o.body)+len(a.body))*perByte)
	switch a.field {
	case o.want:
		n.trust()
		if o.want == responseSwap && !swapped(a.body) && !o.decides(a.try) {
			o.note(n, errNotThere)
			return o.course.answered(failed, 0)
		}
		return o.course.answered(good, 0)
	case responseFailure:
		if e := o.decoder().failure(o.key, a.body); e != nil {
			v := o.judge(e, a.try)
			if o.said == nil || o.said.Outcome == Failed || e.Outcome == Unknown || v == settled {
				o.said = e
			}
			o.note(n, errors.New(e.Message))
			return o.course.answered(v, max(e.RetryAfter, 10*time.Millisecond))
		}
	}
	o.note(n, errGarbage)
	return o.course.answered(unknown, 0)
}

// errNotThere is why a swap that a try has not made is not known to be lost.
var errNotThere = errors.New("what is there was not as expected, but another try may have found it so")

// decides reports whether a try that has found something else than it expected speaks for all others: those that it knows of
// are not done any more.
func (o *operation) decides(t *try) bool { return t.retried || !o.course.others() }

// judge says what a failure of a try means for the operation.
func (o *operation) judge(e *Error, t *try) verdict {
	switch {
	case e.Reason == reasonNotHappened, e.Reason == reasonMismatch && o.decides(t):
		return settled
	case e.Reason == reasonOvertaken:
		return forgotten
	case e.Outcome == Unknown && !o.read:
		return unknown
	}
	switch e.Reason {
	case reasonInvalid, reasonTooLarge, reasonTooManySiblings, reasonUnimplemented:
		return refused
	case reasonOverloaded:
		return overloaded
	}
	return failed
}

// late is how late a timer may fire. Beyond, this process did not run, and answers may be there that were not read.
const late = 5 * time.Millisecond

// impatient is called when the last try has waited long enough, or its node may have been silent for too long.
func (o *operation) impatient(now time.Duration) step {
	t := &o.tries[o.used-1]
	if t.session == nil || t.answeredOrBroken() {
		o.patience = 0
		return step{do: wait}
	}
	if now > o.look+late {
		o.look = now + late
		return step{do: wait}
	}
	n := t.node
	silentAt := max(time.Duration(n.heard.Load()), t.begun) + n.quiet.wait(len(o.body))
	if now < o.patience && now < silentAt {
		o.look = min(o.patience, silentAt)
		return step{do: wait}
	}
	if t.waitsForRoom() && (now < silentAt || !o.course.goesOn()) {
		o.patience = now + n.patience.wait(len(o.body))
		o.look = min(o.patience, silentAt)
		return step{do: wait}
	}
	free := now >= o.patience && n.silent(t.begun) && !o.client.manySuspects()
	n.doubt()
	if !t.withdraw(true) {
		o.patience = 0
		o.note(n, errConnecting)
		return o.course.withdrawn()
	}
	next := o.course.impatient(free)
	if next.do == wait && now < o.patience { // the budget is used up: again when it is free
		o.look = o.patience
		return next
	}
	if next.do == wait {
		o.patience = 0
	}
	return next
}

// note remembers what went wrong at a node.
func (o *operation) note(n *node, err error) {
	for i := range o.causes {
		if o.causes[i].node == n {
			o.causes[i].err = err
			return
		}
	}
	o.causes = append(o.causes, cause{n, err})
}

// failure makes the error of an operation that has ended without a good answer; ended is why, nil: since there is
// nothing more to try.
func (o *operation) failure(ended error) *Error {
	e := &Error{Reason: reasonUnavailable, Outcome: o.course.outcome()}
	if o.read {
		e.Outcome = Failed
	}
	if o.said != nil {
		e.Reason, e.Replicas, e.Try, e.RetryAfter, e.Current = o.said.Reason, o.said.Replicas, o.said.Try, o.said.RetryAfter, o.said.Current
	}
	e.Op, e.Key, e.OpID, e.Cause, e.Linearizable = o.name, bytes.Clone(o.key), o.op, ended, o.linearizable
	switch {
	case ended != nil:
		e.Reason = reasonOf(ended)
	case o.said != nil && (o.said.Outcome == e.Outcome || o.read): // it has said all
		e.Message = o.said.Message
		return e
	}
	e.Message = fmt.Sprintf("%s %q: %s; outcome %s", e.Op, e.Key, o.explain(ended), e.Outcome)
	if e.Outcome == Unknown && e.Try == "" {
		e.Try = fmt.Sprintf("resolve with op id %x, or write again with the same one", e.OpID[:])
	}
	return e
}

// explain says what became of all tries.
func (o *operation) explain(ended error) string {
	for i := range o.tries[:o.used] {
		if t := &o.tries[i]; t.session != nil && !t.answeredOrBroken() {
			o.note(t.node, fmt.Errorf("no answer for %s", (o.client.now()-t.begun).Round(time.Millisecond)))
		}
	}
	var all []string
	if ended != nil {
		all = append(all, ended.Error())
	}
	for _, c := range o.causes {
		all = append(all, c.node.String()+": "+c.err.Error())
	}
	if len(all) == 0 {
		return "there is no node to ask"
	}
	return strings.Join(all, "; ")
}

// free takes all tries back and lets others use the operation.
func (o *operation) free() {
	for i := range o.tries[:o.used] {
		if t := &o.tries[i]; t.session != nil && !t.answeredOrBroken() {
			t.withdraw(false)
		}
	}
	for len(o.answers) > 0 {
		<-o.answers
	}
	clear(o.causes)
	body := o.body[:0]
	if cap(body) > keptBody {
		body = nil
	}
	*o = operation{answers: o.answers, timer: o.timer, causes: o.causes[:0], body: body}
	operations.Put(o)
}
