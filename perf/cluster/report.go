package cluster

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/cambiumdb/cambium/perf"
)

// Schema names the JSON form of Report. Fields may be added under one number; a change of
// meaning or a removal raises it.
const Schema = "cambium.kvbench.cluster/1"

// Report is the result of `kvbench cluster`.
type Report struct {
	Schema   string           `json:"schema"`
	Time     time.Time        `json:"time"`
	Command  []string         `json:"command,omitempty"`
	Build    perf.Build       `json:"build"`
	Machine  perf.Machine     `json:"machine"`
	Config   Config           `json:"config"`
	Fairness []perf.Condition `json:"fairness,omitempty"`
	Runs     []Run            `json:"runs"`
	Verdicts []Verdict        `json:"verdicts,omitempty"`

	head *perf.Report
}

// Run is one engine in one round.
type Run struct {
	Round  int        `json:"round"` // from 0
	Engine string     `json:"engine"`
	Steps  []Measured `json:"steps"`
}

// Measured is a step, and what it cost and left behind.
type Measured struct {
	Load
	Name      string         `json:"name"`
	ServerCPU *time.Duration `json:"server_cpu_ns,omitempty"` // of all servers; nil: not known
	Recovery  *Recovery      `json:"recovery,omitempty"`      // of a step with chaos
}

// Verdict is a target and what was measured.
type Verdict struct {
	Step   string  `json:"step"`
	Figure string  `json:"figure"`
	Got    float64 `json:"got"`
	Low    float64 `json:"low"` // of all rounds
	High   float64 `json:"high"`
	Target float64 `json:"target"`
	AtMost bool    `json:"at_most"` // else at least
	Met    bool    `json:"met"`
}

// ratioTargets are how much more than a peer an engine of ours should do, closed loop, by sync at QUORUM, or else by
// consistency, step and peer.
var ratioTargets = map[string]map[string]map[string]float64{
	"per-second": {"put": {Etcd: 4, Redis: 1}, "get": {Etcd: 3}},
	"per-write":  {"put": {Etcd: 2, Redis: 1}, "get": {Etcd: 3}},
	linearizable: {"put": {Etcd: 2}, "get": {Etcd: 2.5}, "cas": {Etcd: 10}},
}

// latencyTargets are for the 99th percentile at half of saturation, at QUORUM and linearizable.
var latencyTargets = map[string]time.Duration{"put": 20 * time.Millisecond, "get": 10 * time.Millisecond}

func newReport(cfg Config, command []string, dir string, now time.Time) *Report {
	head := perf.NewReport("cluster", command, dir, perf.Config{}, now)
	return &Report{Schema: Schema, Time: head.Time, Command: command, Build: head.Build, Machine: head.Machine, Config: cfg, head: head}
}

// WriteJSON writes the report, indented.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// step names and engines, in the order in which they were measured.
func (r *Report) names() (steps, engines []string) {
	for _, run := range r.Runs {
		if !slices.Contains(engines, run.Engine) {
			engines = append(engines, run.Engine)
		}
		for _, s := range run.Steps {
			if !slices.Contains(steps, s.Name) {
				steps = append(steps, s.Name)
			}
		}
	}
	slices.SortFunc(engines, func(a, b string) int {
		order := r.Config.engines()
		return cmp.Compare(slices.Index(order, a), slices.Index(order, b))
	})
	return steps, engines
}

// all are the figures of a step of an engine, by round.
func (r *Report) all(step, engine string) (list []Measured) {
	for _, run := range r.Runs {
		for _, s := range run.Steps {
			if run.Engine == engine && s.Name == step {
				list = append(list, s)
			}
		}
	}
	return list
}

// middle is the median of sorted values, the lower one of two.
func middle[T any](sorted []T) T { return sorted[(len(sorted)-1)/2] }

// median is the step of median throughput, and the lowest and the highest throughput.
func median(list []Measured) (m Measured, low, high float64) {
	sorted := slices.SortedFunc(slices.Values(list), func(a, b Measured) int { return cmp.Compare(a.Throughput, b.Throughput) })
	return middle(sorted), sorted[0].Throughput, sorted[len(sorted)-1].Throughput
}

// judge fills in the verdicts.
func (r *Report) judge() {
	r.Verdicts = nil
	steps, engines := r.names()
	for _, step := range steps {
		own := r.all(step, Own)
		if len(own) == 0 {
			continue
		}
		for _, peer := range engines {
			if other := r.all(step, peer); peer != Own && own[0].Rate == 0 {
				r.Verdicts = append(r.Verdicts, compare(step, peer, own, other, r.ratioTarget(step, peer)))
			}
		}
		if target := latencyTargets[own[0].Mix.Name]; own[0].Rate > 0 && r.Config.Rate == HalfRate && slices.Contains([]string{"quorum", linearizable}, r.Config.Consistency) && target > 0 {
			r.Verdicts = append(r.Verdicts, latencyVerdict(step, own, target))
		}
	}
}

// ratioTarget is 0 where there is none.
func (r *Report) ratioTarget(step, peer string) float64 {
	switch r.Config.Consistency {
	case "quorum":
		return ratioTargets[r.Config.Sync][step][peer]
	case linearizable:
		return ratioTargets[linearizable][step][peer]
	}
	return 0
}

// compare is the ratio of the throughputs of rounds.
func compare(step, peer string, own, other []Measured, target float64) Verdict {
	var ratios []float64
	for i := range min(len(own), len(other)) {
		ratios = append(ratios, own[i].Throughput/other[i].Throughput)
	}
	slices.Sort(ratios)
	got := middle(ratios)
	return Verdict{
		Step: step, Figure: "throughput / " + peer, Got: got, Low: ratios[0], High: ratios[len(ratios)-1], Target: target, Met: got >= target,
	}
}

func latencyVerdict(step string, own []Measured, target time.Duration) Verdict {
	var all []time.Duration
	for _, m := range own {
		all = append(all, m.main().P99)
	}
	slices.Sort(all)
	got := middle(all)
	return Verdict{
		Step: step, Figure: "p99 in seconds", Got: got.Seconds(), Low: all[0].Seconds(), High: all[len(all)-1].Seconds(),
		Target: target.Seconds(), AtMost: true, Met: got < target,
	}
}

// main is the latency of the operations that the step is about.
func (m Measured) main() perf.Latency {
	switch {
	case m.Puts == nil && m.Gets == nil:
		return perf.Latency{}
	case m.Puts == nil:
		return *m.Gets
	}
	return *m.Puts
}

// problems are what makes the result wrong.
func (r *Report) problems() (all []string) {
	for _, run := range r.Runs {
		for _, s := range run.Steps {
			at := fmt.Sprintf("%s, round %d, %s", run.Engine, run.Round+1, s.Name)
			if rec := s.Recovery; rec != nil && rec.Lost > 0 {
				all = append(all, fmt.Sprintf("%s: of %d keys an acknowledged version is gone", at, rec.Lost))
			}
			if s.Wrong > 0 && s.Mix.Swaps {
				all = append(all, at+": the increments that were acknowledged are not what the key counts")
			} else if s.Wrong > 0 {
				all = append(all, fmt.Sprintf("%s: %d gets found a value that is not one of their key's", at, s.Wrong))
			}
			if s.OK == 0 {
				all = append(all, fmt.Sprintf("%s: no operation succeeded: %s", at, s.Example))
			}
		}
	}
	return all
}

// missed are the targets that were not met.
func (r *Report) missed() (all []string) {
	for _, v := range r.Verdicts {
		if v.Target > 0 && !v.Met {
			all = append(all, fmt.Sprintf("%s: %s is %.3g, want %s", v.Step, v.Figure, v.Got, v.want()))
		}
	}
	return all
}

func (v Verdict) want() string {
	switch {
	case v.Target == 0:
		return "-"
	case v.AtMost:
		return fmt.Sprintf("< %g", v.Target)
	}
	return fmt.Sprintf(">= %g", v.Target)
}
