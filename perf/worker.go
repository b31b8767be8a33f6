package perf

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"sync/atomic"
	"time"
)

// tickets hands the operations of a stream to its workers, one after the other, and says when
// each was meant to start.
type tickets struct {
	stream   *Stream
	ops      int64         // 0: until deadline
	deadline time.Duration // 0: until ops
	rate     float64       // 0: closed loop
	hashed   bool
	records  *inserted // nil where nothing is inserted
	start    time.Time
	next     atomic.Int64
	over     atomic.Bool
}

// take returns the next operation; ok is false when there is none. In an open loop intended is
// the moment at which it is meant to start, which may lie in the future or the past.
func (t *tickets) take() (i int64, intended time.Time, ok bool) {
	if t.over.Load() {
		return 0, intended, false
	}
	i = t.next.Add(1) - 1
	if t.ops > 0 && i >= t.ops {
		return 0, intended, false
	}
	if t.rate > 0 {
		at := time.Duration(float64(i) / t.rate * float64(time.Second))
		intended = t.start.Add(at)
		if t.deadline > 0 && at >= t.deadline {
			return 0, intended, false
		}
	} else if t.deadline > 0 && time.Since(t.start) >= t.deadline {
		return 0, intended, false
	}
	return i, intended, true
}

// worker performs operations in one goroutine and checks what comes back.
type worker struct {
	engine  Engine
	cfg     Config
	values  Values
	tickets *tickets
	beside  bool

	hist     [actionKinds]Histogram
	accepted int64 // bytes of keys and values
	slowest  time.Duration
	problems []string
	wrong    int64

	key, value []byte
	index      int64 // of the action in hand
	visited    int
	bad        bool
	certain    bool // the record in hand was there before the operation began
	onGet      func([]byte)
	onScan     func(key, value []byte)

	done    atomic.Int64
	longest atomic.Int64 // since the sampler last looked
}

// worker makes worker i of a phase. Its buffer is the one that worker i of the phase before had: of
// large values they are most of what the benchmark itself takes from --memory, and those that the
// collector has yet to find would come on top.
func (s *session) worker(i int, cfg Config, t *tickets, beside bool) *worker {
	for len(s.buffers) <= i {
		s.buffers = append(s.buffers, nil)
	}
	if len(s.buffers[i]) != int(cfg.ValueSize) {
		s.buffers[i] = make([]byte, cfg.ValueSize)
	}
	w := &worker{
		engine: s.engine, cfg: cfg, values: NewValues(cfg.Seed, cfg.Compressible), tickets: t, beside: beside,
		value: s.buffers[i],
	}
	w.onGet = func(v []byte) {
		w.bad = len(v) != int(cfg.ValueSize) || !w.values.Belongs(v, w.index)
	}
	w.onScan = func(key, v []byte) {
		if w.visited == 0 && w.certain {
			w.bad = string(key) != string(w.key) || !w.values.Belongs(v, w.index)
		}
		w.visited++
	}
	return w
}

// run performs operations until there are none, ctx ends or the engine fails.
func (w *worker) run(ctx context.Context) error {
	for ctx.Err() == nil {
		i, intended, ok := w.tickets.take()
		if !ok {
			return nil
		}
		a := w.tickets.stream.At(i)
		if w.tickets.hashed {
			w.key = AppendHashedKey(w.key[:0], w.cfg.KeySize, a.Key)
		} else {
			w.key = AppendKey(w.key[:0], w.cfg.KeySize, a.Key, a.Absent)
		}
		if a.Kind == ActionPut || a.Kind == ActionInsert || a.Kind == ActionModify {
			w.values.Fill(w.value, a.Key, a.Version)
		}
		var begun time.Time
		if intended.IsZero() {
			intended = time.Now()
			begun = intended
		} else {
			if !waitUntil(ctx, intended) {
				return ctx.Err()
			}
			begun = time.Now()
		}
		if err := w.perform(a); err != nil {
			return fmt.Errorf("%s %q (operation %d): %w", a.Kind, w.key, i, err)
		}
		ended := time.Now()
		w.slowest = max(w.slowest, ended.Sub(begun))
		w.record(a.Kind, ended.Sub(intended))
	}
	return ctx.Err()
}

// record counts one operation that took that long.
func (w *worker) record(kind ActionKind, took time.Duration) {
	if w.hist[kind].h == nil {
		w.hist[kind] = NewHistogram()
	}
	w.hist[kind].Record(took)
	if int64(took) > w.longest.Load() {
		w.longest.Store(int64(took))
	}
	w.done.Add(1)
}

func (w *worker) perform(a Action) error {
	w.index, w.visited, w.bad = a.Key, 0, false
	w.certain = w.tickets == nil || w.tickets.records == nil || a.Key < w.tickets.records.frontier.Load()
	switch a.Kind {
	case ActionPut, ActionInsert:
		if err := w.put(); err != nil {
			return err
		}
		if a.Kind == ActionInsert {
			w.tickets.records.add(a.Key)
		}
	case ActionGet:
		return w.get(a)
	case ActionModify:
		if err := w.get(a); err != nil {
			return err
		}
		return w.put()
	case ActionScan:
		n, err := w.engine.Scan(w.key, a.Limit, w.onScan)
		if err != nil {
			return err
		}
		if want := w.scanned(a); n < want || n > a.Limit || n != w.visited || w.bad {
			w.complain("scan from %q: %d entries (%d visited), want %d that begin with that key", w.key, n, w.visited, want)
		}
	}
	return nil
}

func (w *worker) put() error {
	if err := w.engine.Put(w.key, w.value); err != nil {
		return err
	}
	w.accepted += int64(len(w.key) + len(w.value))
	return nil
}

func (w *worker) get(a Action) error {
	found, err := w.engine.Get(w.key, w.onGet)
	if err != nil {
		return err
	}
	switch {
	case found && a.Absent:
		w.complain("get %q: found, but it was never written", w.key)
	case !found && !a.Absent && w.certain:
		w.complain("get %q: not found, but it was written", w.key)
	case found && w.bad:
		w.complain("get %q: the value is not the one of this key", w.key)
	}
	return nil
}

// scanned is the least number of entries that a scan must meet.
func (w *worker) scanned(a Action) int {
	if !w.tickets.hashed {
		return int(min(int64(a.Limit), w.cfg.Keys-a.Key))
	}
	// The records behind a hashed key are not known, but about how many they are: the shortest
	// scans must be complete except close to the end.
	behind := (1 - float64(recordHash(a.Key))/(1<<64)) * float64(w.tickets.stream.keys)
	if certain := behind - 12*math.Sqrt(behind+1); float64(a.Limit) > certain {
		return 0
	}
	return a.Limit
}

// keepProblems is how many wrong answers of a phase are kept in words.
const keepProblems = 3

// complain notes a wrong answer; the first few are kept in words.
func (w *worker) complain(format string, args ...any) {
	w.wrong++
	if len(w.problems) < keepProblems {
		w.problems = append(w.problems, fmt.Sprintf(format, args...))
	}
}

// waitUntil returns at the moment t, or false when ctx ended before. The last stretch is not
// slept, since a sleep's own lateness would count as the engine's.
func waitUntil(ctx context.Context, t time.Time) bool {
	const awake = 150 * time.Microsecond
	for {
		left := time.Until(t)
		switch {
		case left <= 0:
			return true
		case left > awake:
			timer := time.NewTimer(left - awake)
			select {
			case <-timer.C:
			case <-ctx.Done():
				timer.Stop()
				return false
			}
		default:
			runtime.Gosched()
		}
	}
}
