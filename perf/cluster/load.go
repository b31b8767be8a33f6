package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cambiumdb/cambium/perf"
)

// Job is what a process that puts load on servers is told first.
type Job struct {
	Protocol     int           `json:"protocol"`
	Engine       string        `json:"engine"`
	Endpoints    []string      `json:"endpoints"`
	Consistency  string        `json:"consistency"`
	Clients      int           `json:"clients"`
	Keys         int64         `json:"keys"`
	Prefix       string        `json:"prefix"` // of all keys
	ValueSize    int           `json:"value_size"`
	Compressible float64       `json:"compressible"`
	Timeout      time.Duration `json:"timeout_ns"` // of each operation
	Seed         uint64        `json:"seed"`
}

// The kinds of steps.
const (
	doFill   = "fill"   // put every key once
	doLoad   = "load"   // what Mix, Rate and Duration say
	doVerify = "verify" // get every key once; what is acknowledged must be there
)

// Step is what the clients do next.
type Step struct {
	Do       string        `json:"do"`
	Mix      Mix           `json:"mix"`
	Rate     float64       `json:"rate,omitempty"` // operations a second, an open loop; 0: a closed loop
	Duration time.Duration `json:"duration_ns,omitempty"`
	Number   uint64        `json:"number"`            // names the stream of operations
	Profile  string        `json:"profile,omitempty"` // file for a CPU profile of the clients
}

// Load is what became of a step.
type Load struct {
	Step
	Elapsed    time.Duration `json:"elapsed_ns"`
	OK         int64         `json:"ok"`
	Failed     int64         `json:"failed"`  // and known to have done nothing
	Unknown    int64         `json:"unknown"` // puts
	Unbegun    int64         `json:"unbegun"` // of an open loop that fell behind for as long as it was to last
	Throughput float64       `json:"throughput"`

	Puts *perf.Latency `json:"puts,omitempty"` // of those that succeeded
	Gets *perf.Latency `json:"gets,omitempty"`

	Retries   int64            `json:"retries,omitempty"` // compare-and-swaps that met another value
	Siblings  int64            `json:"siblings"`          // gets that found several values
	Created   int64            `json:"created"`           // puts after which there were several values
	Stale     int64            `json:"stale"`             // gets that found only values older than one acknowledged before
	Missing   int64            `json:"missing"`           // gets that found no value, though one was acknowledged
	Wrong     int64            `json:"wrong"`             // gets that found something else
	Gap       time.Duration    `json:"gap_ns"`            // the longest without a success of the client that had the longest
	MedianGap time.Duration    `json:"median_gap_ns"`     // of the client in the middle
	Errors    map[string]int64 `json:"errors"`            // by reason
	Example   string           `json:"example,omitempty"` // one error in full
	ClientCPU time.Duration    `json:"client_cpu_ns"`
}

// ops are the operations that succeeded, for figures for each.
func (l Load) ops() float64 { return float64(max(1, l.OK)) }

// loader puts load on a target and remembers what has been acknowledged.
type loader struct {
	job    Job
	target Target
	values perf.Values
	hot    uint64          // the version of the hot key before the step
	put    []uint64        // by key: the last version that was begun; of the key's client
	acked  []atomic.Uint64 // by key: the last version that was acknowledged
}

func newLoader(job Job, target Target) *loader {
	return &loader{
		job: job, target: target, values: perf.NewValues(job.Seed, job.Compressible),
		put: make([]uint64, job.Keys), acked: make([]atomic.Uint64, job.Keys),
	}
}

// run performs a step with all clients.
func (l *loader) run(ctx context.Context, s Step) (Load, error) {
	do := map[string]func(*worker, context.Context) error{doFill: (*worker).fill, doLoad: (*worker).load, doVerify: (*worker).verify}[s.Do]
	if do == nil {
		return Load{}, fmt.Errorf("step %q is not known", s.Do)
	}
	if s.Mix.Swaps {
		var err error
		if l.hot, err = l.readHot(ctx); err != nil {
			return Load{}, err
		}
	}
	profiled, err := profileSelf(s.Profile)
	if err != nil {
		return Load{}, err
	}
	cpu, _ := cpuTime(os.Getpid())
	begun := time.Now()
	workers := make([]*worker, l.job.Clients)
	g, gctx := errgroup.WithContext(ctx)
	for i := range workers {
		w := newWorker(l, s, i, begun)
		workers[i] = w
		g.Go(func() error {
			err := do(w, gctx)
			w.succeeded(time.Now()) // the gap may last until the end
			return err
		})
	}
	if err := errors.Join(g.Wait(), profiled()); err != nil {
		return Load{}, err
	}
	load := Load{Step: s, Elapsed: time.Since(begun), Errors: map[string]int64{}}
	now, _ := cpuTime(os.Getpid())
	load.ClientCPU = now - cpu
	sum(&load, workers)
	load.Throughput = float64(load.OK) / load.Elapsed.Seconds()
	return load, l.count(ctx, &load)
}

// hotIndex is the number of the key that all clients increment.
func (l *loader) hotIndex() int64 { return l.job.Keys }

// readHot returns the version of the hot key, 0 where it is not there.
func (l *loader) readHot(ctx context.Context) (version uint64, err error) {
	w := newWorker(l, Step{}, 0, time.Now())
	err = l.target.Get(ctx, w.named(l.hotIndex()), func(value []byte) {
		if len(value) == l.job.ValueSize {
			version = l.values.Version(value)
		}
	})
	return version, err
}

// count compares the hot key with the increments that were acknowledged, and those of which nobody knows.
func (l *loader) count(ctx context.Context, load *Load) error {
	if !load.Mix.Swaps {
		return nil
	}
	hot, err := l.readHot(ctx)
	if least := l.hot + uint64(load.OK); hot < least || hot > least+uint64(load.Unknown) {
		load.Wrong++
	}
	return err
}

// sum adds up what the clients counted.
func sum(load *Load, workers []*worker) {
	puts, gets := perf.NewHistogram(), perf.NewHistogram()
	gaps := make([]time.Duration, 0, len(workers))
	for _, w := range workers {
		puts.Merge(w.puts)
		gets.Merge(w.gets)
		gaps = append(gaps, w.gap)
		load.OK += w.ok
		load.Failed += w.failed
		load.Unknown += w.unknown
		load.Unbegun += w.unbegun
		load.Retries += w.retries
		load.Siblings += w.siblings
		load.Created += w.created
		load.Stale += w.stale
		load.Missing += w.missing
		load.Wrong += w.wrong
		for reason, n := range w.errors {
			load.Errors[reason] += n
		}
		if load.Example == "" {
			load.Example = w.example
		}
	}
	slices.Sort(gaps)
	load.Gap, load.MedianGap = gaps[len(gaps)-1], gaps[len(gaps)/2]
	for _, f := range []struct {
		op   string
		h    perf.Histogram
		into **perf.Latency
	}{{"put", puts, &load.Puts}, {"get", gets, &load.Gets}} {
		if l := f.h.Summary(f.op); l.Count > 0 {
			l.Curve = nil
			*f.into = &l
		}
	}
}
