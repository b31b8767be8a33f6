package perf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"time"

	"golang.org/x/sync/errgroup"
)

// Load puts every pair of a data set into an engine in dir in the order of the set (a later
// pair replaces an earlier one of the same key), settles, and reads all of them back. With
// verify every byte that comes back is compared with the set, and a scan must meet each key
// once, in order, and nothing else. open is called once for each pass. About 40 bytes of memory
// a key are used to know which pair of a key is the last one.
func (b *Bench) Load(ctx context.Context, dir string, open func() (PairSource, error), verify bool) (Run, error) {
	s, err := b.begin(dir)
	if err != nil {
		return Run{}, err
	}
	l := &loader{session: s, open: open, verify: verify, seed: maphash.MakeSeed(), last: map[uint64]lastPair{}}
	for _, step := range []func(context.Context) error{l.load, l.readBack} {
		if err = step(ctx); err != nil {
			break
		}
	}
	return s.end(err)
}

type lastPair struct{ ordinal, bytes int64 }

type loader struct {
	*session
	open   func() (PairSource, error)
	verify bool
	fresh  bool // the directory was empty
	seed   maphash.Seed
	// last says which pair of the set holds a key's final value, by a hash of the key. Two keys
	// with the same hash share an entry; then the earlier one goes unverified.
	last map[uint64]lastPair
}

// job is a pair on its way to the worker that owns its key.
type job struct {
	Pair
	ordinal int64
}

const jobsTogether = 128

func (l *loader) load(ctx context.Context) error {
	n, err := l.engine.Scan(nil, 1, func(_, _ []byte) {})
	if err != nil {
		return fmt.Errorf("load: %w", err)
	}
	l.fresh = n == 0
	note := func(hash uint64, j job) bool {
		bytes := int64(len(j.Key) + len(j.Value))
		l.live += bytes - l.last[hash].bytes
		l.last[hash] = lastPair{ordinal: j.ordinal, bytes: bytes}
		return true
	}
	put := func(w *worker, j job) error {
		begun := time.Now()
		if err := l.engine.Put(j.Key, j.Value); err != nil {
			return fmt.Errorf("put %q: %w", j.Key, err)
		}
		w.record(ActionPut, time.Since(begun))
		w.accepted += int64(len(j.Key) + len(j.Value))
		return nil
	}
	return l.pass(ctx, "load", true, note, put)
}

func (l *loader) readBack(ctx context.Context) error {
	isLast := func(hash uint64, j job) bool { return l.last[hash].ordinal == j.ordinal }
	get := func(w *worker, j job) error {
		same := false
		begun := time.Now()
		found, err := l.engine.Get(j.Key, func(v []byte) { same = !l.verify || bytes.Equal(v, j.Value) })
		if err != nil {
			return fmt.Errorf("get %q: %w", j.Key, err)
		}
		w.record(ActionGet, time.Since(begun))
		switch {
		case !found:
			w.complain("get %q: not found, but it was loaded", j.Key)
		case !same:
			w.complain("get %q: the value is not the one that was loaded", j.Key)
		}
		return nil
	}
	if err := l.pass(ctx, "readback", false, isLast, get); err != nil || !l.verify {
		return err
	}
	return l.scanAll()
}

// pass streams the set once: choose decides in the set's order, in one goroutine, which pairs
// are used; do handles them in the worker that owns the key, so that pairs of one key keep
// their order.
func (l *loader) pass(ctx context.Context, name string, writes bool, choose func(hash uint64, j job) bool, do func(w *worker, j job) error) error {
	source, err := l.open()
	if err != nil {
		return err
	}
	defer source.Close()

	threads := l.bench.Config.Threads
	workers := make([]*worker, threads)
	queues := make([]chan []job, threads)
	for i := range workers {
		workers[i] = l.worker(i, l.bench.Config, nil, false)
		queues[i] = make(chan []job, 4)
	}
	m := l.measure(workers)
	bar := l.bench.bar(name, "pairs", 0)
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer func() {
			for _, q := range queues {
				close(q)
			}
		}()
		return l.feed(gctx, source, bar, queues, choose)
	})
	for i, w := range workers {
		g.Go(func() error {
			for jobs := range queues[i] {
				for _, j := range jobs {
					if err := do(w, j); err != nil {
						return err
					}
				}
			}
			return nil
		})
	}
	err = g.Wait()
	bar.Finish()
	if err != nil {
		m.sampler.finish()
		return fmt.Errorf("%s: %w", name, err)
	}
	p, err := m.finish(ctx, writes)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	p.Workload, p.Loop, p.Threads = name, "closed", threads
	l.report(p)
	return nil
}

// feed reads the set and deals its pairs to the queues of the workers that own their keys.
func (l *loader) feed(ctx context.Context, source PairSource, bar *Progress, queues []chan []job, choose func(uint64, job) bool) error {
	pending := make([][]job, len(queues))
	send := func(i int) error {
		select {
		case queues[i] <- pending[i]:
			pending[i] = nil
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var ordinal int64
	for {
		pair, err := source.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		ordinal++
		bar.Add(1)
		bar.At(source.Position())
		hash := maphash.Bytes(l.seed, pair.Key)
		j := job{Pair: pair, ordinal: ordinal}
		if !choose(hash, j) {
			continue
		}
		i := int(hash % uint64(len(queues)))
		if pending[i] = append(pending[i], j); len(pending[i]) == jobsTogether {
			if err := send(i); err != nil {
				return err
			}
		}
	}
	for i := range pending {
		if err := send(i); err != nil {
			return err
		}
	}
	l.run.DataSet = &DataSet{Pairs: ordinal, Keys: int64(len(l.last)), Bytes: l.live}
	return nil
}

// scanAll walks the whole engine: every key once, in order, as many as were loaded.
func (l *loader) scanAll() error {
	var last []byte
	disorder := false
	n, err := l.engine.Scan(nil, math.MaxInt, func(key, _ []byte) {
		disorder = disorder || last != nil && bytes.Compare(last, key) >= 0
		last = append(last[:0], key...)
	})
	if err != nil {
		return fmt.Errorf("scan of everything: %w", err)
	}
	if disorder {
		l.run.Problems = append(l.run.Problems, "scan of everything: keys are out of order or met twice")
	}
	if keys := len(l.last); l.fresh && n != keys {
		l.run.Problems = append(l.run.Problems, fmt.Sprintf("scan of everything: met %s keys, %s were loaded", Count(int64(n)), Count(int64(keys))))
	}
	l.run.DataSet.Verified = len(l.run.problems()) == 0
	return nil
}
