//go:build bugs

package sim

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/bugs"
)

// TestControls brings known bugs back: each must be found.
func TestControls(t *testing.T) {
	defer bugs.Bring(bugs.None)
	for bug := bugs.None + 1; bug < bugs.Count; bug++ {
		t.Run(bug.String(), func(t *testing.T) {
			bugs.Bring(bug)
			for seed := uint64(1); seed <= 1000; seed++ {
				r := Run(Options{Seed: seed})
				if len(r.Violations) > 0 {
					t.Logf("found by seed %d: %s", seed, r.Violations[0])
					return
				}
				if bug == bugs.OperationsForgotten && r.Stats.Twice > 0 {
					bugs.Bring(bugs.None)
					require.Zero(t, Run(Options{Seed: seed}).Stats.Twice, "seed %d without the bug: what docs/cluster.md says of late copies", seed)
					t.Logf("found by seed %d: %d late second copies came back", seed, r.Stats.Twice)
					return
				}
			}
			t.Error("not found in 1000 seeds")
		})
	}
}
