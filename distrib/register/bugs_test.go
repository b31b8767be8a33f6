//go:build bugs

package register

import (
	"testing"

	"github.com/cambiumdb/cambium/internal/bugs"
)

// TestControlsOfSteps brings known mistakes in the steps back, each in a small world in which it shows.
func TestControlsOfSteps(t *testing.T) {
	defer bugs.Bring(bugs.None)
	for bug, s := range map[bugs.Bug]scope{
		bugs.NoIdentityRound: {scripts: scripts(ops(put(0, "a")), ops(swap(1, "c", "b"), get(2)))},
		bugs.FirstIsTaken:    {scripts: scripts(ops(put(0, "a")), ops(put(1, "b"))), retries: 1},
		bugs.OneIsBelieved:   {scripts: scripts(ops(put(0, "a"), get(1)), ops(get(2), get(3)))},
		bugs.LostIsFailed:    {scripts: scripts(ops(put(0, "a")), ops(get(1))), expires: 1},
	} {
		bugs.Bring(bug)
		requireFound(t, bug.String(), s)
	}
}
