package chaos

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/check"
	"github.com/cambiumdb/cambium/distrib/client"
)

// load is clients that use some keys, each one operation after the other.
type load struct {
	began   time.Time
	users   []*user // all of them
	workers []*worker
	keys    []string // of workers
	linear  []*linear
	stop    context.CancelFunc
	all     sync.WaitGroup

	mu      sync.Mutex                // guards deletes
	deletes map[string][]distrib.OpID // that were begun, by key
}

// user is one client. What it has done may be read once it has ended.
type user struct {
	*load
	Options
	number     int
	client     *client.Client
	random     *rand.Rand
	operations uint64
	success    []time.Duration // when operations have succeeded, since load.began
	failures   []failure
	wrong      []check.Violation
}

// worker is a user that reads and writes at QUORUM.
type worker struct {
	*user
	history check.History
}

// failure is an operation that did not succeed.
type failure struct {
	begun, ended time.Duration
	outcome      check.Outcome
	cause        string
}

// startLoad starts clients.
func startLoad(ctx context.Context, o Options, endpoints []string) (*load, error) {
	ctx, stop := context.WithCancel(ctx)
	l := &load{began: time.Now(), stop: stop, deletes: map[string][]distrib.OpID{}}
	for i := range o.Keys {
		l.keys = append(l.keys, fmt.Sprintf("key%d", i))
	}
	for i := range o.Clients + o.Linear {
		c, err := client.Open(ctx, client.Options{Endpoints: endpoints})
		if err != nil {
			stop()
			l.close()
			return nil, err
		}
		u := &user{load: l, Options: o, number: i, client: c, random: rand.New(rand.NewPCG(o.Seed, uint64(i)))}
		l.users = append(l.users, u)
		if i < o.Clients {
			l.workers = append(l.workers, &worker{user: u})
		} else {
			l.linear = append(l.linear, newLinear(u))
		}
	}
	l.fill()
	for _, w := range l.workers {
		l.all.Go(func() { w.run(ctx) })
	}
	for _, c := range l.linear {
		l.all.Go(func() { c.run(ctx) })
	}
	return l, nil
}

// fill writes each key once, before the time of the load begins.
func (l *load) fill() {
	for _, w := range l.workers {
		l.all.Go(func() {
			for i := w.number; i < len(l.keys); i += len(l.workers) {
				w.write(l.keys[i], nil, false)
			}
			w.success = nil
		})
	}
	l.all.Wait()
	l.began = time.Now()
}

// end returns when no client works any more; no operation is broken off.
func (l *load) end() {
	l.stop()
	l.all.Wait()
}

// close closes the clients, after end.
func (l *load) close() {
	for _, u := range l.users {
		u.client.Close()
	}
}

// last writes to keys that are deleted, once nodes agree: deletes alone are not shown to readers, so that an end with
// nothing else would not say which writes were seen.
func (l *load) last() {
	w := l.workers[0]
	for _, key := range l.keys {
		if read := w.get(key); read != nil && len(read.siblings) == 0 {
			w.write(key, read, false)
		}
	}
}

// seen is what a client has read of a key.
type seen struct {
	context  []byte
	siblings []distrib.OpID
	values   []distrib.OpID // of these, those that are no deletes
	deletes  []distrib.OpID // that are not shown, since nothing else is there
}

// ops are all writes that were seen.
func (s *seen) ops() []distrib.OpID { return slices.Concat(s.siblings, s.deletes) }

func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		key := w.keys[w.random.IntN(len(w.keys))]
		switch n := w.random.IntN(20); {
		case n < 6:
			w.get(key)
		case n < 8:
			w.write(key, nil, false)
		default: // what it reads it overwrites, now and then with a delete
			if read := w.get(key); read != nil {
				w.write(key, read, n == 8)
			}
		}
		time.Sleep(w.Pause)
	}
}

func (w *worker) get(key string) *seen {
	begun := time.Since(w.began)
	item, err := w.client.Get(context.Background(), []byte(key), client.GetOptions{})
	if !w.note(begun, err) {
		return nil
	}
	read := w.saw(key, item)
	w.history.Reads = append(w.history.Reads, check.Read{Key: key, Ops: read.ops()})
	return read
}

// saw takes what a read gave.
func (u *user) saw(key string, item *client.Item) *seen {
	read := &seen{context: item.Context}
	for _, s := range item.Siblings {
		read.siblings = append(read.siblings, s.Op)
		if s.Value.Deleted {
			continue
		}
		read.values = append(read.values, s.Op)
		if string(s.Value.Data) != string(u.value(s.Op)) {
			u.wrong = append(u.wrong, check.Violation{Key: key, Op: s.Op, What: fmt.Sprintf("a read gave %d bytes that are not its value", len(s.Value.Data))})
		}
	}
	if len(item.Siblings) == 0 {
		read.deletes = u.hidden(key, item.Context)
	}
	return read
}

// hidden are the deletes that a context has seen.
func (u *user) hidden(key string, context []byte) (list []distrib.OpID) {
	had, err := distrib.DecodeContext([]byte(key), context)
	if err != nil {
		u.wrong = append(u.wrong, check.Violation{Key: key, What: "a read gave a context that is none: " + err.Error()})
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	for _, op := range u.deletes[key] {
		if had.HasOp(op) {
			list = append(list, op)
		}
	}
	return list
}

// newOp names the next operation on a key, which may be a delete.
func (u *user) newOp(key string, remove bool) (op distrib.OpID) {
	u.operations++
	binary.BigEndian.PutUint64(op[:], uint64(u.number)+1)
	binary.BigEndian.PutUint64(op[8:], u.operations)
	if remove {
		u.mu.Lock()
		defer u.mu.Unlock()
		u.deletes[key] = append(u.deletes[key], op)
	}
	return op
}

// write overwrites what was read, or adds a sibling where that is nil.
func (w *worker) write(key string, read *seen, remove bool) {
	record := check.Write{Key: key, Op: w.newOp(key, remove)}
	var had []byte
	if read != nil {
		had, record.Read = read.context, read.ops()
	}
	begun := time.Since(w.began)
	var err error
	if remove {
		_, err = w.client.Delete(context.Background(), []byte(key), client.DeleteOptions{Context: had, Op: record.Op})
	} else {
		_, err = w.client.Put(context.Background(), []byte(key), w.value(record.Op), client.PutOptions{Context: had, Op: record.Op})
	}
	w.note(begun, err)
	record.Outcome = outcomeOf(err)
	w.history.Writes = append(w.history.Writes, record)
}

// note takes down what became of an operation, and reports whether it has succeeded.
func (u *user) note(begun time.Duration, err error) bool {
	if err == nil {
		u.success = append(u.success, time.Since(u.began))
	}
	return u.noteFailure(begun, err)
}

// noteFailure is note without successes.
func (u *user) noteFailure(begun time.Duration, err error) bool {
	if err != nil {
		u.failures = append(u.failures, failure{begun, time.Since(u.began), outcomeOf(err), err.Error()})
	}
	return err == nil
}

func outcomeOf(err error) check.Outcome {
	var e *client.Error
	switch {
	case err == nil:
		return check.OK
	case errors.As(err, &e) && e.Outcome == client.Failed:
		return check.Failed
	}
	return check.Unknown
}

// value is what a put stores: it follows from its operation.
func (u *user) value(op distrib.OpID) []byte {
	sum := sha256.Sum256(op[:])
	size := u.ValueBytes + int(sum[0])
	value := make([]byte, 0, size+len(sum))
	for len(value) < size {
		value = append(value, sum[:]...)
	}
	return value[:size]
}
