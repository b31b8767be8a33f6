package perf

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// measurement is everything that is read at the start of a phase and again at its end.
type measurement struct {
	s       *session
	workers []*worker
	stats   Stats
	mark    processMark
	sampler *sampler
	begun   time.Time
}

func (s *session) measure(workers []*worker) *measurement {
	m := &measurement{s: s, workers: workers, mark: markProcess(), stats: s.engine.Stats()}
	s.takeJobs(time.Now())
	resetPeakRSS()
	m.sampler = startSampler(s.engine, s.dir, m.stats, workers)
	m.begun = time.Now()
	return m
}

// finish is called when the last operation has returned. It settles the engine if settle says
// so and fills in all that does not depend on the workload.
func (m *measurement) finish(ctx context.Context, settle bool) (p Phase, err error) {
	p.Elapsed = time.Since(m.begun)
	for _, w := range m.workers {
		if !w.beside {
			p.Ops += w.done.Load()
		}
	}
	if s := p.Elapsed.Seconds(); s > 0 {
		p.Throughput = float64(p.Ops) / s
	}
	user := m.answers(&p)
	m.s.user += user

	end, now := markProcess(), m.s.engine.Stats()
	if settle {
		a := amplification(user, now.Since(m.stats).Writes, m.mark, end, m.s.fs)
		p.AtEnd = &a
		if p.Settle, err = m.s.settle(ctx); err == nil {
			end, now = markProcess(), m.s.engine.Stats()
			a := amplification(user, now.Since(m.stats).Writes, m.mark, end, m.s.fs)
			p.Settled = &a
		}
	}
	p.Series, p.Space, p.Runs = m.sampler.finish()
	p.Space.Live = m.s.live
	gained := now.Since(m.stats)
	p.Stalls, p.Reads, p.Levels, p.FlushBytes = gained.Stalls, gained.Reads, gained.Levels, now.FlushBytes
	for _, l := range p.Levels {
		p.Space.Tables += l.Bytes
	}
	p.Process = end.since(m.mark)
	p.Jobs, p.Unsaid = m.s.takeJobs(m.begun)
	return p, err
}

// keepJobs bounds the part of a report that tells of background work.
const keepJobs = 5000

// takeJobs returns the background work that ended since the last call, in the order in which it
// began, and how much was left out.
func (s *session) takeJobs(start time.Time) (jobs []Job, unsaid int) {
	teller, ok := s.engine.(Teller)
	if !ok {
		return nil, 0
	}
	for _, e := range teller.TakeJobs() {
		e.At = e.Began.Sub(start)
		jobs = append(jobs, e.Job)
	}
	if unsaid = len(jobs) - keepJobs; unsaid > 0 {
		slices.SortStableFunc(jobs, func(a, b Job) int { return cmp.Compare(b.Took, a.Took) })
		jobs = jobs[:keepJobs]
	}
	slices.SortStableFunc(jobs, func(a, b Job) int { return cmp.Compare(a.At, b.At) })
	return jobs, max(0, unsaid)
}

// answers merges what the workers recorded and returns the bytes they had accepted.
func (m *measurement) answers(p *Phase) (user int64) {
	var wrong int64
	var inWords []string
	for kind := range actionKinds {
		all := NewHistogram()
		for _, w := range m.workers {
			all.Merge(w.hist[kind])
		}
		if l := all.Summary(kind.String()); l.Count > 0 {
			p.Latency = append(p.Latency, l)
		}
	}
	for _, w := range m.workers {
		user += w.accepted
		if !w.beside {
			p.Slowest = max(p.Slowest, w.slowest)
		}
		wrong += w.wrong
		inWords = append(inWords, w.problems[:min(len(w.problems), keepProblems-len(inWords))]...)
	}
	p.Problems = append(p.Problems, inWords...)
	if more := wrong - int64(len(inWords)); more > 0 {
		p.Problems = append(p.Problems, fmt.Sprintf("and %s more wrong answers", Count(more)))
	}
	return user
}

// settle waits until the engine has nothing left to do and returns how long that took.
func (s *session) settle(ctx context.Context) (time.Duration, error) {
	bar := s.bench.bar("settling", "", 0)
	defer bar.Finish()
	start := time.Now()
	if err := s.engine.Settle(ctx); err != nil {
		return time.Since(start), fmt.Errorf("settle: %w", err)
	}
	return time.Since(start), nil
}
