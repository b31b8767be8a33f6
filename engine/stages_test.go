package engine_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
)

// TestRocksDBOpensEveryStage loads and overwrites under the policies that stack runs, and has ldb open and
// scan what is there at each stage, whatever compaction is at.
func TestRocksDBOpensEveryStage(t *testing.T) {
	needTool(t, "ldb")
	for _, policy := range []engine.Compaction{engine.Tiered, engine.LazyLeveled} {
		t.Run(policy.String(), func(t *testing.T) {
			dir := t.TempDir()
			db := open(t, filepath.Join(dir, "db"), &engine.Options{
				Compaction: policy, MemtableSize: 64 << 10, MemoryBudget: 8 << 20, Sync: engine.SyncNone,
			})
			rng := rand.New(rand.NewPCG(7, uint64(policy)))
			written := map[int]bool{}
			deepest := 0
			for stage := range 12 {
				for i := range 4000 {
					k := rng.IntN(20_000)
					written[k] = true
					value := make([]byte, 100+rng.IntN(100))
					for i := range value {
						value[i] = byte(rng.Uint32())
					}
					require.NoError(t, db.Put(fmt.Appendf(nil, "key%06d", k), value, nil))
					if i%500 == 499 {
						require.NoError(t, db.Flush()) // small tables make for a deep tree
						deepest = max(deepest, oldRuns(t, db))
					}
				}
				at := filepath.Join(dir, fmt.Sprintf("stage%d", stage))
				require.NoError(t, db.Checkpoint(at))
				require.Equal(t, len(written), compareWithRocksDB(t, at), "stage %d", stage)
			}
			require.GreaterOrEqual(t, deepest, 2, "the tree had several old runs")
			require.NoError(t, db.Close())
		})
	}
}

// oldRuns counts the runs below L0 and checks the shape that RocksDB needs.
func oldRuns(t *testing.T, db *engine.DB) (runs int) {
	for _, l := range db.Metrics().Levels {
		if l.Level == 0 {
			require.Equal(t, l.Tables, l.Runs, "each run of L0 is one file")
			continue
		}
		require.LessOrEqual(t, l.Runs, 1, "an old run is a level")
		runs += l.Runs
	}
	return runs
}
