package chaos

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/check"
	"github.com/cambiumdb/cambium/distrib/client"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// generation is how long linear clients use the same keys. So histories are short enough to be judged, and keys become linearizable all the time.
const generation = 20 * time.Second

// linearKeys are how many keys a generation has, of which every third is mixed.
const linearKeys = 12

var linearizable = client.Level{Consistency: client.Linearizable}

// linear is a user whose operations are linearizable. Of some keys others are eventual: these are mixed.
type linear struct {
	*user
	seen  map[string]*seen // its last read of each key
	steps []check.Step
	names map[dotted]distrib.OpID // of what was read
}

// dotted names a version.
type dotted struct {
	key string
	dot vclock.Dot
}

func newLinear(u *user) *linear {
	return &linear{user: u, seen: map[string]*seen{}, names: map[dotted]distrib.OpID{}}
}

func (c *linear) run(ctx context.Context) {
	for ctx.Err() == nil {
		n := c.random.IntN(linearKeys)
		key := fmt.Sprintf("linear%d.%d", time.Since(c.began)/generation, n)
		c.operate(key, n%3 == 0)
		time.Sleep(c.Pause)
	}
}

// operate does something with a key.
func (c *linear) operate(key string, mixed bool) {
	switch n := c.random.IntN(20); {
	case mixed && n < 4:
		c.getEventual(key)
	case mixed && n < 7:
		c.writeEventual(key, nil, n == 6)
	case mixed && n < 10:
		if read := c.getEventual(key); read != nil {
			c.writeEventual(key, read, n == 9)
		}
	case n < 13:
		c.get(key)
	case n < 15:
		c.write(key, change{remove: n == 14})
	case n == 15:
		c.write(key, change{condition: check.IfAbsent})
	default:
		c.swap(key, n < 18)
	}
}

// swap changes what was read, now or some time ago, if that is there still: by its value or by its context.
func (c *linear) swap(key string, value bool) {
	read := c.seen[key]
	if read == nil || c.random.IntN(2) == 0 {
		if read = c.get(key); read == nil {
			return
		}
	}
	w := change{condition: check.IfSeen, read: read, remove: c.random.IntN(10) == 0}
	if value {
		if w.condition = check.IfValue; len(read.values) == 0 {
			w = change{condition: check.IfAbsent}
		}
	}
	c.write(key, w)
}

// begin begins a step.
func (c *linear) begin(key string) check.Step {
	return check.Step{Key: key, Client: c.number, Call: int64(time.Since(c.began))}
}

// end takes down a step.
func (c *linear) end(s check.Step) {
	s.Return = max(s.Return, int64(time.Since(c.began)))
	c.steps = append(c.steps, s)
}

// saw takes what an operation found.
func (c *linear) saw(key string, item *client.Item) *seen {
	for _, s := range item.Siblings {
		d := dotted{key, s.Dot}
		if op, ok := c.names[d]; ok && op != s.Op {
			c.wrong = append(c.wrong, check.Violation{Key: key, Op: s.Op, What: fmt.Sprintf("it has the dot of write %x", op)})
		}
		c.names[d] = s.Op
	}
	c.seen[key] = c.user.saw(key, item)
	return c.seen[key]
}

// found is saw for a step. No item: it is not known what was found.
func (c *linear) found(s *check.Step, item *client.Item) *seen {
	if s.Blind = item == nil; s.Blind {
		return nil
	}
	read := c.saw(s.Key, item)
	s.Found, s.Absent = read.siblings, len(read.siblings) == 0
	return read
}

func (c *linear) get(key string) *seen {
	s := c.begin(key)
	item, err := c.client.Get(context.Background(), []byte(key), client.GetOptions{Level: linearizable})
	if !c.note(time.Duration(s.Call), err) {
		return nil
	}
	read := c.found(&s, item)
	c.end(s)
	return read
}

// change is a linearizable write.
type change struct {
	condition check.Condition
	read      *seen // of IfValue and IfSeen
	remove    bool
}

// write carries out a change. What is UNKNOWN is left so, tried again, or resolved.
func (c *linear) write(key string, w change) {
	s := c.begin(key)
	s.Op, s.Delete, s.If = c.newOp(key, w.remove), w.remove, w.condition
	if !w.remove {
		s.Value = nameOf(s.Op)
	}
	switch w.condition {
	case check.IfSeen:
		s.Read = w.read.ops()
	case check.IfValue:
		s.Expect = nameOf(w.read.values[0])
	}
	s.Outcome = c.try(&s, &w, false)
	if s.Outcome == check.Unknown && c.random.IntN(4) == 0 {
		s.Outcome = c.try(&s, &w, true)
	}
	if s.Outcome == check.Unknown && c.random.IntN(4) > 0 {
		s.Outcome, s.Blind, s.Mismatch = c.resolve(key, s.Op), true, false
	}
	c.end(s)
}

// nameOf is what a history holds for the value of a write.
func nameOf(op distrib.OpID) string { return fmt.Sprintf("%x", op) }

// try sends a change once, and notes what was found.
func (c *linear) try(s *check.Step, w *change, retried bool) check.Outcome {
	begun := time.Since(c.began)
	var err error
	if w.condition == check.Always || w.condition == check.IfSeen && len(w.read.context) > 0 && s.Op[15]%2 == 0 {
		err = c.put(s, w, retried)
	} else {
		err = c.compareAndSwap(s, w, retried)
	}
	c.note(begun, err)
	if outcome := outcomeOf(err); outcome != check.Failed || !retried || errors.Is(err, client.ErrNotHappened) {
		return outcome
	}
	return check.Unknown // as the earlier try was
}

// put has a context as its condition, or none.
func (c *linear) put(s *check.Step, w *change, retried bool) (err error) {
	var had []byte
	if w.read != nil {
		had = w.read.context
	}
	s.Blind = true
	if w.remove {
		_, err = c.client.Delete(context.Background(), []byte(s.Key), client.DeleteOptions{Level: linearizable, Context: had, Op: s.Op, Retried: retried})
	} else {
		_, err = c.client.Put(context.Background(), []byte(s.Key), c.value(s.Op), client.PutOptions{Level: linearizable, Context: had, Op: s.Op, Retried: retried})
	}
	var failed *client.Error
	if errors.Is(err, client.ErrMismatch) && errors.As(err, &failed) && failed.Outcome == client.Failed {
		s.Mismatch = true
		c.found(s, failed.Current)
		return nil
	}
	return err
}

func (c *linear) compareAndSwap(s *check.Step, w *change, retried bool) error {
	expected := client.Expected{Absent: w.condition == check.IfAbsent}
	switch w.condition {
	case check.IfValue:
		expected.Value = c.value(w.read.values[0])
	case check.IfSeen:
		expected.Context = w.read.context
	}
	o := client.SwapOptions{Op: s.Op, Retried: retried}
	var swap *client.Swap
	var err error
	if w.remove {
		swap, err = c.client.DeleteIf(context.Background(), []byte(s.Key), expected, o)
	} else {
		swap, err = c.client.CompareAndSwap(context.Background(), []byte(s.Key), expected, c.value(s.Op), o)
	}
	if err != nil {
		return err
	}
	read := c.found(s, swap.Current)
	s.Mismatch = !swap.Swapped
	own := len(read.siblings) == 1 && read.siblings[0] == s.Op || w.remove && s.Absent
	s.Blind = swap.Swapped && !own // an earlier try had done it, and others have written since
	return nil
}

// resolveTries is how often an operation is asked for while nobody answers.
const resolveTries = 10

// resolve asks what became of a write.
func (u *user) resolve(key string, op distrib.OpID) check.Outcome {
	for range resolveTries {
		begun := time.Since(u.began)
		fate, _, err := u.client.Resolve(context.Background(), []byte(key), op, client.ResolveOptions{Linearizable: true})
		switch {
		case !u.note(begun, err):
		case fate == client.Happened:
			return check.OK
		case fate == client.NotHappened:
			return check.Failed
		default:
			return check.Unknown
		}
	}
	return check.Unknown
}

func (c *linear) getEventual(key string) *seen {
	begun := time.Since(c.began)
	item, err := c.client.Get(context.Background(), []byte(key), client.GetOptions{})
	if !c.noteFailure(begun, err) {
		return nil
	}
	return c.saw(key, item)
}

// writeEventual is ordered by the key's register where a node knows it, else it comes to light at some time.
func (c *linear) writeEventual(key string, read *seen, remove bool) {
	s := c.begin(key)
	s.Op, s.Delete, s.If, s.Blind, s.Return = c.newOp(key, remove), remove, check.Beside, true, check.Late
	var had []byte
	if read != nil {
		had, s.Read = read.context, read.ops()
	}
	var put *client.Put
	var err error
	if remove {
		put, err = c.client.Delete(context.Background(), []byte(key), client.DeleteOptions{Context: had, Op: s.Op})
	} else {
		s.Value = nameOf(s.Op)
		put, err = c.client.Put(context.Background(), []byte(key), c.value(s.Op), client.PutOptions{Context: had, Op: s.Op})
	}
	c.noteFailure(time.Duration(s.Call), err)
	if s.Outcome = outcomeOf(err); s.Outcome == check.OK && put.Linearizable {
		s.Return = 0 // that is now
	}
	c.end(s)
}

// lastTries is how often a key is read at the end until it answers.
const lastTries = 10

// lastLinear reads each linearizable key once more, when nothing is wrong any more. It returns the keys.
func (l *load) lastLinear() (keys []string) {
	if len(l.linear) == 0 {
		return nil
	}
	all := map[string]bool{}
	for _, c := range l.linear {
		for _, s := range c.steps {
			all[s.Key] = true
		}
	}
	c := l.linear[0]
	for _, key := range slices.Sorted(maps.Keys(all)) {
		keys = append(keys, key)
		if !c.getLast(key) {
			c.wrong = append(c.wrong, check.Violation{Key: key, What: "it cannot be read though nothing is wrong any more"})
		}
	}
	return keys
}

// getLast is a read behind all else.
func (c *linear) getLast(key string) bool {
	for range lastTries {
		if c.get(key) != nil {
			last := &c.steps[len(c.steps)-1]
			last.Call, last.Return = check.Late+1, check.Late+2
			return true
		}
	}
	return false
}

// judgePatience is how long a key's history is judged.
const judgePatience = 5 * time.Second

// judgeLinear holds what linear clients were told against each other. Pages that show what is wrong go to dir.
func (r *Report) judgeLinear(l *load, keys int, dir string) error {
	var steps []check.Step
	names, dots, twice := map[dotted]distrib.OpID{}, map[distrib.OpID]vclock.Dot{}, map[distrib.OpID]bool{}
	for _, c := range l.linear {
		steps = append(steps, c.steps...)
		for d, op := range c.names {
			if other, ok := names[d]; ok && other != op {
				r.Violations = append(r.Violations, check.Violation{Key: d.key, Op: op, What: fmt.Sprintf("it has the dot of write %x", other)})
			}
			if dot, ok := dots[op]; ok && dot != d.dot {
				twice[op] = true
			}
			names[d], dots[op] = op, d.dot
		}
	}
	m := check.Judge(steps, twice, judgePatience)
	r.Steps, r.Keys, r.Twice, r.Undecided = len(steps), keys, len(m.Twice), m.Undecided
	for _, v := range m.Violations {
		page := filepath.Join(dir, v.Key+".html")
		f, err := os.Create(page)
		if err != nil {
			return err
		}
		if err := errors.Join(check.Draw(f, steps, v.Key), f.Close()); err != nil {
			return fmt.Errorf("draw %s: %w", page, err)
		}
		v.What += ": see " + page
		r.Violations = append(r.Violations, v)
	}
	return nil
}
