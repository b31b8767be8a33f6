package chaos

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/check"
	"github.com/cambiumdb/cambium/distrib/client"
)

// counterKey is what all that count increment.
const counterKey = "counter"

// Counted is what a counter has shown.
type Counted struct {
	Clients, Each int
	Took          time.Duration // until all were done, through faults
	Acknowledged  int           // increments, as their answer said or Resolve
	Resolved      int           // of these
	Unknown       int           // of which nobody knows
	Lost          int           // tries that found another number
	End           int64
}

// RunCounter is Run with clients that increment one key by compare-and-swap, so often each, while the faults of a plan come and go. The
// plan is left when all are done.
func RunCounter(ctx context.Context, o Options, plan []Fault, clients, each int) (*Report, error) {
	return o.run(ctx, func(ctx context.Context, r *run) error {
		list, err := r.counters(ctx, clients)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		var all sync.WaitGroup
		ended := make(chan struct{})
		for _, c := range list {
			all.Go(func() { c.run(ctx, each) })
		}
		go func() {
			all.Wait()
			close(ended)
		}()
		began := time.Now()
		err = r.until(ctx, ended, plan)
		if err != nil {
			cancel() // else they end by themselves
		}
		<-ended
		r.report.Counter = &Counted{Clients: clients, Each: each, Took: time.Since(began)}
		return errors.Join(err, r.judgeCounter(list))
	})
}

// until brings about a plan, fault by fault, until something has ended, and lets nothing be wrong then.
func (r *run) until(ctx context.Context, ended <-chan struct{}, plan []Fault) error {
	for _, f := range plan {
		select {
		case <-ended:
			return nil
		default:
		}
		if err := r.fault(ctx, f, f.String()); err != nil {
			return err
		}
		r.calm(ctx, f.Calm)
	}
	return nil
}

// counting is a client that increments.
type counting struct {
	*user
	counts              []check.Count
	knows               bool
	number              int64 // that it knows
	done, resolved, odd int   // odd: nobody knows
	lost                int   // tries that found another number
}

// counters are clients that increment.
func (r *run) counters(ctx context.Context, n int) (list []*counting, err error) {
	for range n {
		c, err := client.Open(ctx, client.Options{Endpoints: r.cluster.addresses()})
		if err != nil {
			return nil, err
		}
		u := &user{load: r.load, Options: r.Options, number: len(r.load.users), client: c}
		r.load.users = append(r.load.users, u) // which closes it
		r.report.Linear++
		list = append(list, &counting{user: u})
	}
	return list, nil
}

// run increments so often, not counting what is not known to have happened.
func (c *counting) run(ctx context.Context, each int) {
	for c.done < each && ctx.Err() == nil {
		if c.knows || c.read() {
			c.increment()
		}
	}
}

// read asks for the number.
func (c *counting) read() bool {
	s := check.Count{Call: int64(time.Since(c.began))}
	item, err := c.client.Get(context.Background(), []byte(counterKey), client.GetOptions{Level: linearizable})
	if c.note(time.Duration(s.Call), err) {
		c.found(s, item)
	}
	return c.knows
}

// found takes what a read found, or a swap in place of what it expected.
func (c *counting) found(s check.Count, item *client.Item) {
	s.Op, s.Found, s.Return, s.Outcome = distrib.OpID{}, 0, int64(time.Since(c.began)), check.OK
	for _, v := range item.Live() {
		n, err := strconv.ParseInt(string(v.Data), 10, 64)
		if err != nil || s.Found != 0 {
			c.wrong = append(c.wrong, check.Violation{Key: counterKey, What: fmt.Sprintf("it is %q, which is no number, or one of several", v.Data)})
		}
		s.Found = n
	}
	c.counts = append(c.counts, s)
	c.number, c.knows = s.Found, true
}

// increment tries to add one to the number that it knows.
func (c *counting) increment() {
	s := check.Count{Op: c.newOp(counterKey, false), Found: c.number, Call: int64(time.Since(c.began))}
	expected := client.Expected{Absent: c.number == 0}
	if !expected.Absent {
		expected.Value = strconv.AppendInt(nil, c.number, 10)
	}
	swap, err := c.client.CompareAndSwap(context.Background(), []byte(counterKey), expected, strconv.AppendInt(nil, c.number+1, 10), client.SwapOptions{Op: s.Op})
	c.note(time.Duration(s.Call), err)
	s.Outcome = outcomeOf(err)
	switch {
	case err == nil && !swap.Swapped:
		c.lost++
		c.found(s, swap.Current)
		return
	case s.Outcome == check.Unknown:
		if s.Outcome = c.resolve(counterKey, s.Op); s.Outcome == check.OK {
			c.resolved++
		}
	}
	s.Return = int64(time.Since(c.began))
	c.counts = append(c.counts, s)
	c.knows = s.Outcome == check.OK && err == nil
	switch s.Outcome {
	case check.OK:
		c.done++
		c.number++
	case check.Unknown:
		c.odd++
	}
}

// judgeCounter reads the end, and holds it against what clients were told.
func (r *run) judgeCounter(list []*counting) error {
	var steps []check.Count
	got := r.report.Counter
	for _, c := range list {
		steps = append(steps, c.counts...)
		got.Acknowledged, got.Resolved, got.Unknown, got.Lost = got.Acknowledged+c.done, got.Resolved+c.resolved, got.Unknown+c.odd, got.Lost+c.lost
	}
	last := &counting{user: list[0].user}
	for range lastTries {
		if last.read() {
			got.End = last.number
			r.report.Violations = append(r.report.Violations, check.Counter(counterKey, append(steps, last.counts...), got.End)...)
			return nil
		}
	}
	return errors.New("the counter cannot be read though nothing is wrong any more")
}
