package engine

import (
	"math"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/compaction"
)

// speed measures how many bytes a second background work gets through while it is at work, in an
// average that forgets. Silence counts: while nothing is heard of work under way, it looks
// slower and slower.
type speed struct {
	memory  float64   // seconds at work after which something weighs a third
	work    float64   // bytes, weighed
	seconds float64   // in which they were done, weighed alike; at most memory
	active  int       // pieces of work under way
	heard   time.Time // up to when seconds counts, while active
}

// newSpeed starts from a guess, which weighs like half a second of work.
func newSpeed(guess float64, memory time.Duration) speed {
	return speed{memory: memory.Seconds(), work: guess / 2, seconds: 0.5}
}

func (s *speed) begin(now time.Time) {
	if s.active == 0 {
		s.heard = now
	}
	s.active++
}

// did notes n bytes more, done evenly since the last call. It is called between begin and end.
func (s *speed) did(n float64, now time.Time) {
	took := s.quiet(now)
	keep := math.Exp(-took / s.memory)
	weight := s.memory * (1 - keep)
	if took > 0 {
		n *= weight / took
	}
	s.work, s.seconds = s.work*keep+n, s.seconds*keep+weight
	s.heard = now
}

func (s *speed) end(now time.Time) {
	s.did(0, now)
	s.active--
}

// quiet is for how many seconds nothing was heard of work under way.
func (s *speed) quiet(now time.Time) float64 {
	if s.active == 0 {
		return 0
	}
	return max(0, now.Sub(s.heard).Seconds())
}

// rate is the bytes a second, at least 1.
func (s *speed) rate(now time.Time) float64 {
	seen := *s
	if s.active > 0 {
		seen.did(0, now)
	}
	return max(1, seen.work/seen.seconds)
}

// What is assumed of background work before it was measured, and for how long it counts.
const (
	flushGuess, flushMemory = 128 << 20, 2 * time.Second
	drainGuess, drainMemory = 64 << 20, 10 * time.Second
)

// paces is how fast flushes and compactions get on, in bytes as memtables count them.
type paces struct {
	mu       sync.Mutex // guards the fields below
	flush    speed
	drain    speed // of L0 into the levels below, while any compaction is at work
	flushing *task // nil: no flush is under way

	taken, made float64 // bytes that flushes took from memory, and of the tables that they made
}

// task is a piece of work under way.
type task struct {
	speed         *speed
	bytes         float64
	entries, read uint64 // its input
}

func newPaces() paces {
	return paces{flush: newSpeed(flushGuess, flushMemory), drain: newSpeed(drainGuess, drainMemory)}
}

func (p *paces) beginFlush(bytes int64, entries uint64) *task {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.flushing = p.begin(&p.flush, float64(bytes), entries)
	return p.flushing
}

// beginCompaction counts what plan takes out of L0.
func (p *paces) beginCompaction(plan *compaction.Plan) *task {
	var l0 float64
	var entries uint64
	for _, in := range plan.Inputs {
		for _, t := range in.Tables {
			entries += t.Stats.Entries
			if in.Level == 0 && plan.Output > 0 {
				l0 += float64(t.Size)
			}
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.made > 0 {
		l0 *= p.taken / p.made
	}
	return p.begin(&p.drain, l0, entries)
}

func (p *paces) begin(s *speed, bytes float64, entries uint64) *task {
	s.begin(time.Now())
	return &task{speed: s, bytes: bytes, entries: max(1, entries)}
}

// advance notes that t has read so many entries more.
func (p *paces) advance(t *task, entries uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.advance(entries)
}

func (t *task) advance(entries uint64) {
	entries = min(entries, t.entries-t.read)
	t.read += entries
	t.speed.did(t.bytes*float64(entries)/float64(t.entries), time.Now())
}

// left is the bytes that t has not read.
func (t *task) left() float64 { return t.bytes * float64(t.entries-t.read) / float64(t.entries) }

// end notes that t is over. made is the bytes of the tables that a flush made.
func (p *paces) end(t *task, made int64, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err == nil {
		t.advance(t.entries)
	}
	t.speed.end(time.Now())
	if t == p.flushing {
		p.flushing = nil
		if err == nil {
			p.taken, p.made = p.taken+t.bytes, p.made+float64(made)
		}
	}
}
