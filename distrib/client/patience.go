package client

import (
	"math/bits"
	"sync"
	"sync/atomic"
	"time"
)

// patience is how long a node's answers are waited for before the next one is asked as well: four times what 99 of
// 100 answers of late took, within bounds.
type patience struct {
	current atomic.Int64
	counts  [steps * octaves]atomic.Uint32 // answers by latency, see bucket
	seen    atomic.Uint32
	mu      sync.Mutex // held while current is computed
}

const (
	patienceFirst, patienceLeast, patienceMost = 100 * time.Millisecond, 20 * time.Millisecond, time.Second

	// patienceWindow is after how many answers the patience is computed anew, and the older ones count half.
	patienceWindow = 256
	// perByte is what a large request or answer may take longer.
	perByte = 100 * time.Nanosecond

	steps, octaves = 4, 24 // a quarter of a power of two of microseconds each; the last begins at 58 s
)

func bucket(d time.Duration) int {
	us := uint64(max(d.Microseconds(), steps))
	top := bits.Len64(us) - 1
	return min(steps*(top-2)+int(us>>(top-2)&3), steps*octaves-1)
}

// bucketEnd is the latency at which a bucket ends.
func bucketEnd(bucket int) time.Duration {
	return time.Duration(steps+1+bucket%steps) << (bucket / steps) * time.Microsecond
}

// record takes note of an answer.
func (p *patience) record(d time.Duration) {
	p.counts[bucket(d)].Add(1)
	if p.seen.Add(1)%patienceWindow == 0 && p.mu.TryLock() {
		p.compute()
		p.mu.Unlock()
	}
}

func (p *patience) compute() {
	total := uint32(0)
	for i := range p.counts {
		total += p.counts[i].Load()
	}
	slow, at := uint32(0), len(p.counts)-1
	for ; at > 0; at-- {
		if slow += p.counts[at].Load(); slow > total/100 {
			break
		}
	}
	p.current.Store(int64(min(max(4*bucketEnd(at), patienceLeast), patienceMost)))
	for i := range p.counts {
		n := p.counts[i].Load()
		p.counts[i].Add(-(n - n/2)) // answers that come meanwhile stay counted
	}
}

// wait is how long to wait for the answer to a request of so many bytes.
func (p *patience) wait(bytes int) time.Duration {
	current := time.Duration(p.current.Load())
	if current == 0 {
		current = patienceFirst
	}
	return current + time.Duration(bytes)*perByte
}
