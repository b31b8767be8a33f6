package chaos

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPlan(t *testing.T) {
	plan := Plan(1, 3, Kinds, 25*time.Second)
	require.Equal(t, plan, Plan(1, 3, Kinds, 25*time.Second))
	require.NotEqual(t, plan, Plan(2, 3, Kinds, 25*time.Second))
	var sum time.Duration
	times := map[Kind]int{}
	for i, f := range plan {
		require.Less(t, sum, 25*time.Second)
		sum += f.Lasts + f.Calm
		require.NotEqual(t, f.Node, f.Peer)
		require.Less(t, max(f.Node, f.Peer), 3)
		times[f.Kind]++
		if i == len(Kinds)-1 {
			require.Len(t, times, len(Kinds), "each kind once")
		}
	}
	require.GreaterOrEqual(t, sum, 25*time.Second)
	require.Greater(t, len(Plan(1, 5, Kinds, 10*time.Minute)), 100)
}
