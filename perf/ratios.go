package perf

import (
	"fmt"
	"slices"
)

// metric is a figure of a phase that reports compare. value's ok is false where it was not
// measured.
type metric struct {
	name   string
	better string // "higher" or "lower"
	value  func(run Run, p Phase) (v float64, ok bool)
	format func(v float64) string
}

func inSeconds(v float64) string { return Seconds(toDuration(v)) }
func inBytes(v float64) string   { return Bytes(int64(v)) }
func twoDigits(v float64) string { return fmt.Sprintf("%.2f", v) }

// figures are all there are, in the order in which tables show them. Latencies are in
// nanoseconds, of the operations that the workload is about.
var figures = []metric{
	{"throughput", "higher", func(_ Run, p Phase) (float64, bool) { return p.Throughput, p.Ops > 0 }, func(v float64) string { return Count(int64(v)) + "/s" }},
	latencyMetric("mean", func(l Latency) float64 { return float64(l.Mean) }),
	latencyMetric("p50", func(l Latency) float64 { return float64(l.P50) }),
	latencyMetric("p90", func(l Latency) float64 { return float64(l.P90) }),
	latencyMetric("p99", func(l Latency) float64 { return float64(l.P99) }),
	latencyMetric("p99.9", func(l Latency) float64 { return float64(l.P999) }),
	latencyMetric("max", func(l Latency) float64 { return float64(l.Max) }),
	{"wa", "lower", func(_ Run, p Phase) (float64, bool) {
		if p.Settled == nil || p.Settled.UserBytes == 0 || p.Settled.Total == 0 {
			return 0, false
		}
		return p.Settled.Factor, true
	}, twoDigits},
	spaceMetric("space", func(s Space) int64 { return s.End }),
	spaceMetric("space-peak", func(s Space) int64 { return s.Peak }),
	{"reads", "lower", func(_ Run, p Phase) (float64, bool) {
		return float64(p.Reads.BlockReads) / float64(max(1, p.Ops)), p.Settled == nil && p.Ops > 0
	}, func(v float64) string { return fmt.Sprintf("%.3f/op", v) }},
	{"rss", "lower", func(_ Run, p Phase) (float64, bool) {
		return float64(p.Process.PeakRSS), p.Process.PeakRSS > 0
	}, inBytes},
	{"cpu", "lower", func(_ Run, p Phase) (float64, bool) { return float64(p.Process.CPU), p.Process.CPU > 0 }, inSeconds},
	{"settle", "lower", func(_ Run, p Phase) (float64, bool) { return float64(p.Settle), p.Settled != nil }, inSeconds},
	{"stall", "lower", func(_ Run, p Phase) (float64, bool) { return float64(p.Stalls.Longest), p.Settled != nil }, inSeconds},
}

func latencyMetric(name string, of func(Latency) float64) metric {
	return metric{name, "lower", func(_ Run, p Phase) (float64, bool) {
		l := p.mainLatency()
		return of(l), l.Count > 0
	}, inSeconds}
}

func spaceMetric(name string, of func(Space) int64) metric {
	return metric{name, "lower", func(_ Run, p Phase) (float64, bool) {
		if p.Space.Live == 0 || of(p.Space) == 0 {
			return 0, false
		}
		return float64(of(p.Space)) / float64(p.Space.Live), true
	}, twoDigits}
}

// Ratio sets this module's engine beside the best of the others in one figure of one workload.
type Ratio struct {
	Workload string  `json:"workload"`
	Metric   string  `json:"metric"`
	Better   string  `json:"better"` // "higher" or "lower": which ratio is the good one
	Engine   string  `json:"engine"`
	Value    float64 `json:"value"` // the engine's median over rounds
	Best     string  `json:"best"`  // the peer that was best in most rounds
	Peer     float64 `json:"peer"`  // the median of the best peer's value
	Ratio    float64 `json:"ratio"` // Value / Peer within a round, median over rounds
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
	Rounds   int     `json:"rounds"`
}

// ratioMetrics are those that Ratios compares.
var ratioMetrics = []string{"throughput", "p99", "p99.9", "max", "wa", "space", "reads", "rss"}

// Ratios compares the first engine of runs with the best of the others, for each workload and
// figure. Only values of one round are divided by one another.
func Ratios(runs []Run) []Ratio {
	if len(runs) == 0 {
		return nil
	}
	var out []Ratio
	subject := runs[0].Config.Engine
	for place := range runs[0].Phases {
		for _, m := range figures {
			if !slices.Contains(ratioMetrics, m.name) {
				continue
			}
			if r, ok := ratioOf(runs, subject, place, m); ok {
				out = append(out, r)
			}
		}
	}
	return out
}

func ratioOf(runs []Run, subject string, place int, m metric) (Ratio, bool) {
	own, best, bestName := map[int]float64{}, map[int]float64{}, map[int]string{}
	for _, run := range runs {
		if place >= len(run.Phases) {
			continue
		}
		v, ok := m.value(run, run.Phases[place])
		if !ok {
			continue
		}
		if run.Config.Engine == subject {
			own[run.Round] = v
		} else if was, ok := best[run.Round]; !ok || (m.better == "higher") == (v > was) && v != was {
			best[run.Round], bestName[run.Round] = v, run.Config.Engine
		}
	}
	var ratios, mine, theirs []float64
	wins := map[string]int{}
	for round, v := range own {
		peer, ok := best[round]
		if !ok || peer == 0 {
			continue
		}
		ratios, mine, theirs = append(ratios, v/peer), append(mine, v), append(theirs, peer)
		wins[bestName[round]]++
	}
	if ratios == nil {
		return Ratio{}, false
	}
	r := Ratio{
		Workload: runs[0].Phases[place].Workload, Metric: m.name, Better: m.better, Engine: subject,
		Value: median(mine), Peer: median(theirs), Ratio: median(ratios),
		Low: slices.Min(ratios), High: slices.Max(ratios), Rounds: len(ratios),
	}
	for name, n := range wins {
		if n > wins[r.Best] || n == wins[r.Best] && name < r.Best {
			r.Best = name
		}
	}
	return r, true
}

// median is the middle value, of an even number the mean of the two in the middle.
func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	if len(s) == 0 {
		return 0
	}
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

// Ratios prints the comparison with the best peer.
func (t *Text) Ratios(ratios []Ratio) {
	if len(ratios) == 0 {
		return
	}
	first := ratios[0]
	t.printf("\n%s  divided within a round, median of %d round(s)\n\n", t.paint(bold, first.Engine+" beside the best of the others"), first.Rounds)
	g := &grid{}
	g.add("workload", "figure", first.Engine, "best peer", "", "ratio", "lowest", "highest", "")
	last := ""
	for _, r := range ratios {
		name := r.Workload
		if name == last {
			name = ""
		}
		last = r.Workload
		verdict := "worse"
		if twoDigits(r.Ratio) == "1.00" {
			verdict = "equal"
		} else if (r.Ratio > 1) == (r.Better == "higher") {
			verdict = "better"
		}
		format := metricNamed(r.Metric).format
		g.add(name, r.Metric, format(r.Value), r.Best, format(r.Peer), twoDigits(r.Ratio), twoDigits(r.Low), twoDigits(r.High), verdict)
	}
	g.print(t.w)
}

func metricNamed(name string) *metric {
	for i := range figures {
		if figures[i].name == name {
			return &figures[i]
		}
	}
	return nil
}

// Fairness prints under which conditions each engine is measured: a line where all agree, else
// one for each engine.
func (t *Text) Fairness(rows []Condition, engines []string) {
	if len(rows) == 0 {
		return
	}
	t.printf("%s\n", t.paint(bold, "Conditions"))
	width := 0
	for _, e := range engines {
		width = max(width, len(e))
	}
	for _, row := range rows {
		same := true
		for _, e := range engines {
			same = same && row.Values[e] == row.Values[engines[0]]
		}
		if same {
			if v := row.Values[engines[0]]; v != "" {
				t.printf("  %-20s %-*s  %s\n", row.Name, width, "all", v)
			}
			continue
		}
		name := row.Name
		for _, e := range engines {
			if v := row.Values[e]; v != "" {
				t.printf("  %-20s %-*s  %s\n", name, width, e, v)
				name = ""
			}
		}
	}
	t.printf("\n")
}
