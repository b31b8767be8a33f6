package sim

import (
	"strconv"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/check"
	"github.com/cambiumdb/cambium/distrib/coordinator"
	"github.com/cambiumdb/cambium/distrib/register"
)

// use is what clients do with a key.
type use uint8

const (
	eventual use = iota
	linear       // all operations are linearizable
	mixed        // some are
	counting     // compare-and-swap increments, and reads
	uses
)

// linear begins an operation on a key that is for linearizable ones, or for both.
func (c *client) linear(key []byte, is use) {
	w := c.w
	n := w.rng.IntN(20)
	switch {
	case is == counting && n < 17:
		c.count(key)
	case is == mixed && n < 4:
		c.read(key, func(*seen) { c.next() })
	case is == mixed && n < 7:
		c.write(key, nil, n == 6)
	case is == mixed && n < 10:
		c.read(key, func(s *seen) {
			if s == nil {
				c.next()
				return
			}
			c.write(key, s, n == 9)
		})
	case n < 13 || is == counting:
		c.get(key, func(*seen) { c.next() })
	case n < 15:
		c.put(key, register.Operation{}, n == 14)
	case n == 15:
		c.put(key, register.Operation{If: register.IfAbsent}, false)
	default:
		c.swap(key, n < 18, w.chance(500))
	}
}

// swap changes what was read, now or some time ago, if that is there still: by its value or by its context.
func (c *client) swap(key []byte, value, fresh bool) {
	then := func(s *seen) {
		switch {
		case s == nil:
			c.next()
		case len(s.values) == 0:
			c.put(key, register.Operation{If: register.IfAbsent}, false)
		case value:
			c.put(key, register.Operation{If: register.IfValue, Expect: s.values[0]}, c.w.chance(100))
		default:
			c.put(key, register.Operation{If: register.IfSeen, Context: must(distrib.DecodeContext(key, s.context))}, c.w.chance(100))
		}
	}
	if s := c.seen[string(key)]; s != nil && !fresh {
		then(s)
		return
	}
	c.get(key, then)
}

// count increments a number.
func (c *client) count(key []byte) {
	then := func(s *seen) {
		switch {
		case s == nil:
			c.next()
		case len(s.values) == 0:
			c.begin(key, register.Operation{If: register.IfAbsent, Value: distrib.Value{Data: []byte("1")}})
		default:
			n := must(strconv.Atoi(string(s.values[0])))
			c.begin(key, register.Operation{If: register.IfValue, Expect: s.values[0], Value: distrib.Value{Data: []byte(strconv.Itoa(n + 1))}})
		}
	}
	if s := c.seen[string(key)]; s != nil { // what the last increment left, or met
		then(s)
		return
	}
	c.get(key, then)
}

// operating is a linearizable operation, which may be tried more than once.
type operating struct {
	check.Step
	key       []byte
	op        register.Operation
	uncertain bool // a try may have been carried out, or may still be
	left      int  // tries
	then      func(*seen)
}

// get tells what it has read, nil where that failed.
func (c *client) get(key []byte, then func(*seen)) {
	c.w.stats.LinearGets++
	c.attempt(&operating{key: key, op: register.Operation{ID: c.newOp()}, left: 1, then: then, Step: check.Step{Key: string(key), Client: int(c.id), Call: int64(c.w.now)}})
}

// put writes a value of its own where op's condition holds.
func (c *client) put(key []byte, op register.Operation, remove bool) {
	if remove {
		op.Value = distrib.Value{Deleted: true}
	}
	c.begin(key, op)
}

// begin begins a write. Where it has no value it stores the name of the operation.
func (c *client) begin(key []byte, op register.Operation) {
	w := c.w
	op.ID, op.Kind = c.newOp(), register.Put
	if op.Value.Data == nil && !op.Value.Deleted {
		op.Value.Data = op.ID[:]
	}
	x := &operating{key: key, op: op, left: 1 + w.rng.IntN(3), then: func(*seen) { c.next() }}
	x.Step = check.Step{Key: string(key), Client: int(c.id), Call: int64(w.now), Op: op.ID, Value: string(op.Value.Data), Delete: op.Value.Deleted, If: check.Condition(op.If), Expect: string(op.Expect)}
	if op.If == register.IfSeen {
		x.Read = c.seen[string(key)].ops
	}
	w.history.value(x.Key, op.ID, op.Value)
	w.stats.LinearWrites++
	c.attempt(x)
}

// attempt sends an operation to some node.
func (c *client) attempt(x *operating) {
	w, p := c.w, c.w.anywhere()
	x.left--
	if p == nil {
		w.after(w.delay(), func() { c.attempted(x, nil, distrib.ErrUnreachable) })
		return
	}
	x.op.Retried = x.uncertain
	w.trace([...]string{"linear get", "linear put", "resolve"}[x.op.Kind], c.id, p.n.id, x.Key, short(x.op.ID), x.op.If, shorts(x.Read), x.op.Value.Deleted)
	request(w, p, w.between(200*time.Millisecond, 2500*time.Millisecond), func(tell func(*coordinator.Operated, error)) func(error) {
		return p.coordinator.StartOperate(x.key, x.op, tell)
	}, func(r *coordinator.Operated, err error) { c.attempted(x, r, err) })
}

// attempted takes what became of a try.
func (c *client) attempted(x *operating, r *coordinator.Operated, err error) {
	w := c.w
	switch {
	case err == nil:
		c.answered(x, r)
		return
	case x.op.Kind == register.Get:
		w.trace("linear get failed", c.id, 0, short(x.op.ID), err)
		x.then(nil)
		return
	}
	x.uncertain = x.uncertain || !nothingHappened(err)
	switch {
	case x.left > 0:
		w.trace("again", c.id, 0, short(x.op.ID), err)
		w.after(w.between(0, 50*time.Millisecond), func() { c.attempt(x) })
	case x.uncertain && x.op.Kind == register.Put && w.chance(700):
		c.resolve(x)
	case x.uncertain:
		c.ended(x, check.Unknown, err)
	default:
		c.ended(x, check.Failed, err)
	}
}

// resolve asks what became of a write.
func (c *client) resolve(x *operating) {
	x.op = register.Operation{ID: x.op.ID, Kind: register.Resolve}
	x.left = 2
	c.attempt(x)
}

// answered takes the answer of a try.
func (c *client) answered(x *operating, r *coordinator.Operated) {
	w := c.w
	w.trace("answered", c.id, uint64(r.Verdict), short(x.op.ID), describe(r.Record), r.Strays)
	s := &seen{context: distrib.EncodeContext(x.key, r.Context)}
	for _, v := range r.Record {
		s.ops = append(s.ops, v.Op)
		if !v.Value.Deleted {
			s.values = append(s.values, v.Value.Data)
		}
	}
	w.history.names(w, x.Key, r.Record)
	x.Found = s.ops
	if x.op.Kind != register.Resolve {
		c.seen[x.Key] = s
	}
	switch r.Verdict {
	case register.Done:
	case register.Repeated: // it had happened before what the answer shows
		x.Blind = true
	case register.NotDone:
		c.ended(x, check.Failed, nil)
		return
	case register.Forgotten:
		c.ended(x, check.Unknown, nil)
		return
	default:
		x.Mismatch = true
	}
	c.ended(x, check.OK, nil)
	if x.op.Kind == register.Get {
		x.then(s)
	}
}

// ended notes what became of an operation. Reads go on by themselves.
func (c *client) ended(x *operating, outcome check.Outcome, err error) {
	w := c.w
	x.Outcome, x.Return = outcome, int64(w.now)
	if x.op.Kind == register.Get {
		x.Op = distrib.OpID{}
	}
	w.trace("ended", c.id, uint64(outcome), short(x.op.ID), err)
	w.history.step(x.Step)
	if outcome == check.OK {
		w.stats.LinearDone++
	}
	if x.op.Kind != register.Get {
		x.then(nil)
	}
}

// finish reads each linearizable key once more, again and again until that succeeds, and waits until all replicas hold what it gave.
func (w *world) finish() {
	for _, key := range w.keys {
		if w.uses[string(key)] == eventual {
			continue
		}
		c := &client{w: w, id: uint64(len(w.clients)) + 1, seen: map[string]*seen{}}
		w.clients = append(w.clients, c)
		c.busy = true
		c.last(key, 10)
	}
	w.await()
}

// last reads a key, which must succeed when all is well.
func (c *client) last(key []byte, tries int) {
	c.get(key, func(s *seen) {
		switch {
		case s != nil:
			c.busy = false
			c.w.history.last()
		case tries == 0:
			c.busy = false
			c.w.history.violation(c.w, "%s: it can not be read though nothing is wrong any more", key)
		default:
			c.last(key, tries-1)
		}
	})
}
