package perf

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func shape(keys int64, value, memtable Size) Config {
	c := DefaultConfig()
	c.Keys, c.ValueSize, c.Memtable = keys, value, memtable
	return c
}

func TestPredictionsThatCanBeDoneByHand(t *testing.T) {
	// 84 B + 16 B a pair and memtables of 1 MB: 10,000 pairs each.
	one := shape(10_000, 84, 1_000_000)
	load, over, ok := Predict("leveled", one, Measured{Tables: 0.5, Log: 1, Peer: true})
	require.True(t, ok)
	require.InDelta(t, 0.5, load.Flush, 1e-9, "each byte is flushed once")
	require.Zero(t, load.Compaction)
	require.InDelta(t, 1.5, load.Factor, 1e-9, "and once into the log")
	require.InDelta(t, 0.5, load.Space, 1e-9)
	require.InDelta(t, 0.5*0.632, over.Flush, 1e-3, "drawing n of n keys meets 1 - 1/e of them")

	_, over2, _ := Predict("leveled", one, Measured{Tables: 0.5, L0: 0.6, Log: 1, Peer: true})
	require.InDelta(t, 0.6*0.632, over2.Flush, 1e-3, "flushes may compress less than the levels below")
	tables, _, _ := Predict("leveled", shape(40_000, 84, 1_000_000), Measured{Tables: 0.5, L0: 0.6, Table: 600_000, Peer: true})
	require.InDelta(t, 0.6, tables.Flush, 1e-9)
	require.InDelta(t, 0.5, tables.Compaction, 1e-9, "600 KB of them are 10,000 pairs")

	four := shape(40_000, 84, 1_000_000)
	for _, policy := range []string{"leveled", "tiered", "lazy", "universal"} {
		load, _, _ = Predict(policy, four, Measured{Tables: 1, Log: 1, Peer: true})
		require.InDelta(t, map[string]float64{"leveled": 1, "tiered": 0, "lazy": 0, "universal": 1}[policy], load.Compaction, 1e-9,
			"%s: four tables are merged once where L0 holds four", policy)
		require.InDelta(t, 1, load.Space, 1e-9)
	}
	_, _, ok = Predict("", four, Measured{Tables: 1})
	require.False(t, ok)
}

func TestPredictionsOrderPolicies(t *testing.T) {
	deep := shape(2_000_000, 500, 4<<20)
	measured := Measured{Tables: 1.01, Log: 1, Peer: true}
	factors := map[string][2]float64{}
	for _, policy := range []string{"leveled", "tiered", "lazy"} {
		load, over, ok := Predict(policy, deep, measured)
		require.True(t, ok)
		factors[policy] = [2]float64{load.Factor, over.Factor}
		require.InDelta(t, 1.01, load.Space, 0.001, "a load has no garbage")
		limit := 1.2
		if policy == "tiered" {
			limit = 1.75
		}
		require.Less(t, over.Space, limit, policy)
		require.Greater(t, over.Space, 1.01, policy)
		more, _, _ := Predict(policy, shape(2_000_000, 500, 16<<20), measured)
		require.Less(t, more.Factor, load.Factor, "larger memtables write less")
	}
	for step := range 2 {
		require.Less(t, factors["tiered"][step], factors["lazy"][step])
		require.Less(t, factors["lazy"][step], factors["leveled"][step])
	}
	require.InDelta(t, 8.5, factors["leveled"][0], 0.3, "RocksDB's measured figure for this shape")

	load, over, _ := Predict("universal", deep, measured)
	require.InEpsilon(t, 9.6, load.Factor, 0.05, "RocksDB's measured figure at 25,000 writes a second, with which it keeps up")
	require.Greater(t, over.Factor, load.Factor)

	measured.Flush, measured.Peer = 64<<20, false
	for policy, f := range factors {
		load, over, _ := Predict(policy, deep, measured)
		require.Less(t, load.Factor, 0.75*f[0], "%s: larger flushes write less", policy)
		require.Less(t, over.Factor, 0.95*f[1], policy)
	}
}

func TestLogAndBlobFilesAreAsMeasured(t *testing.T) {
	load, over, ok := Predict("leveled", shape(10_000, 84, 1_000_000), Measured{Tables: 0.01, Log: 0.5, Blob: 0.6, Peer: true})
	require.True(t, ok)
	require.InDelta(t, 1.11, load.Factor, 1e-9)
	require.InDelta(t, 1.1+over.Flush, over.Factor, 1e-9)
}

func TestStacksThatFallBehind(t *testing.T) {
	deep := shape(2_000_000, 500, 4<<20)
	says := func(policy string, lead float64) (load, over Prediction) {
		load, over, ok := Predict(policy, deep, Measured{Tables: 1.01, Log: 1, Flush: 64 << 20, Table: 58 << 20, Lead: [2]float64{lead, lead}})
		require.True(t, ok)
		return load, over
	}
	for _, policy := range []string{"tiered", "lazy"} {
		kept, keptOver := says(policy, 0)
		fast, fastOver := says(policy, 1e6)
		require.InEpsilon(t, kept.Factor, fast.Factor, 1e-9, "%s: fast enough is all that there is to do", policy)
		require.InEpsilon(t, keptOver.Factor, fastOver.Factor, 1e-9, policy)
		before := math.Inf(1)
		for _, lead := range []float64{1e6, 4, 2, 1.5, 1.2, 1} {
			_, over := says(policy, lead)
			require.LessOrEqual(t, over.Factor, before, "%s: what is merged later is merged with more", policy)
			require.InDelta(t, keptOver.Space, over.Space, 0.02, "%s: all is settled in the end", policy)
			before = over.Factor
		}
	}
	_, kept := says("lazy", 0)
	_, behind := says("lazy", 1.2)
	require.Less(t, behind.Factor, 0.65*kept.Factor, "the last level of lazy is rewritten for space, most when little lies above it")
}

func TestPaceOfStacks(t *testing.T) {
	m := &stackModel{treeModel: &treeModel{keys: 100, unit: 1}, lead: 1.5}
	m.columns = [][]float64{{10, 100}}
	require.InDelta(t, 1.5, m.pace(0), 1e-9, "nothing is behind")
	m.l0 = make([]float64, 12)
	require.InDelta(t, 1.5, m.pace(0), 1e-9, "14 runs of 12 to 16, and all that is compacted leaves L0: as much is let in as leaves it")
	m.merged, m.fromL0 = 6, 2
	require.InDelta(t, 3, m.pace(0), 1e-9, "a third of what is compacted leaves L0")
	require.InDelta(t, 9, m.pace(1), 1e-9, "at three quarters of the way a third of that is let in")
	m.l0, m.columns = nil, [][]float64{{90, 100}}
	require.InDelta(t, 3, m.pace(0), 1e-9, "the tree is at 1.9 of 1.6 to 2.2 times its last level")
	m.unit = 50
	require.InDelta(t, 1.5, m.pace(0), 1e-9, "a small tree may be any multiple of its last level")
}

func TestCheapestRunOfAColumn(t *testing.T) {
	require.Equal(t, 2, cheapest([]float64{1, 1, 1, 9, 100}), "9 is much for one run less")
	require.Equal(t, 4, cheapest([]float64{5, 5, 5, 5, 8}), "what reaches the last run is not counted")
}

func TestSpeedsOfARun(t *testing.T) {
	const s = time.Second
	p := &Phase{Elapsed: 10 * s, Threads: 2, Settled: &Amplification{UserBytes: 800}, Jobs: []Job{
		{Kind: "flush", Wrote: 90, At: 0, Took: s}, {Kind: "flush", Wrote: 100, At: 3 * s, Took: s}, {Kind: "flush", Wrote: 10, At: 9 * s, Took: 2 * s},
		{Kind: "compaction", Wrote: 1000, At: -2 * s, Took: 3 * s},
		{Kind: "compaction", Wrote: 200, At: 1 * s, Took: 4 * s},
		{Kind: "compaction", Wrote: 100, At: 2 * s, Took: 2 * s},
		{Kind: "move", At: 3 * s, Took: s},
		{Kind: "compaction", Wrote: 60, At: 6 * s, Took: 2 * s},
		{Kind: "compaction", Wrote: 1000, At: 9 * s, Took: 3 * s},
	}}
	require.InDelta(t, 90, flushedTable(p.Jobs), 1e-9)
	p.Stalls.ByCause = map[string]time.Duration{"l0files": 3 * s, "debt": s, "log": 5 * s}
	// 360 bytes in the 6 seconds at work; 400 bytes of tables in the 8 that two writers were not both held back.
	require.InDelta(t, 60./50, leadOf(p, 0.5), 1e-9)
	require.Zero(t, leadOf(&Phase{Elapsed: s, Settled: &Amplification{UserBytes: 1}}, 1), "an engine that does not tell")
	require.Zero(t, flushedTable(nil))
}

func TestUniversalPick(t *testing.T) {
	for _, pick := range []struct {
		runs     []float64
		from, to int
		why      string
	}{
		{[]float64{1, 1, 1}, 0, 0, "three runs may stay"},
		{[]float64{1, 1, 1, 1}, 0, 4, "those above are more than twice the last"},
		{[]float64{1, 1, 2, 100}, 0, 3, "of similar size"},
		{[]float64{1, 5, 5, 100}, 1, 3, "of similar size, behind a small one"},
		{[]float64{1, 5, 20, 100}, 0, 0, "four runs, each much larger"},
		{[]float64{1, 5, 20, 100, 500}, 0, 2, "one too many"},
	} {
		from, to := universalPick(pick.runs)
		require.Equal(t, []int{pick.from, pick.to}, []int{from, to}, pick.why)
	}
}

func TestModelsOfEngines(t *testing.T) {
	for _, want := range []struct{ engine, policy, model string }{
		{"cambium", "lazy", "lazy"},
		{"pebble-same-memory", "leveled", "leveled"},
		{"rocksdb-direct", "leveled", "leveled"},
		{"rocksdb", "tiered", "universal"},
		{"badger", "leveled", ""},
		{"pebble", "tiered", ""},
	} {
		require.Equal(t, want.model, modelOf(want.engine, want.policy), "%s %s", want.engine, want.policy)
	}
}

func TestOnlyTwoStepsArePredicted(t *testing.T) {
	run := Run{Config: shape(1000, 100, 64<<10), Phases: make([]Phase, 4)}
	for i := range run.Phases {
		run.Phases[i].Space = Space{Live: 116_000, Tables: 120_000}
		run.Phases[i].Settled = &Amplification{UserBytes: 116_000}
	}
	run.Phases[2].Workload = "overwrite"
	run.predict()
	require.NotNil(t, run.Phases[0].Predicted)
	require.Nil(t, run.Phases[1].Predicted)
	require.NotNil(t, run.Phases[2].Predicted)

	run.Phases[2].Workload, run.Phases[2].Predicted = "overwrite-zipfian", nil
	run.predict()
	require.Nil(t, run.Phases[2].Predicted, "the formula is about keys drawn uniformly")
}
