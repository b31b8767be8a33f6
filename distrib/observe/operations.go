package observe

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Kind is what a client asked for.
type Kind uint8

// The kinds.
const (
	Get Kind = iota
	Put
	Delete
	CompareAndSwap
	BatchGet
	BatchPut
	Scan
	Resolve
)

// Level is the consistency that it asked for.
type Level uint8

// The levels.
const (
	One Level = iota
	Quorum
	All
	Linearizable
	Nodes // so and so many, by number
)

// Outcome is what became of it.
type Outcome uint8

// The outcomes.
const (
	OK         Outcome = iota
	Failed             // nothing happened
	Unknown            // it may have happened, or may still
	Invalid            // the request was wrong
	Overloaded         // refused at once, to be tried later
)

var (
	kinds    = [...]string{"get", "put", "delete", "compare_and_swap", "batch_get", "batch_put", "scan", "resolve"}
	levels   = [...]string{"one", "quorum", "all", "linearizable", "nodes"}
	outcomes = [...]string{"ok", "failed", "unknown", "invalid", "overloaded"}
)

// String returns the kind as metrics have it.
func (k Kind) String() string { return kinds[k] }

// String returns the level as metrics have it.
func (l Level) String() string { return levels[l] }

// String returns the outcome as metrics have it.
func (o Outcome) String() string { return outcomes[o] }

// Operations are the clients' operations, counted and timed.
type Operations struct {
	durations *prometheus.HistogramVec
	// known are the histograms in use, so that to find one takes no lock and no memory.
	known [len(kinds)][len(levels)][len(outcomes)]atomic.Pointer[prometheus.Observer]
}

// NewOperations returns none so far, and registers them.
func NewOperations(registry *prometheus.Registry) *Operations {
	o := &Operations{durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "cambium_operation_duration_seconds",
		Help:    "Time from the arrival of a client's operation to its answer.",
		Buckets: prometheus.ExponentialBuckets(100e-6, 2, 17), // to 6.6 s; deadlines are 5 s unless clients say otherwise
	}, []string{"operation", "consistency", "outcome"})}
	registry.MustRegister(o.durations)
	return o
}

// Done counts an operation. It takes some 100 ns and no memory.
func (o *Operations) Done(k Kind, l Level, out Outcome, took time.Duration) {
	at := &o.known[k][l][out]
	h := at.Load()
	if h == nil {
		of := o.durations.WithLabelValues(k.String(), l.String(), out.String())
		h = &of
		at.Store(h)
	}
	(*h).Observe(took.Seconds())
}
