package compaction

import (
	"fmt"
	"math/rand"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/ikey"
)

// TestSwitching lets the policies take turns over one tree, whatever shape the one before, or
// plans that no policy would make, have left it in. At every turn the tree settles, and every
// view of the data stays the same.
func TestSwitching(t *testing.T) {
	names := []string{"leveled", "tiered", "lazy"}
	for seed := range int64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rng := rand.New(rand.NewSource(seed))
			o := Options{BaseBytes: 2 << 10 << rng.Intn(4), TargetFileBytes: 1 << 10 << rng.Intn(3), Ratio: 3 + rng.Intn(8),
				L0Trigger: 2 + rng.Intn(3), MaxRuns: 3 + rng.Intn(10), MaxSpace: 1.1 + rng.Float64()}
			tr := newTree(t, o)
			for turn := range 18 {
				tr.policy = makers[names[(int(seed)+turn*(1+int(seed)%2))%len(names)]](o)
				for range 1 + rng.Intn(6) {
					tr.workload(rng, 20+rng.Intn(120), 400, 150)
					_, err := tr.flush()
					require.NoError(t, err)
					if plan := tr.policy.Pick(tr.v, nil); plan != nil && rng.Intn(3) > 0 {
						tr.run(plan)
					}
				}
				switch rng.Intn(4) {
				case 0:
					tr.snapshots = append(tr.snapshots, tr.seq)
				case 1:
					if len(tr.snapshots) > 0 {
						tr.snapshots = slices.Delete(tr.snapshots, 0, 1)
					}
				}
				tr.now += uint64(rng.Intn(60))
				for range rng.Intn(4) {
					if plan := tr.randomPlan(rng); plan != nil {
						tr.run(plan)
					}
				}
				tr.check()
				tr.settle()
				tr.check()
				for _, s := range tr.policy.Scores(tr.v) {
					require.Less(t, s.Score, 1.0, "settled, but L%d has work", s.Level)
				}
			}
			tr.snapshots = nil
			tr.compactAll()
			tr.check()
			entries := uint64(0)
			for _, level := range tr.v.Levels {
				for _, table := range level {
					entries += table.Stats.Entries
				}
			}
			require.Equal(t, len(tr.modelAt(ikey.MaxSeq)), int(entries))
		})
	}
}

// TestSettledStacks bounds what a settled stack may look like, whatever was written.
func TestSettledStacks(t *testing.T) {
	for name, make := range map[string]func(Options) Policy{"tiered": NewTiered, "lazy": NewLazyLeveled} {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewSource(3))
			o := Options{TargetFileBytes: 2 << 10, MaxRuns: 10, MaxSpace: 1.4}
			tr := newTree(t, o)
			tr.policy = make(o)
			for range 120 {
				tr.workload(rng, 150, 2000, 1)
				_, err := tr.flush()
				require.NoError(t, err)
				tr.settle()
				require.LessOrEqual(t, runsOf(tr.v), 10)
				require.Empty(t, tr.v.Levels[1])
				base := tr.v.LevelBytes(bottom)
				var upper int64
				for level := 1; level < bottom; level++ {
					upper += tr.v.LevelBytes(level)
				}
				if upper > 0 {
					require.LessOrEqual(t, float64(tr.bytes()), 1.4*float64(base))
				}
			}
			tr.check()
		})
	}
}
