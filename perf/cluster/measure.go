package cluster

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/cambiumdb/cambium/perf"
)

// measuring is an engine in one round.
type measuring struct {
	*bench
	servers *servers
	clients *clients
	run     Run
	number  uint64 // of steps so far
}

// steps fills every key once and then measures each mix.
func (m *measuring) steps(ctx context.Context) error {
	if _, err := m.do(ctx, Step{Do: doFill}); err != nil {
		return err
	}
	for _, mix := range m.cfg.Mixes {
		if _, err := m.do(ctx, Step{Do: doLoad, Mix: mix, Duration: min(warmup, m.cfg.Duration)}); err != nil {
			return err
		}
		rate := m.cfg.Rate
		if rate == HalfRate {
			full, err := m.step(ctx, mix, 0, nil)
			if err != nil {
				return err
			}
			rate = Rate(full / 2)
		}
		if _, err := m.step(ctx, mix, float64(rate), m.cfg.Chaos); err != nil {
			return err
		}
	}
	return nil
}

func (m *measuring) do(ctx context.Context, s Step) (Load, error) {
	m.number++
	s.Number = m.number
	load, err := m.clients.do(ctx, s)
	if err == nil {
		err = m.servers.check()
	}
	return load, err
}

// step measures a mix, with what is done to servers meanwhile, and returns the throughput.
func (m *measuring) step(ctx context.Context, mix Mix, rate float64, chaos []Event) (float64, error) {
	got := Measured{Name: stepName(mix, rate, m.cfg.Rate)}
	before, known := m.servers.cpu()
	g, gctx := errgroup.WithContext(ctx)
	ended := make(chan struct{})
	g.Go(func() error { return m.disturb(gctx, moments(chaos, m.cfg.Duration), ended) })
	s := Step{Do: doLoad, Mix: mix, Rate: rate, Duration: m.cfg.Duration}
	if m.profile != "" {
		s.Profile = m.profileName(got.Name, "clients")
		m.profileServers(gctx, g, got.Name, ended)
	}
	var err error
	got.Load, err = m.do(ctx, s)
	close(ended)
	if other := g.Wait(); err == nil {
		err = other
	}
	if err != nil {
		return 0, err
	}
	if after, ok := m.servers.cpu(); known && ok {
		used := after - before
		got.ServerCPU = &used
	}
	if len(chaos) > 0 {
		if got.Recovery, err = m.recover(ctx); err != nil {
			return 0, err
		}
	}
	m.say("  %-9s %s/s, p99 %s\n", got.Name, perf.Count(int64(got.Throughput)), perf.Seconds(got.main().P99))
	m.run.Steps = append(m.run.Steps, got)
	return got.Throughput, nil
}

// stepName tells a step's closed loop from its open one where both are measured.
func stepName(mix Mix, rate float64, asked Rate) string {
	if asked == HalfRate && rate > 0 {
		return mix.Name + "-half"
	}
	return mix.Name
}

// disturb does to servers what is planned, until the load has ended.
func (m *measuring) disturb(ctx context.Context, plan []moment, ended <-chan struct{}) error {
	begun := time.Now()
	for _, next := range plan {
		select {
		case <-time.After(time.Until(begun.Add(next.at))):
		case <-ended:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		m.say("  %s %s\n", next.do, next.node)
		if err := m.servers.apply(ctx, next); err != nil {
			return err
		}
	}
	return nil
}

// recover has all servers serve again, waits until they hold the same, and reads everything.
func (m *measuring) recover(ctx context.Context) (*Recovery, error) {
	if err := m.servers.recover(ctx); err != nil {
		return nil, err
	}
	r := &Recovery{}
	if m.run.Engine == Own {
		if err := awaitConvergence(ctx, m.servers.endpoints(), r); err != nil {
			return nil, err
		}
	}
	load, err := m.do(ctx, Step{Do: doVerify})
	if err != nil {
		return nil, err
	}
	r.Lost, r.Siblings = load.Stale+load.Missing+load.Wrong+load.Failed, load.Siblings
	return r, nil
}
