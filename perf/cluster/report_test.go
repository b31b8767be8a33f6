package cluster

import (
	"bytes"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/perf"
)

// step is a measured step whose latencies follow from one number.
func step(name string, rate, perSecond float64, p99 time.Duration) Measured {
	ok := int64(perSecond * 10)
	cpu := time.Duration(ok) * 80 * time.Microsecond
	m := Measured{Name: name, ServerCPU: &cpu, Load: Load{
		Step: Step{Do: doLoad, Mix: Mix{Name: name[:3]}, Rate: rate, Duration: 10 * time.Second}, Elapsed: 10 * time.Second, OK: ok, Throughput: perSecond,
		Gap: 5 * p99, MedianGap: 3 * p99, ClientCPU: cpu / 4,
	}}
	l := &perf.Latency{Op: m.Mix.Name, Count: ok, P50: p99 / 8, P90: p99 / 3, P99: p99, P999: 2 * p99, Max: 4 * p99}
	if m.Mix.Name == "put" {
		m.Puts = l
	} else {
		m.Gets = l
	}
	return m
}

func sample() *Report {
	cfg := DefaultConfig()
	cfg.Nodes, cfg.Peers, cfg.Rounds = 3, []string{Etcd, Redis}, 2
	cfg.Chaos = []Event{{"kill", "n3", 2 * time.Second, time.Second}}
	r := newReport(cfg, []string{"kvbench", "cluster"}, os.TempDir(), time.Unix(0, 0))
	for round, faster := range []float64{1, 1.1} {
		half := step("put-half", 4500*faster, 4500*faster, 15*time.Millisecond)
		half.Unknown, half.Failed, half.Created, half.Siblings, half.Stale = 2, 1, 1, 3, 0
		half.Errors, half.Example = map[string]int64{"timeout": 2, "unavailable": 1}, "put \"k\": needs 2"
		half.Recovery = &Recovery{AllUp: 40 * time.Millisecond, Drained: 900 * time.Millisecond, Converged: 2 * time.Second, MostHints: 3 << 20}
		peer := step("put-half", 1000, 1000, 30*time.Millisecond)
		peer.Recovery = &Recovery{}
		unknown := step("get", 0, 60_000, time.Millisecond)
		unknown.ServerCPU = nil
		r.Runs = append(r.Runs,
			Run{Round: round, Engine: Redis, Steps: []Measured{step("put", 0, 9100, 4*time.Millisecond), step("put-half", 4550, 4550, time.Millisecond), unknown}},
			Run{Round: round, Engine: Own, Steps: []Measured{step("put", 0, 9000*faster, 20*time.Millisecond), half, step("get", 0, 25_000*faster, 8*time.Millisecond), step("get-half", 12_500, 12_500, 11*time.Millisecond)}},
			Run{Round: round, Engine: Etcd, Steps: []Measured{step("put", 0, 2000, 60*time.Millisecond), peer, step("get", 0, 5000, 30*time.Millisecond)}},
		)
	}
	r.judge()
	return r
}

func TestText(t *testing.T) {
	var b bytes.Buffer
	sample().Print(&b)
	const golden = "testdata/report.txt"
	if os.Getenv("UPDATE") != "" {
		require.NoError(t, os.WriteFile(golden, b.Bytes(), 0o666))
	}
	want, err := os.ReadFile(golden)
	require.NoError(t, err)
	require.Equal(t, string(want), b.String())
}

func TestVerdicts(t *testing.T) {
	r := sample()
	require.Equal(t, []string{"get: throughput / etcd is 5.5, want >= 6"}, func() []string {
		r.Verdicts = []Verdict{{Step: "get", Figure: "throughput / etcd", Got: 5.5, Target: 6}, {Step: "get", Got: 1}, {Step: "put", Got: 7, Target: 6, Met: true}}
		return r.missed()
	}())
	r.judge()
	require.Equal(t, []string{"put: throughput / redis is 0.989, want >= 1", "get-half: p99 in seconds is 0.011, want < 0.01"}, r.missed())

	for sync, want := range map[string]float64{"per-second": 4, "per-write": 2} {
		r.Config.Sync = sync
		require.Equal(t, want, r.ratioTarget("put", Etcd))
	}
	r.Config.Consistency = "one"
	r.judge()
	for _, v := range r.Verdicts {
		require.Zero(t, v.Target, "targets are for QUORUM")
	}
}

func TestProblems(t *testing.T) {
	r := sample()
	require.Empty(t, r.problems())
	r.Runs[1].Steps[0].Wrong = 3
	r.Runs[1].Steps[1].Recovery.Lost = 2
	r.Runs[2].Steps[0].OK = 0
	r.Runs[2].Steps[0].Example = "refused"
	require.Equal(t, []string{
		"cambium, round 1, put: 3 gets found a value that is not one of their key's",
		"cambium, round 1, put-half: of 2 keys an acknowledged version is gone",
		"etcd, round 1, put: no operation succeeded: refused",
	}, r.problems())
}
