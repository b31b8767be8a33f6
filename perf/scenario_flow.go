package perf

import (
	"context"
	"fmt"
	"time"
)

// queue keeps a tenth of the items in the queue: each operation inserts at the tail, looks for
// the head and deletes it.
func queue(ctx context.Context, s *session, _ Task) error {
	c := s.bench.Config
	backlog := max(1, c.Keys/10)
	if need := minKeySize(c.Keys + backlog); c.KeySize < need {
		return Usagef("--key-size %d: a queue of %d items needs %d bytes", c.KeySize, c.Keys, need)
	}
	insert := func(w *worker, i int64) error {
		w.key = AppendKey(w.key[:0], c.KeySize, i, false)
		w.values.Fill(w.value, i, 0)
		w.accepted += int64(len(w.key) + len(w.value))
		return w.timed(ActionPut, func() error { return s.engine.Put(w.key, w.value) })
	}
	if _, err := s.play(ctx, step{name: "queue-fill", ops: backlog, threads: 1, do: insert}); err != nil {
		return err
	}
	s.live = backlog * (int64(c.KeySize) + int64(c.ValueSize))
	pass := func(name string, from, to int64) (Phase, error) {
		return s.play(ctx, step{name: name, ops: to - from, threads: 1, do: func(w *worker, i int64) error {
			i += from
			if err := insert(w, backlog+i); err != nil {
				return err
			}
			w.key = AppendKey(w.key[:0], c.KeySize, i, false)
			var head string
			if err := w.timed(ActionFirst, func() error {
				_, err := s.engine.Scan(nil, 1, func(key, _ []byte) { head = string(key) })
				return err
			}); err != nil {
				return err
			}
			if head != string(w.key) {
				w.complain("the head of the queue is %q, want %q", head, w.key)
			}
			w.accepted += int64(len(w.key))
			return w.timed(ActionDelete, func() error { return s.engine.Delete(w.key) })
		}})
	}
	tenth := max(1, c.Keys/10)
	begin, err := pass("queue-begin", 0, tenth)
	if err != nil {
		return err
	}
	if _, err := pass("queue-middle", tenth, c.Keys-tenth); err != nil {
		return err
	}
	end, err := pass("queue-end", max(tenth, c.Keys-tenth), c.Keys)
	if err != nil {
		return err
	}
	first, last := begin.latencyOf(ActionFirst).P99, end.latencyOf(ActionFirst).P99
	s.lasting("p99 of finding the head, first tenth", first)
	s.lasting("p99 of finding the head, last tenth", last)
	slower := float64(last) / float64(max(1, first))
	s.find(Finding{Name: "last / first", Value: twoDigits(slower), Number: slower, Target: "at most 3", Met: slower <= 3, Timed: true})
	s.ratio("space at the end / live", float64(end.Space.End)/float64(max(1, s.live)), 0)
	return nil
}

// latencyOf is that of one kind of operation.
func (p Phase) latencyOf(kind ActionKind) Latency {
	for _, l := range p.Latency {
		if l.Op == kind.String() {
			return l
		}
	}
	return Latency{}
}

// burstFor is how long a burst lasts without --duration.
const burstFor = time.Minute

// burstProbe is how long the device is looked at before.
const burstProbe = 2 * time.Second

// burst finds the rate of overwrites that compaction keeps up with, doubles it, and watches.
func burst(ctx context.Context, s *session, _ Task) error {
	device, err := probeLongest(ctx, s.dir, burstProbe)
	if err != nil {
		return fmt.Errorf("probe the device: %w", err)
	}
	s.start = markProcess() // the kernel's count of those writes is not the engine's
	if _, err := s.workload(ctx, "fillrandom", func(c *Config) { c.Rate, c.Duration = 0, 0 }); err != nil {
		return err
	}
	c := s.bench.Config
	lasts := c.Duration
	if lasts == 0 {
		lasts = burstFor
	}
	steady, err := s.workload(ctx, "overwrite", func(c *Config) { c.Rate, c.Duration = 0, lasts/3 })
	if err != nil {
		return err
	}
	sustained := float64(steady.Ops) / (steady.Elapsed + steady.Settle).Seconds()
	p, err := s.workload(ctx, "overwrite", func(c *Config) { c.Rate, c.Duration = Rate(2*sustained), lasts })
	if err != nil {
		return err
	}
	rate := func(name string, v float64) {
		s.find(Finding{Name: name, Value: Count(int64(v)) + " writes/s", Number: v, Met: true})
	}
	rate("sustained, with all its compaction", sustained)
	rate("offered in the burst", 2*sustained)
	rate("performed in the burst", p.Throughput)
	s.find(Finding{
		Name: "the device's own longest 4 KiB write + sync", Number: device.longest.Seconds(), Met: true,
		Value: fmt.Sprintf("%s of %s by %s, before the run", Seconds(device.longest), Count(device.writes), device.by),
	})
	limit := device.longest + 100*time.Millisecond
	s.find(Finding{
		Name: "longest wait of a write at once", Value: Seconds(p.Slowest), Number: p.Slowest.Seconds(),
		Target: "at most 100 ms beyond the device: " + Seconds(limit), Met: p.Slowest <= limit, Timed: true,
	})
	s.lasting("stalls in all", p.Stalls.Total)
	s.lasting("recovery until settled", p.Settle)
	f := Finding{Name: "memory at the peak", Value: Bytes(p.Process.PeakRSS), Number: float64(p.Process.PeakRSS), Met: true}
	if c.Memory > 0 {
		f.Target, f.Met = "at most --memory "+c.Memory.String(), p.Process.PeakRSS <= int64(c.Memory)
	}
	s.find(f)
	return nil
}

// largeValues loads values of the configured size, which Command chooses, and overwrites twice
// as many keys as there are.
func largeValues(ctx context.Context, s *session, _ Task) error {
	load, err := s.workload(ctx, "fillrandom", nil)
	if err != nil {
		return err
	}
	over, err := s.workload(ctx, "overwrite", func(c *Config) { c.Ops = 2 * c.Keys })
	if err != nil {
		return err
	}
	c := s.bench.Config
	size := Bytes(int64(c.ValueSize))
	s.ratio(size+": write amplification of the load", load.Settled.Factor, 2.1)
	all := float64(load.Settled.Total+over.Settled.Total) / float64(load.Settled.UserBytes+over.Settled.UserBytes)
	s.ratio(size+": with two overwrites", all, 2.7)
	s.ratio(size+": space settled / live", float64(over.Space.End)/float64(over.Space.Live), 1.5)
	s.ratio(size+": space at the peak / live", float64(over.Space.Peak)/float64(over.Space.Live), 0)
	rss := max(load.Process.PeakRSS, over.Process.PeakRSS)
	f := Finding{Name: size + ": memory at the peak", Value: Bytes(rss), Number: float64(rss), Met: true}
	if c.Memory > 0 {
		limit := EngineBudget(c.Memory) + 64<<20
		f.Target, f.Met = "at most the engine's budget and 64 MiB: "+Bytes(limit), rss <= limit
	}
	s.find(f)
	return nil
}

// largeSizes are the values of large-values.
var largeSizes = []Size{64 << 10, 1 << 20, 10 << 20}

// policyStages are the policies of policy-switch, each on the directory that the one before left.
var policyStages = []string{"leveled", "tiered", "lazy", "leveled"}

// policyStage writes under one policy over what the policies before left, and checks everything.
func policyStage(ctx context.Context, s *session, _ Task) error {
	c := s.bench.Config
	if c.Engine != ownEngine {
		return errCannot{"does not switch its policy"}
	}
	if !s.holdsKeys() {
		if _, err := s.workload(ctx, "fillrandom", nil); err != nil {
			return err
		}
	} else {
		s.live = c.LiveBytes()
	}
	if _, err := s.workload(ctx, "overwrite", nil); err != nil {
		return err
	}
	checked, err := s.play(ctx, step{name: "check", ops: c.Keys, do: func(w *worker, i int64) error {
		w.key = AppendKey(w.key[:0], c.KeySize, i, false)
		var wrong error
		var found bool
		err := w.timed(ActionGet, func() (err error) {
			found, err = s.engine.Get(w.key, func(v []byte) {
				if wrong = w.values.Check(v, i); wrong == nil && len(v) != int(c.ValueSize) {
					wrong = fmt.Errorf("%d bytes", len(v))
				}
			})
			return err
		})
		switch {
		case err != nil:
			return err
		case !found:
			w.complain("get %q: not found, but it was written", w.key)
		case wrong != nil:
			w.complain("get %q: %v", w.key, wrong)
		}
		return nil
	}})
	if err != nil {
		return err
	}
	s.find(Finding{
		Name: c.Compaction + ": keys whose every byte was compared", Number: float64(checked.Ops), Value: Count(checked.Ops),
		Target: "none wrong", Met: len(checked.Problems) == 0,
	})
	return nil
}
