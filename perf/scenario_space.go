package perf

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// ttlSlack is how far from its exact moment an expiry may be seen: the resolution of a TTL and
// the difference between two readings of the clock.
const ttlSlack = 3 * time.Millisecond

// ttlChurn writes every key with a TTL while it reads what it wrote before, then waits.
func ttlChurn(ctx context.Context, s *session, task Task) error {
	expirer, ok := s.engine.(Expirer)
	if !ok {
		return errCannot{"has no time to live that kvbench can use"}
	}
	c := s.bench.Config
	order := newPermutation(c.Keys, saltOf(c.Seed, "order"))
	salt := saltOf(c.Seed, "ttl reads")
	// When the put of key order.at(i) began and ended, since start; ended is 0 before it has.
	began, ended := make([]int64, c.Keys), make([]atomic.Int64, c.Keys)
	start := time.Now()
	read := func(w *worker, i int64) error {
		written := time.Duration(ended[i].Load())
		if written == 0 {
			return nil // another thread is at it
		}
		w.key = AppendKey(w.key[:0], c.KeySize, order.at(i), false)
		w.index, w.bad = order.at(i), false
		asked := time.Since(start)
		var found bool
		err := w.timed(ActionGet, func() (err error) {
			found, err = s.engine.Get(w.key, w.onGet)
			return err
		})
		switch answered := time.Since(start); {
		case err != nil:
			return err
		case found && w.bad:
			w.complain("get %q: the value is not the one of this key", w.key)
		case found && asked > written+task.TTL+ttlSlack:
			w.complain("get %q: found %s after it expired", w.key, asked-written-task.TTL)
		case !found && answered < time.Duration(began[i])+task.TTL-ttlSlack:
			w.complain("get %q: not found %s before it expires", w.key, time.Duration(began[i])+task.TTL-answered)
		}
		return nil
	}
	write := func(w *worker, i int64) error {
		w.key = AppendKey(w.key[:0], c.KeySize, order.at(i), false)
		w.values.Fill(w.value, order.at(i), 0)
		began[i] = int64(time.Since(start))
		if err := w.timed(ActionPut, func() error { return expirer.PutTTL(w.key, w.value, task.TTL) }); err != nil {
			return err
		}
		ended[i].Store(max(1, int64(time.Since(start))))
		w.accepted += int64(len(w.key) + len(w.value))
		if i%4 == 3 {
			return read(w, below(draw(salt, i), i+1))
		}
		return nil
	}
	p, err := s.play(ctx, step{name: "ttl-write", ops: c.Keys, do: write})
	if err != nil {
		return err
	}
	peak := p.Space.Peak
	last := start.Add(time.Duration(ended[c.Keys-1].Load()) + task.TTL + 2*ttlSlack)
	var left int64
	var took time.Duration
	p, err = s.play(ctx, step{name: "ttl-idle", wait: func(ctx context.Context) error {
		if !waitUntil(ctx, last) {
			return ctx.Err()
		}
		var err error
		left, took, err = s.waitForSpace(ctx, peak, task.Idle)
		return err
	}})
	if err != nil {
		return err
	}
	s.spaceBack(left, max(peak, p.Space.Peak), took)
	sample := min(c.Keys, sampleGets)
	if _, err := s.play(ctx, step{name: "ttl-check", ops: sample, do: func(w *worker, i int64) error {
		return read(w, below(draw(salt, -i-1), c.Keys))
	}}); err != nil {
		return err
	}
	return s.nothingLeft()
}

// deleteAll fills, deletes every key and waits.
func deleteAll(ctx context.Context, s *session, task Task) error {
	p, err := s.workload(ctx, "fillrandom", nil)
	if err != nil {
		return err
	}
	c := s.bench.Config
	order := newPermutation(c.Keys, saltOf(c.Seed, "delete order"))
	peak := p.Space.Peak
	s.live = 0
	p, err = s.play(ctx, step{name: "delete", ops: c.Keys, do: func(w *worker, i int64) error {
		w.key = AppendKey(w.key[:0], c.KeySize, order.at(i), false)
		w.accepted += int64(len(w.key))
		return w.timed(ActionDelete, func() error { return s.engine.Delete(w.key) })
	}})
	if err != nil {
		return err
	}
	peak = max(peak, p.Space.Peak)
	var left int64
	var took time.Duration
	if _, err = s.play(ctx, step{name: "delete-idle", wait: func(ctx context.Context) (err error) {
		left, took, err = s.waitForSpace(ctx, peak, task.Idle)
		return err
	}}); err != nil {
		return err
	}
	s.spaceBack(left, peak, took)
	return s.nothingLeft()
}

// snapshotPinned holds a snapshot of version 0 of every key while all are overwritten.
func snapshotPinned(ctx context.Context, s *session, task Task) error {
	pinner, ok := s.engine.(Pinner)
	if !ok {
		return errCannot{"has no snapshots that kvbench can use"}
	}
	before, err := s.workload(ctx, "fillrandom", nil)
	if err != nil {
		return err
	}
	pinned := pinner.Pin()
	defer pinned.Close()
	over, err := s.workload(ctx, "overwrite", nil)
	if err != nil {
		return err
	}
	c := s.bench.Config
	salt := saltOf(c.Seed, "snapshot reads")
	sample := min(c.Keys, sampleGets)
	if _, err := s.play(ctx, step{name: "snapshot-reads", ops: sample, do: func(w *worker, i int64) error {
		index := below(draw(salt, i), c.Keys)
		w.key = AppendKey(w.key[:0], c.KeySize, index, false)
		w.values.Fill(w.value, index, 0)
		same := false
		var found bool
		err := w.timed(ActionGet, func() (err error) {
			found, err = pinned.Get(w.key, func(v []byte) { same = string(v) == string(w.value) })
			return err
		})
		if err == nil && !(found && same) {
			w.complain("get %q through the snapshot: found %v, the value of its time %v", w.key, found, same)
		}
		return err
	}}); err != nil {
		return err
	}
	if err := pinned.Close(); err != nil {
		return fmt.Errorf("close the snapshot: %w", err)
	}
	live, was := float64(max(1, c.LiveBytes())), float64(max(1, before.Space.End))
	var took time.Duration
	after, err := s.play(ctx, step{name: "snapshot-closed", wait: func(ctx context.Context) error {
		begun := time.Now()
		for time.Since(begun) < task.Idle && float64(diskUsage(s.dir)) > 1.25*was {
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		took = time.Since(begun)
		return nil
	}})
	if err != nil {
		return err
	}
	s.ratio("space before the overwrite / live", was/live, 0)
	s.ratio("space with the snapshot held / live", float64(over.Space.End)/live, 0)
	s.ratio("space after it closed / live", float64(after.Space.End)/live, 0)
	s.ratio("space after it closed / before the overwrite", float64(after.Space.End)/was, 1.5)
	s.lasting("time until then, without a call", took)
	return nil
}
