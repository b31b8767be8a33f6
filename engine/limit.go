package engine

import (
	"context"
	"math"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/compaction"
)

// load is what compaction's share of the device depends on, in numbers.
type load struct {
	fixed  float64 // Options.CompactionRate; 0: follow the load
	writes float64 // bytes a second that are written
	cost   float64 // bytes that compaction has written for each of them so far
	behind float64 // share of the way from nothing to do to where writes are slowed
}

// Where less than idleWrites is written, in bytes a second, compaction need not spare anybody. It
// is never held below leastRate nor, until that is known, by a cost below leastCost.
const (
	idleWrites = 1 << 20
	leastRate  = 64 << 20
	leastCost  = 2
	headroom   = 1.5 // by how much debt falls
)

// limit is the bytes a second that compactions may write together: without limit where little is
// written, else what keeps debt falling, and more the further it is behind.
func (l load) limit() float64 {
	switch {
	case l.fixed > 0:
		return l.fixed
	case l.writes < idleWrites || l.behind >= 1:
		return math.Inf(1)
	}
	return max(leastRate, headroom*l.writes*max(leastCost, l.cost)/(1-l.behind))
}

// limiter gives out the bytes that compactions may write: to those of L0, for which reads and soon
// writes wait, before those of deeper levels. Flushes, for which memory waits, do not ask.
type limiter struct {
	mu     sync.Mutex // guards the fields below
	rate   float64    // bytes a second
	tokens float64    // bytes that may be written; below 0 more were written already
	filled time.Time  // up to when tokens counts
	urgent int        // compactions of L0 that wait

	looked time.Time // when rate was last set
	user   int64     // bytes that had been written then
	writes speed
}

// How often the load is looked at, for how long it counts, and for how long tokens are saved.
const (
	lookEvery  = 100 * time.Millisecond
	loadMemory = time.Second
	saveTokens = 50 * time.Millisecond
)

func newLimiter(now time.Time) *limiter {
	l := &limiter{rate: math.Inf(1), filled: now, writes: newSpeed(0, loadMemory)}
	l.writes.begin(now)
	return l
}

// take takes n bytes if that may be written now, else it returns when to ask again.
func (l *limiter) take(n int, first bool, now time.Time) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if math.IsInf(l.rate, 1) {
		l.tokens, l.filled = 0, now
		return 0
	}
	l.tokens = min(l.tokens+l.rate*now.Sub(l.filled).Seconds(), l.rate*saveTokens.Seconds())
	l.filled = now
	if l.tokens >= 0 && (first || l.urgent == 0) {
		l.tokens -= float64(n)
		return 0
	}
	return min(lookEvery, grain+time.Duration(max(0, -l.tokens)/l.rate*float64(time.Second)))
}

// due reports whether the load is to be looked at again; then look is to be called.
func (l *limiter) due(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return now.Sub(l.looked) >= lookEvery
}

// look sets the rate from the bytes that were written and compacted so far.
func (l *limiter) look(user, compacted int64, fixed, behind float64, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lately := user - l.user
	l.writes.did(float64(lately), now)
	l.user, l.looked = user, now
	seen := load{fixed: fixed, behind: behind, cost: float64(compacted) / float64(max(1, user))}
	if lately > 0 { // else all is over at once
		seen.writes = l.writes.rate(now)
	}
	l.rate = seen.limit()
}

func (l *limiter) waits(n int) {
	l.mu.Lock()
	l.urgent += n
	l.mu.Unlock()
}

// turn is the limiter as one compaction sees it. It is a compaction.Limiter.
type turn struct {
	db    *DB
	first bool // it empties L0

	mu   sync.Mutex // guards last
	last time.Time  // when a Wait last returned
}

func (db *DB) newTurn(plan *compaction.Plan) *turn {
	return &turn{db: db, first: plan.Inputs[0].Level == 0, last: time.Now()}
}

// Wait returns when n bytes more may be written, or the error of ctx as soon as that ends.
func (t *turn) Wait(ctx context.Context, n int) error {
	l := t.db.limiter
	defer t.waited()
	if err := t.yield(ctx); err != nil {
		return err
	}
	for waiting := false; ; waiting = true {
		t.db.lookAtLoad()
		wait := l.take(n, t.first, time.Now())
		if wait == 0 {
			return nil
		}
		if t.first && !waiting {
			l.waits(1)
			defer l.waits(-1)
		}
		if err := pause(ctx, wait); err != nil {
			return err
		}
	}
}

func (t *turn) waited() {
	t.mu.Lock()
	t.last = time.Now()
	t.mu.Unlock()
}

// yield leaves a flush for which writes wait half of the time.
func (t *turn) yield(ctx context.Context) error {
	v, err := t.db.pin()
	if err != nil {
		return err
	}
	p := t.db.pressure(v)
	v.unref()
	if p.flushLeft == 0 || p.memory < max(0.5, p.runs, p.debt) {
		return nil
	}
	t.mu.Lock()
	took := time.Since(t.last)
	t.mu.Unlock()
	return pause(ctx, min(took, 2*recheck))
}

// lookAtLoad sets the limiter's rate anew, if it is time.
func (db *DB) lookAtLoad() {
	now := time.Now()
	if !db.limiter.due(now) {
		return
	}
	v, err := db.pin()
	if err != nil {
		return // it closes
	}
	defer v.unref()
	limits := db.opts.Compaction.runLimits()
	behind := fraction(float64(limits.count(v.version)), float64(limits.slow)/3, float64(limits.slow))
	if db.opts.Compaction == Leveled {
		behind = max(behind, fraction(float64(v.debt()), 0, debtSlow*float64(db.budget.flushBytes())))
	}
	user, compacted := db.ledger.costOfCompaction()
	db.limiter.look(user, compacted, float64(db.opts.CompactionRate), behind, now)
}

// pause waits for d, or for ctx, whose error it returns.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
