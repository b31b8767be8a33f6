package chaos

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
)

func TestChanges(t *testing.T) {
	list := Changes(1, 3, true)
	require.Equal(t, list, Changes(1, 3, true))
	require.Len(t, list, 9)
	for i := 0; i+3 <= len(list); i += 3 {
		require.Equal(t, []int{0, 0, i/3 + 1}, []int{list[i].Leave, list[i+1].Leave, list[i+2].Leave}, "two join, then the oldest leaves")
		requireEach(t, list[i], list[i+1], list[i+2])
		requireEach(t, list[i/3], list[i/3+3], list[i/3+6]) // also of one kind in all rounds
	}
	for _, c := range Changes(1, 2, false) {
		require.Len(t, c.Kills, 1)
	}
}

// requireEach wants each role to be killed once at each stage.
func requireEach(t *testing.T, list ...Change) {
	for _, stage := range stages {
		roles := map[Role]bool{}
		for _, c := range list {
			role, kill := c.Kills[stage]
			require.True(t, kill)
			roles[role] = true
		}
		require.Len(t, roles, 3, stage)
	}
}

func TestMissedStages(t *testing.T) {
	c := &transition{Change: Change{Kills: map[distrib.Stage]Role{distrib.StageStream: Source, distrib.StageSwitch: Owner}}}
	for _, step := range []struct {
		last, now distrib.Stage
		missed    []string
	}{
		{"", distrib.StageDouble, nil},
		{distrib.StageDouble, distrib.StageStream, nil},
		{distrib.StageDouble, distrib.StageVerify, []string{"stream"}},
		{distrib.StageSwitch, "", nil},
		{"", "", []string{"stream", "switch"}},
	} {
		c.changed.Missed = nil
		c.missed(step.last, step.now)
		require.Equal(t, step.missed, c.changed.Missed, "%v", step)
	}
}
