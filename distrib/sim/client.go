package sim

import (
	"context"
	"encoding/binary"
	"errors"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/check"
	"github.com/cambiumdb/cambium/distrib/coordinator"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// client does one operation after the other, until the load ends.
type client struct {
	w      *world
	id     uint64
	writes uint64
	seen   map[string]*seen // its last read of each key
	busy   bool
}

// seen is what was read of a key.
type seen struct {
	ops     []distrib.OpID
	values  [][]byte // of those that are no deletes
	context []byte
}

// next begins an operation, after a while.
func (c *client) next() {
	w := c.w
	c.busy = false
	w.after(w.between(time.Millisecond, w.think), func() {
		if w.healing {
			return
		}
		c.busy = true
		key := w.keys[w.rng.IntN(len(w.keys))]
		if is := w.uses[string(key)]; is != eventual {
			c.linear(key, is)
			return
		}
		switch n := w.rng.IntN(20); {
		case n < 4:
			c.read(key, func(*seen) { c.next() })
		case n < 7:
			c.write(key, nil, n == 6)
		case n < 9: // it overwrites what it read some time ago
			c.write(key, c.seen[string(key)], false)
		default:
			c.read(key, func(s *seen) {
				if s == nil {
					c.next()
					return
				}
				c.write(key, s, n < 12)
			})
		}
	})
}

// level is how many nodes must answer: mostly a majority.
func (w *world) level() int { return []int{0, 0, 0, 0, 1, coordinator.All}[w.rng.IntN(6)] }

// anywhere is a process, if the node that is asked runs.
func (w *world) anywhere() *process { return w.nodes[w.rng.IntN(len(w.nodes))].process }

// request has begin called at a process and done once: with what that tells, or errSilent.
func request[T any](w *world, p *process, patience time.Duration, begin func(tell func(T, error)) (giveUp func(error)), done func(T, error)) {
	ended := false
	end := func(r T, err error) {
		if !ended {
			ended = true
			done(r, err)
		}
	}
	w.after(w.delay(), func() {
		p.do(func() {
			giveUp := begin(func(r T, err error) { w.after(w.delay(), func() { end(r, err) }) })
			p.after(patience, func() { giveUp(context.DeadlineExceeded) })
		})
	})
	w.after(patience+w.between(0, 100*time.Millisecond), func() {
		var none T
		end(none, errSilent)
	})
}

// read tells what it has read, nil where that failed.
func (c *client) read(key []byte, then func(*seen)) {
	w, p, began := c.w, c.w.anywhere(), c.w.now
	if p == nil {
		w.after(w.delay(), func() { then(nil) })
		return
	}
	o := coordinator.ReadOptions{R: w.level(), Strict: w.chance(300), Repair: w.chance(200)}
	w.trace("get", c.id, p.n.id, string(key), o)
	w.stats.Gets++
	request(w, p, w.between(200*time.Millisecond, 2500*time.Millisecond), func(tell func(*coordinator.ReadResult, error)) func(error) {
		return p.coordinator.StartGet(key, o, tell)
	}, func(r *coordinator.ReadResult, err error) {
		if err != nil {
			w.trace("get failed", c.id, p.n.id, err)
			then(nil)
			return
		}
		s := &seen{context: distrib.EncodeContext(key, r.Context)}
		for _, v := range r.Record {
			s.ops = append(s.ops, v.Op)
			if !v.Value.Deleted {
				s.values = append(s.values, v.Value.Data)
			}
		}
		w.trace("got", c.id, p.n.id, describe(r.Record), r.Places)
		w.history.read(w, key, began, r, s.ops)
		w.stats.Got++
		c.seen[string(key)] = s
		then(s)
	})
}

// writing is a write, which may be tried more than once.
type writing struct {
	check.Write
	began     time.Duration
	key       []byte
	value     distrib.Value
	o         coordinator.WriteOptions
	uncertain bool // a try may have been carried out
	linear    bool // the register has carried it out
	left      int  // tries
}

// write overwrites what was read; nil: nothing.
func (c *client) write(key []byte, s *seen, remove bool) {
	w := c.w
	x := &writing{key: key, left: 1 + w.rng.IntN(3), began: w.now}
	x.Key, x.Op = string(key), c.newOp()
	x.value = distrib.Value{Deleted: remove}
	if !remove {
		x.value.Data = x.Op[:]
	}
	x.o = coordinator.WriteOptions{W: w.level(), Strict: w.chance(300), Op: x.Op, Sync: w.sync}
	if s != nil {
		x.Read = s.ops
		x.o.Context = must(distrib.DecodeContext(key, s.context))
	}
	w.history.begin(x)
	w.stats.Writes++
	c.try(x)
}

func (c *client) try(x *writing) {
	w, p := c.w, c.w.anywhere()
	x.left--
	if p == nil {
		c.tried(x, nil, distrib.ErrUnreachable)
		return
	}
	w.trace("write", c.id, p.n.id, x.Key, short(x.Op), shorts(x.Read), x.o.W, x.o.Strict, x.value.Deleted)
	request(w, p, w.between(200*time.Millisecond, 2500*time.Millisecond), func(tell func(*coordinator.WriteResult, error)) func(error) {
		return p.coordinator.StartPut(x.key, x.value, x.o, tell)
	}, func(r *coordinator.WriteResult, err error) { c.tried(x, r, err) })
}

// tried takes what became of a try.
func (c *client) tried(x *writing, r *coordinator.WriteResult, err error) {
	w := c.w
	x.uncertain = x.uncertain || err != nil && !nothingHappened(err)
	switch {
	case err == nil:
		x.Outcome = check.OK
		w.history.acknowledged(w, x, r)
		if w.stats.Acked++; x.linear {
			w.stats.Carried++
		}
	case x.left > 0:
		w.trace("again", c.id, 0, short(x.Op), err)
		x.o.Retried = x.uncertain
		w.after(w.between(0, 50*time.Millisecond), func() { c.try(x) })
		return
	case x.uncertain:
		x.Outcome = check.Unknown
	default:
		x.Outcome = check.Failed
	}
	w.trace("written", c.id, uint64(x.Outcome), short(x.Op), err)
	w.history.end(w, x)
	c.next()
}

// newOp is the id of the client's next operation.
func (c *client) newOp() (op distrib.OpID) {
	c.writes++
	binary.BigEndian.PutUint64(op[:], c.id)
	binary.BigEndian.PutUint64(op[8:], c.writes)
	return op
}

// nothingHappened reports whether an error says that a write was not carried out, nor will be.
func nothingHappened(err error) bool {
	var e *coordinator.Error
	if errors.As(err, &e) {
		return e.Outcome == coordinator.Failed
	}
	return errors.Is(err, distrib.ErrOverloaded) || errors.Is(err, distrib.ErrUnreachable)
}

// dotted names a version.
type dotted struct {
	key string
	dot vclock.Dot
}
