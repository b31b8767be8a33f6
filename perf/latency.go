package perf

import (
	"math"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latency summarises how long the operations of one kind took: from the intended start in an
// open loop, from the actual one in a closed loop.
type Latency struct {
	Op    string        `json:"op"`
	Count int64         `json:"count"`
	Mean  time.Duration `json:"mean_ns"`
	P50   time.Duration `json:"p50_ns"`
	P90   time.Duration `json:"p90_ns"`
	P99   time.Duration `json:"p99_ns"`
	P999  time.Duration `json:"p99_9_ns"`
	Max   time.Duration `json:"max_ns"`
	// Curve is how long all but ever fewer operations took at most.
	Curve []Quantile `json:"curve,omitempty"`
}

// Quantile says that a share of the operations took at most Took.
type Quantile struct {
	Share float64       `json:"share"` // 0 to 1
	Took  time.Duration `json:"ns"`
}

// Histogram records durations from 1 ns to an hour with three significant digits. Longer ones
// count as an hour. It belongs to one goroutine.
type Histogram struct{ h *hdrhistogram.Histogram }

const longest = int64(time.Hour)

// NewHistogram returns an empty histogram.
func NewHistogram() Histogram {
	return Histogram{hdrhistogram.New(1, longest, 3)}
}

// Record counts a duration.
func (h Histogram) Record(d time.Duration) {
	_ = h.h.RecordValue(min(max(int64(d), 1), longest)) // cannot fail within these bounds
}

// Merge adds other, which may be the zero Histogram.
func (h Histogram) Merge(other Histogram) {
	if other.h != nil {
		h.h.Merge(other.h)
	}
}

// Summary is what was recorded, as the latency of a kind of operations.
func (h Histogram) Summary(op string) Latency {
	at := func(q float64) time.Duration { return time.Duration(h.h.ValueAtQuantile(q)) }
	return Latency{
		Curve: h.curve(),
		Op:    op,
		Count: h.h.TotalCount(),
		Mean:  time.Duration(h.h.Mean()),
		P50:   at(50),
		P90:   at(90),
		P99:   at(99),
		P999:  at(99.9),
		Max:   time.Duration(h.h.Max()),
	}
}

// curve has a point at each of the shares that halve what is left, three steps to a halving, as
// far as there are operations.
func (h Histogram) curve() []Quantile {
	var all []Quantile
	n := float64(h.h.TotalCount())
	add := func(share float64) {
		all = append(all, Quantile{Share: share, Took: time.Duration(h.h.ValueAtQuantile(100 * share))})
	}
	add(0)
	for left := 1.0; left*n >= 1; left /= math.Cbrt(2) {
		if left < 1 {
			add(1 - left)
		}
	}
	if n > 0 {
		all = append(all, Quantile{Share: 1, Took: time.Duration(h.h.Max())})
	}
	return all
}

// toDuration turns nanoseconds into a duration.
func toDuration(ns float64) time.Duration { return time.Duration(ns) }
