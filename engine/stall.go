package engine

import (
	"fmt"
	"math"
	"sync"
	"time"
)

// Causes of stalls, as Metrics and Events name them.
const (
	stallMemtables = "memtables"
	stallL0        = "l0files"
	stallDebt      = "debt"
	stallLog       = "log"
	stallIngest    = "ingest"
)

// stallMeter measures the time that writes were held back.
type stallMeter struct {
	mu      sync.Mutex // guards the fields below
	now     string
	since   time.Time
	count   int64
	total   time.Duration
	longest time.Duration
	worst   string // the cause of longest
	byCause map[string]time.Duration

	unpaid float64 // bytes written for which no write has waited yet; guarded by queue.stage
}

// Waits are looked at again after recheck, since what they wait for changes. Those that are
// shorter than the grain of timers are saved up.
const (
	recheck = 2 * time.Millisecond
	grain   = time.Millisecond
)

// makeRoom returns when the batch of c may be written, and the memtable has room for it. queue.stage
// is held.
func (db *DB) makeRoom(c *commit) error {
	if err := db.holdBack(int64(len(c.rep)), &c.since); err != nil {
		return err
	}
	if db.fits(db.mem, int64(len(c.rep))) {
		return nil
	}
	if err := db.rotate(); err != nil {
		return fmt.Errorf("start a new log: %w", err)
	}
	return nil
}

// fits reports whether n more bytes go into m. What is larger than a memtable has one to itself.
func (db *DB) fits(m *memory, n int64) bool {
	return m.Bytes()+n <= db.budget.memtable || m.Empty()
}

// holdBack returns when n more bytes may be written, as fast as background work allows, and another
// memtable may be sealed. It gives up when Options.MaxStall has passed since *since, which it sets
// if it waits and that is zero. queue.stage is held.
func (db *DB) holdBack(n int64, since *time.Time) (err error) {
	s := &db.stall
	s.unpaid += float64(n)
	waiting := false
	defer func() {
		if waiting {
			db.stallEnd()
		}
		if err != nil {
			s.unpaid = max(0, s.unpaid-float64(n)) // they are not written
		}
	}()
	for {
		if err := db.writable(); err != nil {
			return err
		}
		limit, cause, err := db.allowance(n)
		if err != nil {
			return err
		}
		wait, ok := s.due(limit)
		if ok {
			return nil
		}
		now := time.Now()
		if !waiting {
			waiting = true
			db.stallBegin(cause)
		}
		if since.IsZero() {
			*since = now
		}
		if waited := now.Sub(*since); waited >= db.opts.MaxStall {
			return db.stalledError(waited, cause, limit)
		}
		db.sleep(wait)
		s.unpaid = max(0, s.unpaid-limit*time.Since(now).Seconds())
	}
}

// due returns how long to wait before looking again, or that what is unpaid needs no wait at limit,
// in bytes a second.
func (s *stallMeter) due(limit float64) (wait time.Duration, ok bool) {
	if math.IsInf(limit, 1) {
		s.unpaid = 0
		return 0, true
	}
	if limit == 0 {
		return recheck, false
	}
	owed := min(s.unpaid/limit, recheck.Seconds())
	return time.Duration(owed * float64(time.Second)), owed < grain.Seconds()
}

// writable returns why nothing can be written now, or nil.
func (db *DB) writable() error {
	if db.closed.Load() {
		return ErrClosed
	}
	return db.heal.cause()
}

// allowance is the bytes a second that may be written now, and what limits them: 0 where the
// memtable does not take n more and no other may be sealed. It fails where nothing more should be written and
// background work does not get on.
func (db *DB) allowance(n int64) (limit float64, cause string, err error) {
	v, err := db.pin()
	if err != nil {
		return 0, "", err
	}
	defer v.unref()
	p := db.pressure(v)
	limit, cause = p.rate()
	if !db.fits(v.mem, n) && len(v.sealed) >= db.budget.maxSealed {
		limit, cause = 0, stallMemtables
	}
	if limit == 0 || p.runs == 1 {
		db.mu.Lock()
		err = db.background.err()
		db.mu.Unlock()
	}
	return limit, cause, err
}

// pressure measures how far background work is behind v.
func (db *DB) pressure(v *view) (p pressure) {
	now := time.Now()
	db.paces.mu.Lock()
	making := 0.0 // of the run that a flush makes
	if t := db.paces.flushing; t != nil {
		size := float64(db.budget.memtable)
		held := size*float64(len(v.sealed)) + float64(v.mem.Bytes())
		all := size * float64(1+db.budget.maxSealed)
		left := t.left()
		making = 1 - left/t.bytes
		p.memory = (held - t.bytes + left) / all
		p.room = max(0, all-held)
		p.flushLeft = max(1, left)
		p.quiet = db.paces.flush.quiet(now)
		p.flushRate = db.paces.flush.rate(now)
	}
	p.drainRate = db.paces.drain.rate(now)
	db.paces.mu.Unlock()

	limits := db.opts.Compaction.runLimits()
	p.runs = fraction(float64(limits.count(v.version))+making, float64(limits.slow), float64(limits.stop))
	if db.opts.Compaction != Leveled {
		p.debt = v.space()
	} else if p.runs == 0 { // else L0 alone answers, and the debt need not be computed
		flush := float64(db.budget.flushBytes())
		p.debt = fraction(float64(v.debt()), debtSlow*flush, debtStop*flush)
	}
	return p
}

// stalledError says why a write is given up.
func (db *DB) stalledError(waited time.Duration, cause string, limit float64) error {
	return errorf(ErrStalled, "stalled: waited %s for %s; background work gets on at %d bytes a second: nothing was written; %s, or raise Options.MaxStall",
		waited.Round(time.Millisecond), cause, int64(limit), adviceOn(cause))
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
	if d > s.longest {
		s.longest, s.worst = d, cause
	}
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
	m := StallMetrics{Count: s.count + log.stalls, Total: s.total + log.stallTime, Longest: s.longest, LongestCause: s.worst,
		Now: s.now, ByCause: map[string]time.Duration{}}
	if log.longestStall > s.longest {
		m.Longest, m.LongestCause = log.longestStall, stallLog
	}
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
	m.Advice = adviceOn(worst)
	return m
}

// adviceOn says what would help against a cause of stalls.
func adviceOn(cause string) string {
	switch cause {
	case stallLog:
		return "the device takes the log more slowly than it is written: a faster device, or slower writes"
	case stallMemtables:
		return "flushes are slower than writes: a faster device, or a larger MemoryBudget so that more memtables may wait"
	case stallL0, stallDebt:
		return "compaction is behind: more CompactionThreads, a faster device, lighter Compression, or slower writes"
	case stallIngest:
		return "memory under ingested tables is flushed first: ingest into ranges that are not written to meanwhile"
	}
	return ""
}
