package perf

import (
	"bytes"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"
)

// threeEngines are two rounds of one workload.
func threeEngines() []Run {
	var runs []Run
	for round, scale := range []float64{1, 2} {
		for _, e := range []struct {
			engine string
			ops    float64
			p99    time.Duration
		}{{"cambium", 1200, 40}, {"pebble", 1000, 50}, {"rocksdb", 600, 30}} {
			ops := e.ops * scale
			if e.engine == "cambium" && round == 1 {
				ops = 1600
			}
			runs = append(runs, Run{
				Name: e.engine + "/leveled", Round: round,
				Config: Config{Engine: e.engine, Compaction: "leveled"},
				Phases: []Phase{{
					Workload: "fillrandom", Ops: 100, Elapsed: time.Second, Throughput: ops,
					Latency: []Latency{{Op: "put", Count: 100, P99: e.p99 * time.Microsecond}},
				}},
			})
		}
	}
	return runs
}

func TestRatiosAreOfOneRound(t *testing.T) {
	all := Ratios(threeEngines())
	require.Equal(t, Ratio{
		Workload: "fillrandom", Metric: "throughput", Better: "higher", Engine: "cambium", Value: 1400,
		Best: "pebble", Peer: 1500, Ratio: 1, Low: 0.8, High: 1.2, Rounds: 2,
	}, all[0])
	require.Equal(t, "p99", all[1].Metric)
	require.Equal(t, "rocksdb", all[1].Best, "the best latency is the lowest")
	require.InDelta(t, 4.0/3, all[1].Ratio, 1e-9)
	require.Len(t, all, 2, "nothing that was not measured")
	require.Empty(t, Ratios(threeEngines()[:1]))
	require.Empty(t, Ratios(nil))
}

func TestMedian(t *testing.T) {
	require.Equal(t, 2.0, median([]float64{3, 1, 2}))
	require.Equal(t, 2.5, median([]float64{4, 1, 2, 3}))
	require.Zero(t, median(nil))
}

// TestTables shows what people and tools read.
func TestTables(t *testing.T) {
	datadriven.RunTest(t, "testdata/tables", func(t *testing.T, d *datadriven.TestData) string {
		var b bytes.Buffer
		text := NewText(&b)
		switch d.Cmd {
		case "ratios":
			text.Ratios(Ratios(threeEngines()))
		case "fairness":
			text.Fairness([]Condition{
				{"sync", map[string]string{"cambium": "each write", "pebble": "each write"}},
				{"files", map[string]string{"cambium": "direct I/O", "pebble": "page cache"}},
				{"not measured", map[string]string{"pebble": "manifest bytes"}},
			}, []string{"cambium", "pebble"})
		case "benchstat":
			r := &Report{Kind: "run", Machine: Machine{OS: "linux", Arch: "amd64", CPUs: 2}, Runs: []Run{exampleRun()}}
			r.Runs[0].Phases = append(r.Runs[0].Phases, threeEngines()[0].Phases[0])
			require.NoError(t, r.WriteBenchstat(&b))
		default:
			d.Fatalf(t, "unknown command %s", d.Cmd)
		}
		return b.String()
	})
}
