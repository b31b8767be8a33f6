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

// load is clients that read and write some keys at QUORUM, one operation after the other.
type load struct {
	began   time.Time
	workers []*worker
	stop    context.CancelFunc
	all     sync.WaitGroup

	mu      sync.Mutex                // guards deletes
	deletes map[string][]distrib.OpID // that were begun, by key
}

// worker is one client. What it has done may be read once it has ended.
type worker struct {
	*load
	number int
	client *client.Client
	keys   int
	pause  time.Duration
	random *rand.Rand
	writes uint64

	valueBytes int

	history  check.History
	success  []time.Duration // when operations have succeeded, since load.began
	failures []failure
	wrong    []check.Violation
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
	for i := range o.Clients {
		c, err := client.Open(ctx, client.Options{Endpoints: endpoints})
		if err != nil {
			stop()
			l.close()
			return nil, err
		}
		w := &worker{load: l, number: i, client: c, keys: o.Keys, valueBytes: o.ValueBytes, pause: o.Pause, random: rand.New(rand.NewPCG(o.Seed, uint64(i)))}
		l.workers = append(l.workers, w)
	}
	l.fill()
	for _, w := range l.workers {
		l.all.Go(func() { w.run(ctx) })
	}
	return l, nil
}

// fill writes each key once, before the time of the load begins.
func (l *load) fill() {
	for _, w := range l.workers {
		l.all.Go(func() {
			for i := w.number; i < w.keys; i += len(l.workers) {
				w.write(fmt.Sprintf("key%d", i), nil, false)
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
	for _, w := range l.workers {
		w.client.Close()
	}
}

// last writes to keys that are deleted, once nodes agree: deletes alone are not shown to readers, so that an end with
// nothing else would not say which writes were seen.
func (l *load) last() {
	w := l.workers[0]
	for i := range w.keys {
		key := fmt.Sprintf("key%d", i)
		if read := w.get(key); read != nil && len(read.siblings) == 0 {
			w.write(key, read, false)
		}
	}
}

// seen is what a client has read of a key.
type seen struct {
	context  []byte
	siblings []distrib.OpID
	deletes  []distrib.OpID // that are not shown, since nothing else is there
}

func (w *worker) run(ctx context.Context) {
	for ctx.Err() == nil {
		key := fmt.Sprintf("key%d", w.random.IntN(w.keys))
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
		if w.pause > 0 {
			time.Sleep(w.pause)
		}
	}
}

func (w *worker) get(key string) *seen {
	begun := time.Since(w.began)
	item, err := w.client.Get(context.Background(), []byte(key), client.GetOptions{})
	if !w.note(begun, err) {
		return nil
	}
	for _, s := range item.Siblings {
		if !s.Value.Deleted && string(s.Value.Data) != string(w.value(s.Op)) {
			w.wrong = append(w.wrong, check.Violation{Key: key, Op: s.Op, What: fmt.Sprintf("a read gave %d bytes that are not its value", len(s.Value.Data))})
		}
	}
	read := &seen{context: item.Context}
	for _, s := range item.Siblings {
		read.siblings = append(read.siblings, s.Op)
	}
	if len(item.Siblings) == 0 {
		read.deletes = w.hidden(key, item.Context)
	}
	w.history.Reads = append(w.history.Reads, check.Read{Key: key, Ops: slices.Concat(read.siblings, read.deletes)})
	return read
}

// hidden are the deletes that a context has seen.
func (w *worker) hidden(key string, context []byte) (list []distrib.OpID) {
	had, err := distrib.DecodeContext([]byte(key), context)
	if err != nil {
		w.wrong = append(w.wrong, check.Violation{Key: key, What: "a read gave a context that is none: " + err.Error()})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, op := range w.deletes[key] {
		if had.HasOp(op) {
			list = append(list, op)
		}
	}
	return list
}

// write overwrites what was read, or adds a sibling where that is nil.
func (w *worker) write(key string, read *seen, remove bool) {
	w.writes++
	record := check.Write{Key: key}
	binary.BigEndian.PutUint64(record.Op[:], uint64(w.number)+1)
	binary.BigEndian.PutUint64(record.Op[8:], w.writes)
	var had []byte
	if read != nil {
		had, record.Read = read.context, slices.Concat(read.siblings, read.deletes)
	}
	if remove {
		w.mu.Lock()
		w.deletes[key] = append(w.deletes[key], record.Op)
		w.mu.Unlock()
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
func (w *worker) note(begun time.Duration, err error) bool {
	now := time.Since(w.began)
	if err == nil {
		w.success = append(w.success, now)
		return true
	}
	w.failures = append(w.failures, failure{begun, now, outcomeOf(err), err.Error()})
	return false
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
func (w *worker) value(op distrib.OpID) []byte {
	sum := sha256.Sum256(op[:])
	size := w.valueBytes + int(sum[0])
	value := make([]byte, 0, size+len(sum))
	for len(value) < size {
		value = append(value, sum[:]...)
	}
	return value[:size]
}
