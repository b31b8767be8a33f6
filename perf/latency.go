package perf

import (
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
}

// histogram records durations from 1 ns to an hour with three significant digits. Longer ones
// count as an hour.
type histogram struct{ h *hdrhistogram.Histogram }

const longest = int64(time.Hour)

func newHistogram() histogram {
	return histogram{hdrhistogram.New(1, longest, 3)}
}

func (h histogram) record(d time.Duration) {
	_ = h.h.RecordValue(min(max(int64(d), 1), longest)) // cannot fail within these bounds
}

// merge adds other, which may be the zero histogram.
func (h histogram) merge(other histogram) {
	if other.h != nil {
		h.h.Merge(other.h)
	}
}

func (h histogram) summary(op string) Latency {
	at := func(q float64) time.Duration { return time.Duration(h.h.ValueAtQuantile(q)) }
	return Latency{
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

// toDuration turns nanoseconds into a duration.
func toDuration(ns float64) time.Duration { return time.Duration(ns) }
