package perf

import (
	"slices"

	"github.com/cambiumdb/cambium/internal/grid"
)

// Ratio sets this module's engine beside the best of the others in one figure of one workload.
type Ratio struct {
	Workload string  `json:"workload"`
	Metric   string  `json:"metric"`
	Op       string  `json:"op,omitempty"` // of a latency, where the workload has several kinds of operations
	Better   string  `json:"better"`       // "higher" or "lower": which ratio is the good one
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
			for _, f := range m.of(runs[0].Phases[place]) {
				if r, ok := ratioOf(runs, subject, place, &m, f.op); ok {
					out = append(out, r)
				}
			}
		}
	}
	return out
}

func ratioOf(runs []Run, subject string, place int, m *metric, op string) (Ratio, bool) {
	own, best, bestName := map[int]float64{}, map[int]float64{}, map[int]string{}
	for _, run := range runs {
		if place >= len(run.Phases) {
			continue
		}
		at := slices.IndexFunc(m.of(run.Phases[place]), func(f figure) bool { return f.op == op })
		if at < 0 {
			continue
		}
		v := m.of(run.Phases[place])[at].value
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
		Workload: runs[0].Phases[place].Workload, Metric: m.name, Op: op, Better: m.better, Engine: subject,
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
	g := grid.New(0)
	g.Row("workload", "figure", first.Engine, "best peer", "", "ratio", "lowest", "highest", "")
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
		m := metricNamed(r.Metric)
		format := m.format
		g.Row(name, m.title(r.Op), format(r.Value), r.Best, format(r.Peer), twoDigits(r.Ratio), twoDigits(r.Low), twoDigits(r.High), verdict)
	}
	g.Print(t.w)
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
