package perf

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sync/errgroup"
)

// Bench runs sequences of workloads against one engine.
type Bench struct {
	Open   Opener
	Config Config
	// Progress starts a bar for a step of that many operations (0: unknown); nil shows nothing.
	Progress func(label, unit string, total int64) *Progress
	// Done is told each phase when it is over; may be nil.
	Done func(Phase)
}

// Run opens an engine in dir, performs the workloads in order and closes it. A sequence that
// begins with reads in a directory without this configuration's keys gets a fillrandom in
// front. Wrong answers and a ledger that disagrees with the kernel are in the result's problems;
// the error is for what kept the measurement from finishing.
func (b *Bench) Run(ctx context.Context, dir string, workloads []*Workload) (Run, error) {
	s, err := b.begin(dir)
	if err != nil {
		return Run{}, err
	}
	err = s.sequence(ctx, workloads)
	return s.end(err)
}

// YCSB loads the records in a new directory and performs core workloads in order. What D and E
// insert stays for those that follow.
func (b *Bench) YCSB(ctx context.Context, dir string, workloads []*Workload) (Run, error) {
	if used := diskUsage(dir); used > 0 {
		return Run{}, Usagef("%s holds %s already: ycsb wants a new directory", dir, Bytes(used))
	}
	if b.Config.KeySize < hashedKeySize {
		return Run{}, Usagef("--key-size %d: keys of YCSB records need at least %d bytes", b.Config.KeySize, hashedKeySize)
	}
	s, err := b.begin(dir)
	if err != nil {
		return Run{}, err
	}
	return s.end(s.perform(ctx, append([]*Workload{ycsbLoad}, workloads...)))
}

// session is an open engine between its first and last phase.
type session struct {
	bench   *Bench
	engine  Engine
	dir     string
	fs      string
	start   processMark
	user    int64    // bytes accepted so far
	live    int64    // bytes that can be read now
	records int64    // of hashed keys: how many there are
	rounds  int      // added to a scenario's rounds
	buffers [][]byte // of the workers, for values
	run     Run
}

func (b *Bench) begin(dir string) (*session, error) {
	if err := b.Config.Validate(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("make benchmark directory: %w", err)
	}
	s := &session{bench: b, dir: dir, start: markProcess()}
	s.fs, _, _ = fileSystem(dir)
	s.run = Run{Name: b.Config.name(), Config: b.Config}
	var err error
	if s.engine, err = b.Open(dir, b.Config); err != nil {
		return nil, err
	}
	return s, nil
}

// end closes the engine and sums the run up.
func (s *session) end(err error) (Run, error) {
	if err == nil {
		s.run.Whole.Writes = amplification(s.user, s.engine.Stats().Writes, s.start, markProcess(), s.fs)
		if p := s.run.Whole.Writes.Problem(); p != "" {
			s.run.Problems = append(s.run.Problems, s.run.Name+": "+p)
		}
		for _, p := range s.run.Phases {
			s.run.Whole.PeakRSS = max(s.run.Whole.PeakRSS, p.Process.PeakRSS)
		}
	}
	return s.run, errors.Join(err, s.engine.Close())
}

func (s *session) sequence(ctx context.Context, workloads []*Workload) error {
	present := s.holdsKeys()
	if present {
		s.live = s.bench.Config.LiveBytes()
	} else if len(workloads) > 0 && !workloads[0].Fill {
		fill, err := FindWorkloads("fillrandom")
		if err != nil {
			return err
		}
		workloads = append(fill, workloads...)
	}
	return s.perform(ctx, workloads)
}

// perform runs phases in order.
func (s *session) perform(ctx context.Context, workloads []*Workload) error {
	for round, w := range workloads {
		p, err := s.phase(ctx, w, round)
		if err != nil {
			return fmt.Errorf("%s: %w", w.Name, err)
		}
		s.report(p)
		if s.bench.Config.Rate != AutoRate || w.Fill {
			continue
		}
		if p, err = s.openPhase(ctx, w, round+len(workloads), p); err != nil {
			return fmt.Errorf("%s: %w", w.Name, err)
		}
		s.report(p)
	}
	return nil
}

// openPhase runs w again at a rate that the closed phase before says the engine can keep.
func (s *session) openPhase(ctx context.Context, w *Workload, round int, closed Phase) (Phase, error) {
	was := s.bench
	defer func() { s.bench = was }()
	open := *was
	open.Config.Rate = Rate(max(1, openShare*closed.Throughput))
	open.Config.Ops = max(1, closed.Ops/3)
	s.bench = &open
	p, err := s.phase(ctx, w, round)
	p.Workload += "-open"
	return p, err
}

// report adds a finished phase to the run.
func (s *session) report(p Phase) {
	s.run.Phases = append(s.run.Phases, p)
	if s.bench.Done != nil {
		s.bench.Done(p)
	}
}

// holdsKeys looks for a sample of this configuration's keys.
func (s *session) holdsKeys() bool {
	c := s.bench.Config
	values := NewValues(c.Seed, c.Compressible)
	for i := range int64(16) {
		index := i * (c.Keys - 1) / 15
		ok := false
		found, err := s.engine.Get(AppendKey(nil, c.KeySize, index, false), func(v []byte) {
			ok = len(v) == int(c.ValueSize) && values.Belongs(v, index)
		})
		if err != nil || !found || !ok {
			return false
		}
	}
	return true
}

// phase runs one workload, settles if it wrote, and reports both moments.
func (s *session) phase(ctx context.Context, w *Workload, round int) (Phase, error) {
	c := s.bench.Config
	if s.records == 0 {
		s.records = c.Keys
	}
	stream := w.streamOver(c, round, s.records)
	main := &tickets{stream: stream, ops: w.Ops(c), rate: float64(max(0, c.Rate)), hashed: w.Hashed}
	if w.inserts {
		main.records = newInserted(s.records)
	}
	if c.Duration > 0 && !w.Fill && w.fixed == 0 {
		main.ops, main.deadline = 0, c.Duration
	}
	workers := make([]*worker, 0, c.Threads+1)
	for i := range c.Threads {
		workers = append(workers, s.worker(i, c, main, false))
	}
	var side *tickets
	if w.Beside != nil {
		side = &tickets{stream: w.Beside.Stream(c, round)}
		workers = append(workers, s.worker(c.Threads, c, side, true))
	}

	m := s.measure(workers)
	main.start = m.begun
	if side != nil {
		side.start = m.begun
	}
	if err := s.operate(ctx, w.Name, main, side, workers); err != nil {
		m.sampler.finish()
		return Phase{}, err
	}
	if w.Fill {
		s.live = c.LiveBytes()
	}
	if w.inserts {
		s.live += (main.records.count() - s.records) * (int64(c.KeySize) + int64(c.ValueSize))
		s.records = main.records.count()
	}
	p, err := m.finish(ctx, w.Writes)
	p.Workload = w.Name
	p.Threads = c.Threads
	p.StreamHash = fmt.Sprintf("%016x", stream.Hash(hashedOps))
	p.Loop = "closed"
	if c.Rate > 0 {
		p.Loop, p.Rate = "open", float64(c.Rate)
	}
	return p, err
}

// hashedOps is how many operations Phase.StreamHash covers, whatever the workload's length.
const hashedOps = 1 << 14

// operate lets the workers do the operations; those beside end with the others.
func (s *session) operate(ctx context.Context, label string, main, side *tickets, workers []*worker) error {
	bar := s.bench.bar(label, "ops", main.ops)
	stop := follow(bar, main, workers)
	defer stop()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		own, ctx := errgroup.WithContext(ctx)
		for _, w := range workers {
			if !w.beside {
				own.Go(func() error { return w.run(ctx) })
			}
		}
		err := own.Wait()
		if side != nil {
			side.over.Store(true)
		}
		return err
	})
	for _, w := range workers {
		if w.beside {
			g.Go(func() error { return w.run(ctx) })
		}
	}
	return g.Wait()
}

func (b *Bench) bar(label, unit string, total int64) *Progress {
	if b.Progress == nil {
		return nil
	}
	return b.Progress(label, unit, total)
}

// follow feeds bar from the workers' own counters, so that the workers share nothing.
func follow(bar *Progress, main *tickets, workers []*worker) (stop func()) {
	if bar == nil {
		return func() {}
	}
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		var shown int64
		for {
			select {
			case <-tick.C:
				var n int64
				for _, w := range workers {
					if !w.beside {
						n += w.done.Load()
					}
				}
				bar.Add(n - shown)
				shown = n
				if main.deadline > 0 {
					bar.At(int64(time.Since(main.start)), int64(main.deadline))
				}
			case <-quit:
				return
			}
		}
	}()
	return func() {
		close(quit)
		<-done
		bar.Finish()
	}
}
