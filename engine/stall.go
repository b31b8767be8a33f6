package engine

import (
	"fmt"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/internal/manifest"
)

// runLimits are the numbers of sorted runs that slow and stop writes. Leveled counts the tables of
// L0; the tiered policies keep old runs on the levels below and count these as well.
type runLimits struct {
	slow, stop int64
	all        bool // count levels below L0 too
}

func (c Compaction) runLimits() runLimits {
	if c == Leveled {
		return runLimits{slow: 12, stop: 36}
	}
	return runLimits{slow: 12, stop: 16, all: true}
}

// count is the number of runs in v that count.
func (l runLimits) count(v *manifest.Version) int64 {
	n := int64(len(v.Levels[0]))
	for _, tables := range v.Levels[1:] {
		if l.all && len(tables) > 0 {
			n++
		}
	}
	return n
}

// Writes are slowed in proportion to how far background work is behind, long before they
// would have to stop: from runLimits.slow runs and from debtFactor flushes of compaction debt
// on, the rate falls smoothly to slowestRate. A tiered policy always owes much, so there only the
// runs count.
const (
	slowestRate          = 4 << 20   // bytes a second
	fastestDelayed       = 256 << 20 // bytes a second, where slowing begins
	maxDelay             = 20 * time.Millisecond
	debtFactor, debtStop = 24, 96 // in flushes
)

// Causes of stalls, as Metrics and Events name them.
const (
	stallMemtables = "memtables"
	stallL0        = "l0files"
	stallDebt      = "debt"
	stallLog       = "log"
)

// stallMeter measures the time that writes were held back.
type stallMeter struct {
	mu      sync.Mutex // guards the fields below
	now     string
	since   time.Time
	count   int64
	total   time.Duration
	longest time.Duration
	byCause map[string]time.Duration

	owed time.Duration // delay not yet slept; guarded by queue.stage
}

// makeRoom returns when the memtable has room for n more bytes: it seals a full memtable, waits
// while too many are waiting to be flushed, and slows the caller when compaction is behind.
// queue.stage is held.
func (db *DB) makeRoom(n int64) error {
	if db.closed.Load() {
		return ErrClosed
	}
	if err := db.heal.cause(); err != nil {
		return err
	}
	if cause, delay := db.pressure(n); delay > 0 {
		db.stallBegin(cause)
		db.sleep(delay)
		db.stallEnd()
	}
	if db.mem.Bytes() < db.budget.memtable || db.mem.Empty() {
		return nil
	}
	if err := db.waitSealed(); err != nil {
		return err
	}
	if err := db.rotate(); err != nil {
		return fmt.Errorf("start a new log: %w", err)
	}
	return nil
}

// waitSealed waits until another memtable may be sealed. It ends early with the error that keeps
// flushes from getting on.
func (db *DB) waitSealed() error {
	waiting := ""
	defer func() {
		if waiting != "" {
			db.stallEnd()
		}
	}()
	db.mu.Lock()
	defer db.mu.Unlock()
	for {
		cause := ""
		switch {
		case len(db.sealed) >= db.budget.maxSealed:
			cause = stallMemtables
		case db.runs() >= db.opts.Compaction.runLimits().stop:
			cause = stallL0
		}
		if cause == "" {
			return nil
		}
		if db.closed.Load() {
			return ErrClosed
		}
		if err := db.heal.cause(); err != nil {
			return err // flushes wait for the healing, and that for the caller
		}
		if err := db.background.err(); err != nil {
			return err
		}
		if waiting == "" {
			waiting = cause
			db.mu.Unlock()
			db.stallBegin(cause)
			db.mu.Lock()
			continue
		}
		db.changed.Wait()
	}
}

// runs is the number of sorted runs that may hold writes back. db.mu is held, so the view stays.
func (db *DB) runs() int64 {
	if v := db.view.Load(); v != nil {
		return db.opts.Compaction.runLimits().count(v.version)
	}
	return 0
}

// pressure returns how long a write of n bytes is to be delayed, and why.
func (db *DB) pressure(n int64) (cause string, delay time.Duration) {
	v, err := db.pin()
	if err != nil {
		return "", 0
	}
	defer v.unref()
	limits := db.opts.Compaction.runLimits()
	l0 := fraction(limits.count(v.version), limits.slow, limits.stop)
	debt := 0.0
	if l0 == 0 && db.opts.Compaction == Leveled {
		// The debt is computed only where L0 alone does not answer.
		debt = fraction(v.debt(), debtFactor*db.budget.flushBytes(), debtStop*db.budget.flushBytes())
	}
	p := max(l0, debt)
	if p == 0 {
		return "", 0
	}
	rate := slowestRate + (fastestDelayed-slowestRate)*(1-p)*(1-p)
	cause = stallL0
	if debt > l0 {
		cause = stallDebt
	}
	owed := time.Duration(float64(n) / rate * float64(time.Second))
	// Sleeps shorter than the timer's grain are saved up.
	db.stall.owed += owed
	if db.stall.owed < time.Millisecond {
		return "", 0
	}
	delay = min(db.stall.owed, maxDelay)
	db.stall.owed -= delay
	return cause, delay
}

// fraction maps x from [from, to] to [0, 1].
func fraction(x, from, to int64) float64 {
	return max(0, min(1, float64(x-from)/float64(to-from)))
}

func (db *DB) stallBegin(cause string) {
	s := &db.stall
	s.mu.Lock()
	s.now, s.since = cause, time.Now()
	s.mu.Unlock()
	if f := db.opts.Events.Stalled; f != nil {
		f(StallInfo{Reason: cause})
	}
}

func (db *DB) stallEnd() {
	s := &db.stall
	s.mu.Lock()
	cause, d := s.now, time.Since(s.since)
	s.now = ""
	s.count++
	s.total += d
	s.longest = max(s.longest, d)
	if s.byCause == nil {
		s.byCause = map[string]time.Duration{}
	}
	s.byCause[cause] += d
	s.mu.Unlock()
	if f := db.opts.Events.Stalled; f != nil {
		f(StallInfo{Reason: cause, Ended: true, Waited: d})
	}
}

// metrics returns what was measured so far, waits for the log included, and what would help.
func (s *stallMeter) metrics(log logState) StallMetrics {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := StallMetrics{Count: s.count + log.stalls, Total: s.total + log.stallTime, Longest: max(s.longest, log.longestStall),
		Now: s.now, ByCause: map[string]time.Duration{}}
	for cause, d := range s.byCause {
		m.ByCause[cause] = d
	}
	if log.stalls > 0 {
		m.ByCause[stallLog] = log.stallTime
	}
	worst := ""
	for cause, d := range m.ByCause {
		if worst == "" || d > m.ByCause[worst] {
			worst = cause
		}
	}
	switch worst {
	case stallLog:
		m.Advice = "the device takes the log more slowly than it is written: a faster device, or slower writes"
	case stallMemtables:
		m.Advice = "flushes are slower than writes: a faster device, or a larger MemoryBudget so that more memtables may wait"
	case stallL0, stallDebt:
		m.Advice = "compaction is behind: more CompactionThreads, a faster device, lighter Compression, or slower writes"
	}
	return m
}
