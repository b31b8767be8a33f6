package cluster

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/cambiumdb/cambium/internal/grid"
	"github.com/cambiumdb/cambium/perf"
)

// Print writes the tables for people.
func (r *Report) Print(w io.Writer) {
	fmt.Fprintf(w, "%s clients, %s keys of %d bytes, values of %s, consistency %s, sync %s, %s a step, %d round(s)\n",
		perf.Count(int64(r.Config.Clients)), perf.Count(r.Config.Keys), keySize, perf.Bytes(int64(r.Config.ValueSize)),
		r.Config.Consistency, r.Config.Sync, r.Config.Duration, r.Config.Rounds)
	r.throughput(w)
	r.latencies(w)
	r.outcomes(w)
	r.recoveries(w)
	r.verdicts(w)
	for _, problem := range r.problems() {
		fmt.Fprintf(w, "\nWRONG %s\n", problem)
	}
}

// each calls row for every step and engine that was measured. name is empty where the row before had it.
func (r *Report) each(row func(name, engine string, list []Measured)) {
	steps, engines := r.names()
	for _, step := range steps {
		name := step
		for _, engine := range engines {
			if list := r.all(step, engine); len(list) > 0 {
				row(name, engine, list)
				name = ""
			}
		}
	}
}

func (r *Report) throughput(w io.Writer) {
	g := grid.New(0, 1)
	g.Row("step", "engine", "loop", "ops/s", "lowest", "highest", "servers' CPU/op", "clients' CPU/op")
	r.each(func(name, engine string, list []Measured) {
		m, low, high := median(list)
		loop := "closed"
		if m.Rate > 0 {
			loop = "open " + perf.Count(int64(m.Rate)) + "/s"
		}
		servers := "-"
		if m.ServerCPU != nil {
			servers = perOp(*m.ServerCPU, m.ops())
		}
		g.Row(name, engine, loop, perf.Count(int64(m.Throughput)), perf.Count(int64(low)), perf.Count(int64(high)), servers, perOp(m.ClientCPU, m.ops()))
	})
	fmt.Fprintf(w, "\nThroughput  each line is the round of median throughput; CPU time of all servers together\n\n")
	g.Print(w)
}

func perOp(cpu time.Duration, ops float64) string {
	return perf.Seconds(time.Duration(float64(cpu) / ops))
}

func (r *Report) latencies(w io.Writer) {
	g := grid.New(0, 1, 2)
	g.Row("step", "engine", "op", "p50", "p90", "p99", "p99.9", "max")
	r.each(func(name, engine string, list []Measured) {
		m, _, _ := median(list)
		for _, l := range []*perf.Latency{m.Puts, m.Gets} {
			if l != nil {
				g.Row(name, engine, l.Op, perf.Seconds(l.P50), perf.Seconds(l.P90), perf.Seconds(l.P99), perf.Seconds(l.P999), perf.Seconds(l.Max))
				name, engine = "", ""
			}
		}
	})
	fmt.Fprintf(w, "\nLatency  of an open loop from the intended start\n\n")
	g.Print(w)
}

func (r *Report) outcomes(w io.Writer) {
	g := grid.New(0, 1)
	g.Row("step", "engine", "ok", "failed", "unknown", "not begun", "stale", "missing", "siblings got", "made", "swaps lost", "longest gap", "median")
	r.each(func(name, engine string, list []Measured) {
		var sum Load
		for _, m := range list {
			sum.OK += m.OK
			sum.Failed += m.Failed
			sum.Unknown += m.Unknown
			sum.Unbegun += m.Unbegun
			sum.Stale += m.Stale
			sum.Missing += m.Missing
			sum.Retries += m.Retries
			sum.Siblings += m.Siblings
			sum.Created += m.Created
			sum.Gap = max(sum.Gap, m.Gap)
			sum.MedianGap = max(sum.MedianGap, m.MedianGap)
		}
		g.Row(name, engine, perf.Count(sum.OK), perf.Count(sum.Failed), perf.Count(sum.Unknown), perf.Count(sum.Unbegun), perf.Count(sum.Stale),
			perf.Count(sum.Missing), perf.Count(sum.Siblings), perf.Count(sum.Created), perf.Count(sum.Retries), perf.Seconds(sum.Gap), perf.Seconds(sum.MedianGap))
	})
	fmt.Fprintf(w, "\nOutcomes  of all rounds; gaps: the longest time without a success, of the worst client and of the client in the middle\n\n")
	g.Print(w)
	r.errors(w)
}

// errors says why operations did not succeed.
func (r *Report) errors(w io.Writer) {
	r.each(func(_, engine string, list []Measured) {
		reasons, example := map[string]int64{}, ""
		for _, m := range list {
			for reason, n := range m.Errors {
				reasons[reason] += n
			}
			if example == "" {
				example = m.Example
			}
		}
		if len(reasons) == 0 {
			return
		}
		var words []string
		for reason, n := range reasons {
			words = append(words, fmt.Sprintf("%s %s", reason, perf.Count(n)))
		}
		slices.Sort(words)
		fmt.Fprintf(w, "  %s %s: %s; such as: %s\n", engine, list[0].Name, strings.Join(words, ", "), example)
	})
}

func (r *Report) recoveries(w io.Writer) {
	if len(r.Config.Chaos) == 0 {
		return
	}
	g := grid.New(0, 1)
	g.Row("step", "engine", "nodes up", "hints drained", "converged", "hints seen", "keys lost", "keys with siblings")
	r.each(func(name, engine string, list []Measured) {
		for _, m := range list {
			rec := m.Recovery
			switch {
			case rec == nil:
				continue
			case engine == Own:
				g.Row(name, engine, perf.Seconds(rec.AllUp), perf.Seconds(rec.Drained), perf.Seconds(rec.Converged), perf.Bytes(int64(rec.MostHints)), rec.Lost, rec.Siblings)
			default:
				g.Row(name, engine, "-", "-", "-", "-", rec.Lost, rec.Siblings)
			}
			name = ""
		}
	})
	var events []string
	for _, e := range r.Config.Chaos {
		events = append(events, e.String())
	}
	fmt.Fprintf(w, "\nRecovery  after %s; since all servers run again, of each round\n\n", strings.Join(events, ","))
	g.Print(w)
}

func (r *Report) verdicts(w io.Writer) {
	if len(r.Verdicts) == 0 {
		return
	}
	g := grid.New(0, 1)
	g.Row("step", "figure", "median", "lowest", "highest", "target", "met")
	for _, v := range r.Verdicts {
		number := func(f float64) string {
			if v.AtMost {
				return fmt.Sprintf("%.4f", f)
			}
			return fmt.Sprintf("%.2f", f)
		}
		met := map[bool]string{true: "yes", false: "no"}[v.Met]
		if v.Target == 0 {
			met = "-"
		}
		g.Row(v.Step, v.Figure, number(v.Got), number(v.Low), number(v.High), v.want(), met)
	}
	fmt.Fprintf(w, "\nTargets  ratios are those of rounds\n\n")
	g.Print(w)
}
