package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cambiumdb/cambium/perf"
)

const (
	minValue  = 16 // key and version: see perf.Values
	keyDigits = 10
	fillTries = 5
)

// worker is a client: one operation after another.
type worker struct {
	l     *loader
	s     Step
	id    int64
	rng   *rand.Rand
	key   []byte
	value []byte
	begun time.Time // of the step
	last  time.Time // success

	puts, gets perf.Histogram

	ok, failed, unknown, unbegun, retries    int64
	siblings, created, stale, missing, wrong int64

	gap     time.Duration
	errors  map[string]int64
	example string
}

func newWorker(l *loader, s Step, id int, begun time.Time) *worker {
	return &worker{
		l: l, s: s, id: int64(id), begun: begun, last: begun,
		rng: rand.New(rand.NewPCG(l.job.Seed+s.Number<<32, uint64(id))),
		key: []byte(l.job.Prefix + "0000000000"), value: make([]byte, l.job.ValueSize),
		puts: perf.NewHistogram(), gets: perf.NewHistogram(), errors: map[string]int64{},
	}
}

// load performs operations, in an open loop at their moments, until the step is over.
func (w *worker) load(ctx context.Context) error {
	clients := int64(w.l.job.Clients)
	own := (w.l.job.Keys - w.id + clients - 1) / clients
	every := time.Duration(0)
	if w.s.Rate > 0 {
		every = time.Duration(float64(time.Second) * float64(clients) / w.s.Rate)
	}
	offset := every * time.Duration(w.id) / time.Duration(clients)
	for i := time.Duration(0); ctx.Err() == nil; i++ {
		from := time.Now()
		if every > 0 {
			intended := offset + i*every
			if intended >= w.s.Duration {
				return nil
			}
			if from.Sub(w.begun) > 2*w.s.Duration {
				w.unbegun += int64((w.s.Duration-intended-1)/every) + 1
				return nil
			}
			if !wait(ctx, w.begun.Add(intended)) {
				break
			}
			from = w.begun.Add(intended)
		} else if from.Sub(w.begun) >= w.s.Duration {
			return nil
		}
		switch {
		case w.s.Mix.Swaps:
			w.doSwap(ctx, from)
		case w.rng.IntN(100) < w.s.Mix.Puts:
			w.doPut(ctx, w.rng.Int64N(own)*clients+w.id, from)
		default:
			w.doGet(ctx, w.rng.Int64N(w.l.job.Keys), from, w.l.values.Belongs)
		}
	}
	return ctx.Err()
}

// wait returns at a moment; false: ctx has ended before.
func wait(ctx context.Context, at time.Time) bool {
	d := time.Until(at)
	if d <= 0 {
		return true
	}
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// fill puts each key of the client.
func (w *worker) fill(ctx context.Context) error {
	for index := w.id; index < w.l.job.Keys; index += int64(w.l.job.Clients) {
		for try := 1; !w.doPut(ctx, index, time.Now()); try++ {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if try == fillTries {
				return fmt.Errorf("fill: a put failed %d times: %s", fillTries, w.example)
			}
		}
	}
	return nil
}

// verify gets each key of the client, and compares every byte.
func (w *worker) verify(ctx context.Context) error {
	belongs := func(value []byte, index int64) bool { return w.l.values.Check(value, index) == nil }
	for index := w.id; index < w.l.job.Keys; index += int64(w.l.job.Clients) {
		w.doGet(ctx, index, time.Now(), belongs)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

// doPut writes the next version of a key. Its latency counts from a moment.
func (w *worker) doPut(ctx context.Context, index int64, from time.Time) bool {
	w.l.put[index]++
	version := w.l.put[index]
	w.l.values.Fill(w.value, index, version)
	siblings, err := w.l.target.Put(ctx, index, w.named(index), w.value)
	if err != nil {
		w.fails(ctx, true, err)
		return false
	}
	now := time.Now()
	w.l.acked[index].Store(version)
	w.puts.Record(now.Sub(from))
	w.ok++
	if siblings > 1 {
		w.created++
	}
	w.succeeded(now)
	return true
}

// doSwap makes the hot key's version one higher.
func (w *worker) doSwap(ctx context.Context, from time.Time) {
	target, ok := w.l.target.(Swapper)
	if !ok {
		w.fails(ctx, false, fmt.Errorf("%s has no compare-and-swap", w.l.job.Engine))
		return
	}
	index := w.l.hotIndex()
	tries, err := target.Update(ctx, int(w.id), w.named(index), func(old []byte) []byte {
		version := uint64(0)
		if old != nil {
			version = w.l.values.Version(old)
			if len(old) != w.l.job.ValueSize || !w.l.values.Belongs(old, index) {
				w.wrong++
			}
		}
		w.l.values.Fill(w.value, index, version+1)
		return w.value
	})
	w.retries += int64(max(0, tries-1))
	if err != nil {
		w.fails(ctx, true, err)
		return
	}
	now := time.Now()
	w.puts.Record(now.Sub(from))
	w.ok++
	w.succeeded(now)
}

// doGet reads a key and judges what comes back.
func (w *worker) doGet(ctx context.Context, index int64, from time.Time, belongs func(value []byte, index int64) bool) {
	want := w.l.acked[index].Load() // before the get begins
	var found int
	var newest uint64
	wrong := false
	err := w.l.target.Get(ctx, w.named(index), func(value []byte) {
		found++
		if len(value) != w.l.job.ValueSize || !belongs(value, index) {
			wrong = true
			return
		}
		newest = max(newest, w.l.values.Version(value))
	})
	if err != nil {
		w.fails(ctx, false, err)
		return
	}
	now := time.Now()
	w.gets.Record(now.Sub(from))
	w.ok++
	w.succeeded(now)
	switch {
	case wrong:
		w.wrong++
	case found == 0 && want > 0:
		w.missing++
	case newest < want:
		w.stale++
	}
	if found > 1 {
		w.siblings++
	}
}

// named is the key of that number. It is valid until the next call.
func (w *worker) named(index int64) []byte {
	for i := len(w.key) - 1; i >= len(w.key)-keyDigits; i-- {
		w.key[i] = byte('0' + index%10)
		index /= 10
	}
	return w.key
}

func (w *worker) succeeded(now time.Time) {
	w.gap = max(w.gap, now.Sub(w.last))
	w.last = now
}

// fails counts an error, unless the measurement itself was ended.
func (w *worker) fails(ctx context.Context, put bool, err error) {
	if ctx.Err() != nil {
		return
	}
	unknown, reason := classify(put, err)
	if unknown {
		w.unknown++
	} else {
		w.failed++
	}
	w.errors[reason]++
	if w.example == "" {
		w.example = err.Error()
	}
}
