package perf

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// Finding is a figure that a scenario is about.
type Finding struct {
	Name   string  `json:"name"`
	Value  string  `json:"value"`            // for people
	Number float64 `json:"number"`           // in base units: seconds, bytes, ratios
	Target string  `json:"target,omitempty"` // what it should be; "" for a fact
	Met    bool    `json:"met"`              // true where there is no target
	Timed  bool    `json:"timed,omitempty"`  // whether it is met depends on the machine's speed
}

// Scenario is a situation that engines get into, and what should then hold.
type Scenario struct {
	Name  string
	About string // one line for help texts
	play  func(ctx context.Context, s *session, task Task) error
}

// Scenarios lists all there are, in the order in which help texts show them.
func Scenarios() []*Scenario {
	return []*Scenario{
		{"ttl-churn", "every key with a --ttl: nothing expired is ever read, and idle time gives the space back", ttlChurn},
		{"queue", "insert at the tail, delete at the head: finding the head stays fast", queue},
		{"delete-all", "delete every key: idle time gives the space back", deleteAll},
		{"snapshot-pinned", "hold a snapshot while everything is overwritten: exact reads, and space comes back", snapshotPinned},
		{"burst", "writes at twice the rate that can be sustained, for --duration (60s): waits and recovery", burst},
		{"large-values", "values of 64 KiB, 1 MiB and 10 MiB, as many bytes as --keys and --value-size make, overwritten twice", largeValues},
		{"policy-switch", "leveled, tiered, lazy, leveled on one directory, with writes and checks at each stage", policyStage},
	}
}

// FindScenarios looks up names, which may be lists separated by commas.
func FindScenarios(names ...string) ([]*Scenario, error) {
	var out []*Scenario
	for _, list := range names {
		for _, name := range splitList(list) {
			found := false
			known := ""
			for _, s := range Scenarios() {
				known += " " + s.Name
				if s.Name == name {
					out, found = append(out, s), true
				}
			}
			if !found {
				return nil, Usagef("no scenario is called %q: there are%s", name, known)
			}
		}
	}
	if out == nil {
		return nil, Usagef("no scenario named: try queue,delete-all")
	}
	return out, nil
}

// errCannot is a scenario's answer where the engine lacks what it is about.
type errCannot struct{ what string }

func (e errCannot) Error() string { return e.what }

// Scenario plays the one scenario that task names in dir. An engine that lacks what it is about
// gets a finding that says so.
func (b *Bench) Scenario(ctx context.Context, dir string, task Task) (Run, error) {
	found, err := FindScenarios(task.Names...)
	if err != nil {
		return Run{}, err
	}
	s, err := b.begin(dir)
	if err != nil {
		return Run{}, err
	}
	s.run.Scenario = found[0].Name
	s.rounds = task.Stage << 8
	err = found[0].play(ctx, s, task)
	var cannot errCannot
	if errors.As(err, &cannot) {
		s.find(Finding{Name: "not possible", Value: b.Config.Engine + " " + cannot.what, Met: true})
		err = nil
	}
	run, err := s.end(err)
	if err == nil {
		run.Findings = append(run.Findings, rocksDBOpinion(ctx, b.Config.Engine, dir)...)
	}
	return run, err
}

// rocksDBOpinion asks RocksDB's ldb, where it is installed, whether the directory is consistent.
func rocksDBOpinion(ctx context.Context, engine, dir string) []Finding {
	ldb, err := exec.LookPath("ldb")
	if engine != ownEngine || err != nil {
		return nil
	}
	out, err := exec.CommandContext(ctx, ldb, "--db="+dir, "checkconsistency").CombinedOutput()
	f := Finding{Name: "ldb checkconsistency", Value: "OK", Target: "no error", Met: err == nil, Number: 1}
	if err != nil {
		f.Value, f.Number = fmt.Sprintf("%v: %.200s", err, out), 0
	}
	return []Finding{f}
}

func (s *session) find(f Finding) { s.run.Findings = append(s.run.Findings, f) }

// ratio adds a finding that should be at most limit (0: a fact).
func (s *session) ratio(name string, value, limit float64) {
	f := Finding{Name: name, Value: fmt.Sprintf("%.2f", value), Number: value, Met: true}
	if limit > 0 {
		f.Target = fmt.Sprintf("at most %g", limit)
		f.Met = value <= limit
	}
	s.find(f)
}

// lasting adds a finding that is a time.
func (s *session) lasting(name string, took time.Duration) {
	s.find(Finding{Name: name, Value: Seconds(took), Number: took.Seconds(), Met: true})
}

// spaceBack adds the finding that little of the peak is left.
func (s *session) spaceBack(left, peak int64, after time.Duration) {
	share := float64(left) / float64(max(1, peak))
	s.find(Finding{
		Name: "space left", Number: share, Target: "below 2 % of the peak", Met: share < 0.02,
		Value: fmt.Sprintf("%s of %s at the peak: %.2f %%, %s after the last call", Bytes(left), Bytes(peak), 100*share, Seconds(after)),
	})
}

// step performs ops operations with the configured threads and reports them as a phase called
// name. 0 operations measure what happens until wait returns.
type step struct {
	name    string
	ops     int64
	threads int // 0: as configured
	settle  bool
	do      func(w *worker, i int64) error
	wait    func(ctx context.Context) error
}

func (s *session) play(ctx context.Context, st step) (Phase, error) {
	threads := st.threads
	if threads == 0 {
		threads = s.bench.Config.Threads
	}
	workers := make([]*worker, threads)
	for i := range workers {
		workers[i] = s.worker(i, s.bench.Config, nil, false)
	}
	bar := s.bench.bar(st.name, "ops", st.ops)
	stop := follow(bar, &tickets{}, workers)
	m := s.measure(workers)
	var next atomic.Int64
	g, gctx := errgroup.WithContext(ctx)
	for _, w := range workers {
		g.Go(func() error {
			for gctx.Err() == nil {
				i := next.Add(1) - 1
				if i >= st.ops {
					return nil
				}
				if err := st.do(w, i); err != nil {
					return fmt.Errorf("operation %d: %w", i, err)
				}
			}
			return gctx.Err()
		})
	}
	err := g.Wait()
	if err == nil && st.wait != nil {
		err = st.wait(ctx)
	}
	stop()
	if err != nil {
		m.sampler.finish()
		return Phase{}, fmt.Errorf("%s: %w", st.name, err)
	}
	p, err := m.finish(ctx, st.settle)
	if err != nil {
		return p, fmt.Errorf("%s: %w", st.name, err)
	}
	p.Workload, p.Loop, p.Threads = st.name, "closed", threads
	s.report(p)
	return p, nil
}

// timed performs one operation and records it.
func (w *worker) timed(kind ActionKind, do func() error) error {
	begun := time.Now()
	if err := do(); err != nil {
		return fmt.Errorf("%s %q: %w", kind, w.key, err)
	}
	took := time.Since(begun)
	w.slowest = max(w.slowest, took)
	w.record(kind, took)
	return nil
}

// workload runs one of the named workloads as a phase, with change made to the configuration.
func (s *session) workload(ctx context.Context, name string, change func(c *Config)) (Phase, error) {
	w, err := FindWorkloads(name)
	if err != nil {
		return Phase{}, err
	}
	was := s.bench
	changed := *was
	if change != nil {
		change(&changed.Config)
	}
	s.bench = &changed
	defer func() { s.bench = was }()
	p, err := s.phase(ctx, w[0], s.rounds+len(s.run.Phases))
	if err != nil {
		return p, fmt.Errorf("%s: %w", name, err)
	}
	s.report(p)
	return p, nil
}

// waitForSpace returns when the directory is below 2 % of peak or idle has passed, without a
// call to the engine. It returns what is left and how long that took.
func (s *session) waitForSpace(ctx context.Context, peak int64, idle time.Duration) (left int64, took time.Duration, err error) {
	begun := time.Now()
	for {
		left, took = diskUsage(s.dir), time.Since(begun)
		if float64(left) < 0.02*float64(peak) || took >= idle {
			return left, took, nil
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return left, took, ctx.Err()
		}
	}
}

// nothingLeft counts what a scan of everything still meets.
func (s *session) nothingLeft() error {
	n, err := s.engine.Scan(nil, math.MaxInt, func(_, _ []byte) {})
	if err == nil && n > 0 {
		s.run.Problems = append(s.run.Problems, fmt.Sprintf("a scan of everything meets %s keys, all of which are gone", Count(int64(n))))
	}
	return err
}

// Findings prints what a scenario found.
func (t *Text) Findings(run Run) {
	if len(run.Findings) == 0 {
		return
	}
	width := 0
	for _, f := range run.Findings {
		width = max(width, len(f.Name))
	}
	t.printf("%s\n", t.paint(bold, "Findings: "+run.Name))
	for _, f := range run.Findings {
		verdict := ""
		switch {
		case f.Target == "":
		case f.Met:
			verdict = "  (" + f.Target + ": " + t.paint(green, "met") + ")"
		default:
			verdict = "  (" + f.Target + ": " + t.paint(red, "MISSED") + ")"
		}
		t.printf("  %-*s  %s%s\n", width, f.Name, f.Value, verdict)
	}
	t.printf("\n")
}
