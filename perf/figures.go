package perf

import "fmt"

// metric is a figure of a phase that reports compare. value's ok is false where it was not
// measured. A latency has a figure for each kind of operation instead.
type metric struct {
	name    string
	better  string // "higher" or "lower"
	value   func(p Phase) (v float64, ok bool)
	latency func(l Latency) float64
	format  func(v float64) string
}

// figure is a metric's value; op is the kind of operation in phases that have several.
type figure struct {
	op    string
	value float64
}

func (m *metric) of(p Phase) []figure {
	if m.latency == nil {
		if v, ok := m.value(p); ok {
			return []figure{{value: v}}
		}
		return nil
	}
	var all []figure
	for _, l := range p.Latency {
		f := figure{op: l.Op, value: m.latency(l)}
		if len(p.Latency) == 1 {
			f.op = ""
		}
		all = append(all, f)
	}
	return all
}

// title names a figure: "p99", or "get p99" where there are several kinds of operations.
func (m *metric) title(op string) string {
	if op == "" {
		return m.name
	}
	return op + " " + m.name
}

func inSeconds(v float64) string { return Seconds(toDuration(v)) }
func inBytes(v float64) string   { return Bytes(int64(v)) }
func twoDigits(v float64) string { return fmt.Sprintf("%.2f", v) }

// figures are all there are, in the order in which tables show them. Latencies are in
// nanoseconds, of the operations that the workload is about.
var figures = []metric{
	{"throughput", "higher", func(p Phase) (float64, bool) { return p.Throughput, p.Ops > 0 }, nil, func(v float64) string { return Count(int64(v)) + "/s" }},
	{"mean", "lower", nil, func(l Latency) float64 { return float64(l.Mean) }, inSeconds},
	{"p50", "lower", nil, func(l Latency) float64 { return float64(l.P50) }, inSeconds},
	{"p90", "lower", nil, func(l Latency) float64 { return float64(l.P90) }, inSeconds},
	{"p99", "lower", nil, func(l Latency) float64 { return float64(l.P99) }, inSeconds},
	{"p99.9", "lower", nil, func(l Latency) float64 { return float64(l.P999) }, inSeconds},
	{"max", "lower", nil, func(l Latency) float64 { return float64(l.Max) }, inSeconds},
	{"wa", "lower", func(p Phase) (float64, bool) {
		if p.Settled == nil || p.Settled.UserBytes == 0 || p.Settled.Total == 0 {
			return 0, false
		}
		return p.Settled.Factor, true
	}, nil, twoDigits},
	spaceMetric("space", func(s Space) int64 { return s.End }),
	spaceMetric("space-peak", func(s Space) int64 { return s.Peak }),
	{"reads", "lower", func(p Phase) (float64, bool) {
		return float64(p.Reads.BlockReads) / float64(max(1, p.Ops)), p.Settled == nil && p.Ops > 0
	}, nil, func(v float64) string { return fmt.Sprintf("%.3f/op", v) }},
	{"rss", "lower", func(p Phase) (float64, bool) {
		return float64(p.Process.PeakRSS), p.Process.PeakRSS > 0
	}, nil, inBytes},
	{"cpu", "lower", func(p Phase) (float64, bool) { return float64(p.Process.CPU), p.Process.CPU > 0 }, nil, inSeconds},
	{"settle", "lower", func(p Phase) (float64, bool) { return float64(p.Settle), p.Settled != nil }, nil, inSeconds},
	{"stall", "lower", func(p Phase) (float64, bool) { return float64(p.Stalls.Longest), p.Settled != nil }, nil, inSeconds},
}

func spaceMetric(name string, of func(Space) int64) metric {
	return metric{name, "lower", func(p Phase) (float64, bool) {
		if p.Space.Live == 0 || of(p.Space) == 0 {
			return 0, false
		}
		return float64(of(p.Space)) / float64(p.Space.Live), true
	}, nil, twoDigits}
}

func metricNamed(name string) *metric {
	for i := range figures {
		if figures[i].name == name {
			return &figures[i]
		}
	}
	return nil
}
