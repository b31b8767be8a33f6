package coordinator

import (
	"math"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// patienceMin is the least time after which a node counts as slow, and patienceFactor how many times its own 99th
	// percentile.
	patienceMin    = 20 * time.Millisecond
	patienceFactor = 4
	// hedgeMin is the least time after which a read is hedged: a timer is hardly finer.
	hedgeMin = time.Millisecond
	// perByte is for how much longer a value may take, at 50 MB/s.
	perByte = 20 * time.Nanosecond
	// smallBytes is the longest value whose time says something of the node.
	smallBytes = 64 << 10
	// firstGuess is what a node is thought to need before it was asked.
	firstGuess = 25 * time.Millisecond
)

// quantile follows a quantile of the last few thousand samples: it goes up by a step with each one above it, and
// down by so much less with each one below that both are in balance at the quantile (the stochastic approximation of
// Robbins and Monro, on the logarithm). Its zero value stands at firstGuess. It may be used by many goroutines at once.
type quantile struct{ bits atomic.Uint64 }

func (q *quantile) get() time.Duration {
	if bits := q.bits.Load(); bits != 0 {
		return time.Duration(math.Float64frombits(bits))
	}
	return firstGuess
}

// add takes a sample, for a quantile of p.
func (q *quantile) add(d time.Duration, p float64) {
	const step = 0.06
	change := 1 - step*(1-p)
	now := q.get()
	if d > now {
		change = 1 + step*p
	}
	// Of two samples at the same moment one may go unnoticed.
	q.bits.Store(math.Float64bits(max(float64(now)*change, float64(time.Microsecond))))
}

// latency is how long a node takes to answer.
type latency struct {
	read95, read99, write99, scan99 quantile
}

func (l *latency) sawRead(d time.Duration) {
	l.read95.add(d, 0.95)
	l.read99.add(d, 0.99)
}

func (l *latency) sawWrite(d time.Duration) { l.write99.add(d, 0.99) }

// patience is how long to wait for an answer until another node is asked in its place.
func patience(usual time.Duration, bytes int, limit time.Duration) time.Duration {
	return min(max(patienceMin, patienceFactor*usual), limit) + time.Duration(bytes)*perByte
}

// latencies are those of all nodes. What is known of one is reached without a lock.
type latencies struct {
	nodes sync.Map // of *latency, by node
}

func (l *latencies) of(node uint64) *latency {
	if v, ok := l.nodes.Load(node); ok {
		return v.(*latency)
	}
	v, _ := l.nodes.LoadOrStore(node, new(latency))
	return v.(*latency)
}

// budget lets one in every hedgeEvery reads be hedged, and up to hedgeBurst in a row.
type budget struct{ left atomic.Int64 }

const hedgeEvery, hedgeBurst = 20, 10

// earn adds a read.
func (b *budget) earn() {
	if b.left.Load() < hedgeEvery*hedgeBurst {
		b.left.Add(1)
	}
}

// spend takes a hedge, if there is one.
func (b *budget) spend() bool {
	for {
		left := b.left.Load()
		if left < hedgeEvery {
			return false
		}
		if b.left.CompareAndSwap(left, left-hedgeEvery) {
			return true
		}
	}
}

// giveBack takes back a hedge that was not needed.
func (b *budget) giveBack() { b.left.Add(hedgeEvery) }
