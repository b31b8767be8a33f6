package perf

import (
	"testing"

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
	load, over, ok := Predict("leveled", one, Measured{Tables: 0.5, Log: 1})
	require.True(t, ok)
	require.InDelta(t, 0.5, load.Flush, 1e-9, "each byte is flushed once")
	require.Zero(t, load.Compaction)
	require.InDelta(t, 1.5, load.Factor, 1e-9, "and once into the log")
	require.InDelta(t, 0.5, load.Space, 1e-9)
	require.InDelta(t, 0.5*0.632, over.Flush, 1e-3, "drawing n of n keys meets 1 - 1/e of them")

	four := shape(40_000, 84, 1_000_000)
	for _, policy := range []string{"leveled", "tiered", "lazy"} {
		load, _, _ = Predict(policy, four, Measured{Tables: 1, Log: 1})
		require.InDelta(t, map[string]float64{"leveled": 1, "tiered": 0, "lazy": 0}[policy], load.Compaction, 1e-9,
			"%s: four tables are merged once where L0 holds four", policy)
		require.InDelta(t, 1, load.Space, 1e-9)
	}
	_, _, ok = Predict("universal", four, Measured{Tables: 1})
	require.False(t, ok)
}

func TestPredictionsOrderPolicies(t *testing.T) {
	deep := shape(2_000_000, 500, 4<<20)
	measured := Measured{Tables: 1.01, Log: 1}
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

	measured.Flush = 64 << 20
	for policy, f := range factors {
		load, over, _ := Predict(policy, deep, measured)
		require.Less(t, load.Factor, 0.75*f[0], "%s: larger flushes write less", policy)
		require.Less(t, over.Factor, 0.95*f[1], policy)
	}
}

func TestLogAndBlobFilesAreAsMeasured(t *testing.T) {
	load, over, ok := Predict("leveled", shape(10_000, 84, 1_000_000), Measured{Tables: 0.01, Log: 0.5, Blob: 0.6})
	require.True(t, ok)
	require.InDelta(t, 1.11, load.Factor, 1e-9)
	require.InDelta(t, 1.1+over.Flush, over.Factor, 1e-9)
}

func TestOnlyOwnPoliciesArePredicted(t *testing.T) {
	run := Run{Config: shape(1000, 100, 64<<10), Phases: make([]Phase, 4)}
	for i := range run.Phases {
		run.Phases[i].Space = Space{Live: 116_000, Tables: 120_000}
		run.Phases[i].Settled = &Amplification{UserBytes: 116_000}
	}
	for engine, want := range map[string]bool{"cambium": true, "rocksdb": false, "badger": false} {
		one := run
		one.Phases = append([]Phase(nil), run.Phases...)
		one.Config.Engine, one.Config.Compaction = engine, "tiered"
		one.predict()
		require.Equal(t, want, one.Phases[0].Predicted != nil, engine)
		require.Equal(t, want, one.Phases[2].Predicted != nil, engine)
		require.Nil(t, one.Phases[1].Predicted)
	}
}
