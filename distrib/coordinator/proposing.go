package coordinator

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/ring"
)

const (
	// backoffMax bounds how long a proposer waits that was beaten.
	backoffMax = 100 * time.Millisecond
	// refusedAgain is when a node is asked again that has refused a request, or whose answer is lost.
	refusedAgain = 20 * time.Millisecond
	// refusalsMax is how often in a row a node may refuse a request, where nothing can be decided without it.
	refusalsMax = 8
	// turnAfter is how long the next who has lost a compare-and-swap waits for one who was told before to come back: more than a
	// client needs for that, mostly.
	turnAfter = 2 * time.Millisecond
)

// proposing is the proposer of a key, and what is under way for it. No goroutine belongs to it: who brings an operation or an
// answer, and the timer, step it on and send what is to be sent next.
type proposing struct {
	c     *Coordinator
	key   []byte
	token ring.Token

	// Guarded by proposers.mu.
	pins  int           // while there are some it is not dropped
	place *list.Element // among the idle ones; nil: it is not idle
	bytes int64
	last  distrib.Timestamp

	mu      sync.Mutex // guards what follows; it may be taken before that of an operating, and not behind it
	p       *register.Proposer
	group   register.Group
	ops     map[distrib.OpID]*operating // that p has
	later   []*operating                // whose ids p has already
	calls   []stepCall                  // of the round, by seat
	active  bool                        // it pins itself: something is under way
	decided register.Ballot             // of which the owners were not told; zero: none
	told    register.Ballot             // of which the requests of the round are the first to tell
	learns  bool                        // they will be
	by      register.Ballot             // who has beaten p
	retry   time.Time                   // when to go on; zero: it is not beaten
	turn    time.Time                   // when the next losers are told; zero: there are none, or something is under way
	timer   Timer
	wake    time.Time // when timer fires; zero: it does not
}

// stepCall is a request to an owner.
type stepCall struct {
	register.Send
	state  State
	err    error // of the last try
	open   bool
	held   bool // it is not asked yet: others may be enough
	began  time.Time
	due    time.Time // when it is asked, or asked again
	trying int       // tries without an answer
	sent   bool      // a try may have reached it
	denied bool      // it has promised a higher ballot
	// refusals is how many tries it has refused in a row.
	refusals int
}

// work is what is to be done when the lock is released.
type work struct {
	sends  []register.Send
	ends   []ending
	hands  []*operating // to be handed to node
	node   uint64
	silent []uint64 // nodes that have not answered in time
}

// ending is what a proposer says of an operation.
type ending struct {
	*operating
	result   register.Result
	owners   []ring.Seat
	replicas []ReplicaState // where it is not OK
}

// submit takes an operation, of a view that has group.
func (e *proposing) submit(o *operating, group *register.Group) {
	var w work
	e.mu.Lock()
	now := e.c.opts.Hybrid.Tick()
	e.move(&w, now, group)
	switch {
	case o.givenUp():
		w.ends = append(w.ends, ending{operating: o, result: register.Result{Outcome: register.Failed}, owners: e.group.Seats})
	case e.ops[o.op.ID] != nil:
		e.later = append(e.later, o)
	default:
		e.ops[o.op.ID] = o
		e.take(&w, now, e.p.Submit(now, o.op))
	}
	e.release(&w)
}

// move takes a newer view of the key.
func (e *proposing) move(w *work, now distrib.Timestamp, group *register.Group) {
	if group.Epoch > e.group.Epoch {
		e.group = register.Group{Epoch: group.Epoch, Seats: slices.Clone(group.Seats)}
		e.take(w, now, e.p.Move(now, e.group))
	}
}

// expire ends an operation that its caller has given up.
func (e *proposing) expire(o *operating) {
	var w work
	e.mu.Lock()
	if i := slices.Index(e.later, o); i >= 0 {
		e.later = slices.Delete(e.later, i, i+1)
		w.ends = append(w.ends, ending{operating: o, result: register.Result{Outcome: register.Failed}, owners: e.group.Seats})
	} else if e.ops[o.op.ID] == o {
		e.take(&w, e.c.opts.Hybrid.Tick(), e.p.Expire(o.op.ID))
	}
	e.release(&w)
}

// take notes what the proposer asks for.
func (e *proposing) take(w *work, now distrib.Timestamp, f register.Effects) {
	if !f.Decided.Zero() {
		e.decided = f.Decided
	}
	for _, r := range f.Results {
		o := e.ops[r.Op]
		if o == nil {
			continue
		}
		end := ending{operating: o, result: r, owners: e.group.Seats}
		if r.Outcome != register.OK {
			end.replicas = e.replicas()
		}
		w.ends = append(w.ends, end)
	}
	missing := e.sends(w, f.Sends)
	if b := f.Beaten; b != nil {
		e.by, e.retry = b.By, e.c.opts.Clock.Now().Add(e.backoff(b))
	}
	for _, r := range f.Results {
		e.leave(w, now, r.Op)
	}
	for _, s := range missing {
		e.take(w, now, e.p.Lost(now, s.Node, s.Request, false))
	}
}

// leave is that the proposer has an operation no more. Another of its id may begin.
func (e *proposing) leave(w *work, now distrib.Timestamp, id distrib.OpID) {
	delete(e.ops, id)
	if i := slices.IndexFunc(e.later, func(o *operating) bool { return o.op.ID == id }); i >= 0 {
		o := e.later[i]
		e.later = slices.Delete(e.later, i, i+1)
		e.ops[id] = o
		e.take(w, now, e.p.Submit(now, o.op))
	}
}

// sends notes requests. Nodes that are thought to be down are left out, where there are enough without: missing are those.
func (e *proposing) sends(w *work, list []register.Send) (missing []register.Send) {
	if len(list) == 0 {
		return nil
	}
	all := len(list) == len(e.group.Seats)
	if all {
		e.calls = slices.Grow(e.calls[:0], len(list))[:len(list)]
		clear(e.calls)
		e.told = register.Ballot{}
		if list[0].Request.Decided == e.decided {
			e.told, e.decided = e.decided, e.told
		}
	}
	down := e.c.down(e.group.Seats)
	enough := down == 0 || e.group.Quorum(func(i int) bool { return down&(1<<i) == 0 })
	var spare uint64
	var hedge time.Duration
	if all && list[0].Request.Kind == register.Ask && e.told.Zero() {
		spare, hedge = e.spare(down)
	}
	now := e.c.opts.Clock.Now()
	for _, s := range list {
		i := e.seat(s.Node)
		if enough && down&(1<<i) != 0 {
			e.calls[i] = stepCall{Send: s, state: Down, err: errDown}
			missing = append(missing, s)
			e.missed(s)
			continue
		}
		if spare&(1<<i) != 0 {
			e.calls[i] = stepCall{Send: s, state: NoAnswer, open: true, held: true, began: now, due: now.Add(hedge)}
			continue
		}
		e.calls[i] = stepCall{Send: s, state: NoAnswer, open: true, began: now, due: now.Add(e.resend(s)), trying: 1}
		w.sends = append(w.sends, s)
	}
	return missing
}

// spare has a bit for each seat that need not be asked a question at first: all but a quorum of those that are not down, from
// this node on in the order of the seats. hedge is how long those asked mostly take.
func (e *proposing) spare(down uint64) (bits uint64, hedge time.Duration) {
	n := len(e.group.Seats)
	first, hedge := max(0, e.seat(e.c.opts.Self)), hedgeMin
	var asked uint64
	for k := range n {
		i := (first + k) % n
		switch {
		case down&(1<<i) != 0:
		case e.group.Quorum(func(i int) bool { return asked&(1<<i) != 0 }):
			bits |= 1 << i
		default:
			asked |= 1 << i
			hedge = max(hedge, e.c.latencies.of(e.group.Seats[i].Node).read95.get())
		}
	}
	return bits, hedge
}

// urge asks those that were held back, where all others have answered and that was not enough. It forgets them where it was.
func (e *proposing) urge(w *work) {
	if !slices.ContainsFunc(e.calls, func(c stepCall) bool { return c.held }) {
		return
	}
	waits := slices.ContainsFunc(e.calls, func(c stepCall) bool { return c.open && !c.held })
	for i := range e.calls {
		switch call := &e.calls[i]; {
		case !call.held:
		case !e.p.Awaits(call.Node, call.Request):
			call.open, call.held = false, false
		case !waits:
			e.ask(w, call)
		}
	}
}

// ask sends a request that is open, for the first time or again.
func (e *proposing) ask(w *work, call *stepCall) {
	call.held = false
	call.trying++
	call.due = e.c.opts.Clock.Now().Add(e.resend(call.Send))
	w.sends = append(w.sends, call.Send)
}

// down has a bit for each seat whose node is thought to be down.
func (c *Coordinator) down(seats []ring.Seat) (bits uint64) {
	for i, s := range seats {
		if c.liveness(s.Node) == distrib.Down {
			bits |= 1 << i
		}
	}
	return bits
}

func (e *proposing) seat(node uint64) int {
	return slices.IndexFunc(e.group.Seats, func(s ring.Seat) bool { return s.Node == node })
}

// resend is after what time a request is sent again that was not answered: it may be lost.
func (e *proposing) resend(s register.Send) time.Duration {
	limit := e.c.opts.Patience
	return max(limit/4, patience(e.c.latencies.of(s.Node).write99.get(), e.p.Size(), limit))
}

// backoff is how long to wait for who has beaten the proposer: about a round trip at first.
func (e *proposing) backoff(b *register.Beaten) time.Duration {
	by := b.By.Node
	if b.Attempt <= 2 && by != 0 && (by == e.c.opts.Self || e.c.liveness(by) == distrib.Down) {
		return 0 // nobody is at work there
	}
	trip := min(max(e.c.latencies.of(by).write99.get(), time.Millisecond), 25*time.Millisecond)
	most := min(trip<<min(b.Attempt, 7), backoffMax)
	return most/2 + e.c.proposers.chance(most/2)
}

// replicas are what became of the requests of the last round.
func (e *proposing) replicas() (list []ReplicaState) {
	for i := range e.calls {
		if c := &e.calls[i]; c.Request != nil {
			list = append(list, ReplicaState{Node: c.Node, State: c.state, Err: c.err})
		}
	}
	return list
}

// release sees to the timer and to what follows from being idle or not, releases e.mu, and does what is to be done.
func (e *proposing) release(w *work) {
	c := e.c
	e.urge(w)
	idle := e.p.Idle() && len(e.ops) == 0
	if idle {
		e.retry = time.Time{}
	}
	switch {
	case !e.p.Queued():
		e.turn = time.Time{}
	case e.turn.IsZero():
		e.turn = c.opts.Clock.Now().Add(turnAfter)
	}
	if idle && !e.decided.Zero() && !e.learns {
		e.learns = true
		c.learnSoon(e)
	}
	switch rests := idle && !e.learns && !e.asking(); {
	case rests && e.active:
		e.active = false
		c.proposers.rested(e)
		defer c.work.Done()
	case !rests && !e.active:
		e.active = true
		c.work.Add(1)
		c.proposers.pin(e)
	}
	e.arm()
	e.mu.Unlock()
	e.do(w)
}

// asking reports whether an answer is waited for. It may be one that nothing depends on: the timer sees to it, so it is under way.
func (e *proposing) asking() bool {
	return slices.ContainsFunc(e.calls, func(c stepCall) bool { return c.open })
}

// arm sets the timer to what comes next.
func (e *proposing) arm() {
	next := e.retry
	if next.IsZero() || !e.turn.IsZero() && e.turn.Before(next) {
		next = e.turn
	}
	for i := range e.calls {
		if c := &e.calls[i]; c.open && (next.IsZero() || c.due.Before(next)) {
			next = c.due
		}
	}
	clock := e.c.opts.Clock
	switch {
	case next.IsZero() && e.wake.IsZero():
	case next.IsZero():
		e.wake = next
		e.timer.Stop()
	case !e.wake.IsZero() && !next.Before(e.wake): // it wakes in time
	case e.timer == nil:
		e.wake, e.timer = next, clock.AfterFunc(next.Sub(clock.Now()), e.tick)
	default:
		e.wake = next
		e.timer.Reset(next.Sub(clock.Now()))
	}
}

// do sends requests, and tells of ends.
func (e *proposing) do(w *work) {
	c := e.c
	if len(w.sends) > 0 {
		e.send(w.sends)
	}
	if len(w.ends) > 0 {
		c.behindIt(func() {
			for i := range w.ends {
				w.ends[i].came(&w.ends[i])
			}
		})
	}
	for _, o := range w.hands {
		o.handOver(w.node)
	}
	c.silent(w.silent)
}

// send sends requests; one that goes to several nodes is encoded once.
func (e *proposing) send(list []register.Send) {
	c := e.c
	began := c.opts.Clock.Now()
	deadline := began.Add(c.opts.Patience)
	var body []byte
	var encoded *register.Request
	for _, s := range list {
		if s.Request != encoded {
			encoded, body = s.Request, register.AppendRequest(nil, s.Request)
		}
		c.work.Add(1)
		c.opts.Registers.StartStep(deadline, s.Node, e.key, body, func(reply []byte, err error) {
			defer c.work.Done()
			e.came(s, began, reply, err)
		})
	}
}

// came takes the answer of a node.
func (e *proposing) came(s register.Send, began time.Time, body []byte, err error) {
	c := e.c
	c.noteAnswer(s.Node, err)
	var reply register.Reply
	if err == nil {
		reply, err = register.DecodeReply(body)
	}
	behind := reply.Accepted.Compare(s.Request.Decided) < 0 // it could not learn
	var w work
	e.mu.Lock()
	if told := s.Request.Decided; err == nil && behind && told == e.told {
		e.decided, e.told = told, register.Ballot{}
	}
	if err != nil {
		e.failed(&w, s, err)
		e.release(&w)
		return
	}
	if l := c.latencies.of(s.Node); s.Request.Kind == register.Ask {
		l.sawRead(c.opts.Clock.Now().Sub(began))
	} else {
		l.sawWrite(c.opts.Clock.Now().Sub(began))
	}
	if call := e.call(s); call != nil {
		call.open, call.state, call.err = false, Acknowledged, nil
		if !reply.OK {
			call.denied = true
			call.state, call.err = Refused, fmt.Errorf("it has promised %v: %w", reply.Promised, distrib.ErrRefused)
		}
	}
	now := c.opts.Hybrid.Tick(reply.Promised.Time, reply.Accepted.Time)
	e.take(&w, now, e.p.Answer(now, s.Node, &reply))
	e.release(&w)
}

// noteAnswer notes what an answer says of a node.
func (c *Coordinator) noteAnswer(node uint64, err error) {
	if errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, distrib.ErrRefused) {
		c.silent([]uint64{node})
	}
	c.observe(node, err)
}

// call is that of a request, unless another was made since.
func (e *proposing) call(s register.Send) *stepCall {
	for i := range e.calls {
		if e.calls[i].Send == s {
			return &e.calls[i]
		}
	}
	return nil
}

// failed takes that a node has not answered a request. Where there is a way to it, it is asked again.
func (e *proposing) failed(w *work, s register.Send, err error) {
	call := e.call(s)
	if call == nil || !call.open {
		return
	}
	now := e.c.opts.Clock.Now()
	call.trying--
	call.err, call.state = err, NoAnswer
	switch {
	case errors.Is(err, distrib.ErrUnreachable):
		call.state = Refused
		e.lose(w, call)
		return
	case errors.Is(err, distrib.ErrRefused):
		call.state = Refused
		call.refusals++
	default:
		call.sent, call.refusals = true, 0
	}
	if now.Sub(call.began) >= e.c.opts.Patience || !e.p.Awaits(s.Node, s.Request) || call.refusals > 0 && !e.needed(call) {
		e.lose(w, call)
		return
	}
	call.due = now.Add(refusedAgain)
}

// missed notes that an owner did not get a value, or was not told that one is decided: its record may stay behind until it is
// compared.
func (e *proposing) missed(s register.Send) {
	if s.Request.Kind == register.Accept || !e.told.Zero() {
		e.c.unfinished(e.key)
	}
}

// needed reports whether a node that refuses is to be asked again: not where a quorum has answered without it, nor where there is
// none without those that have refused often enough.
func (e *proposing) needed(call *stepCall) bool {
	answered := func(c *stepCall) bool {
		return !c.open && (c.state == Acknowledged || c.denied)
	}
	if e.group.Quorum(func(i int) bool { return answered(&e.calls[i]) }) {
		return false
	}
	return call.refusals < refusalsMax || e.group.Quorum(func(i int) bool {
		c := &e.calls[i]
		return answered(c) || c.open && c.refusals < refusalsMax
	})
}

// lose ends the wait for an answer.
func (e *proposing) lose(w *work, call *stepCall) {
	call.open = false
	e.missed(call.Send)
	s, sent, now := call.Send, call.sent || call.trying > 0, e.c.opts.Hybrid.Tick()
	e.take(w, now, e.p.Lost(now, s.Node, s.Request, sent))
}

// tick is what the timer does.
func (e *proposing) tick() {
	var w work
	var lost []register.Send
	now := e.c.opts.Clock.Now()
	e.mu.Lock()
	e.wake = time.Time{}
	for i := range e.calls {
		call := &e.calls[i]
		switch {
		case !call.open || now.Before(call.due):
		case !e.p.Awaits(call.Node, call.Request):
			call.open = false
			e.missed(call.Send)
		case now.Sub(call.began) >= e.c.opts.Patience:
			lost = append(lost, call.Send)
		default:
			e.ask(&w, call)
		}
	}
	for _, s := range lost {
		if call := e.call(s); call != nil {
			w.silent = append(w.silent, s.Node)
			e.lose(&w, call)
		}
	}
	if !e.retry.IsZero() && !now.Before(e.retry) {
		e.goOn(&w)
	}
	if !e.turn.IsZero() && !now.Before(e.turn) {
		e.turn = time.Time{}
		at := e.c.opts.Hybrid.Tick()
		e.take(&w, at, e.p.Turn(at))
	}
	e.release(&w)
}

// goOn goes on after the proposer was beaten: it tries again, or leaves the operations to who has beaten it.
func (e *proposing) goOn(w *work) {
	e.retry = time.Time{}
	now := e.c.opts.Hybrid.Tick()
	group := e.c.groupOf(e.token)
	e.move(w, now, &group)
	var back []register.Operation
	if by := e.by.Node; e.yields(by) {
		w.node = by
		for _, op := range e.p.Withdraw() {
			o := e.ops[op.ID]
			if !o.mayHand() {
				back = append(back, op)
				continue
			}
			w.hands = append(w.hands, o)
			e.leave(w, now, op.ID)
		}
	}
	e.take(w, now, e.p.Retry(now))
	if len(back) > 0 {
		e.take(w, now, e.p.Submit(now, back...))
	}
}

// yields reports whether operations are left to a node: one that comes before this one among the owners.
func (e *proposing) yields(to uint64) bool {
	other, mine := e.seat(to), e.seat(e.c.opts.Self)
	if other < 0 || to == e.c.opts.Self || mine >= 0 && mine < other || e.c.liveness(to) == distrib.Down {
		return false
	}
	for _, o := range e.ops {
		if o.mayHand() {
			return true
		}
	}
	return false
}
