package check

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
)

func TestCounter(t *testing.T) {
	op := func(name string) distrib.OpID { return named([]string{name})[0] }
	swap := func(name string, found, call, end int64, o Outcome) Count {
		return Count{op(name), found, call, end, o}
	}
	read := func(found, call, end int64) Count { return Count{distrib.OpID{}, found, call, end, OK} }
	for name, c := range map[string]struct {
		steps []Count
		end   int64
		want  []string
	}{
		"right":                {[]Count{swap("a", 0, 1, 4, OK), swap("b", 1, 2, 5, OK), read(1, 3, 6), read(2, 6, 7)}, 2, nil},
		"an unknown one":       {[]Count{swap("a", 0, 1, 2, Unknown), swap("b", 1, 3, 4, OK)}, 2, nil},
		"one that was not":     {[]Count{swap("a", 0, 1, 2, Unknown), swap("b", 0, 3, 4, OK)}, 1, nil},
		"a lost update":        {[]Count{swap("a", 0, 1, 4, OK), swap("b", 0, 2, 5, OK)}, 1, []string{"lost update"}},
		"one too few":          {[]Count{swap("a", 0, 1, 2, OK), swap("b", 1, 3, 4, OK)}, 1, []string{"lost: it incremented 1"}},
		"one too many":         {[]Count{swap("a", 0, 1, 2, OK)}, 2, []string{"nobody has incremented 1"}},
		"one that failed":      {[]Count{swap("a", 0, 1, 2, Failed)}, 1, []string{"nobody has incremented 0"}},
		"a stale read":         {[]Count{swap("a", 0, 1, 2, OK), read(0, 3, 4)}, 1, []string{"stale: it found 0"}},
		"a number from nobody": {[]Count{read(1, 1, 2), swap("a", 0, 3, 4, OK)}, 1, []string{"stale: it found 0"}},
		"reads beside it":      {[]Count{swap("a", 0, 1, 9, OK), read(1, 2, 3), read(1, 4, 5), read(0, 1, 9)}, 1, nil},
	} {
		got := Counter("k", c.steps, c.end)
		require.Len(t, got, len(c.want), "%s: %v", name, got)
		for i := range got {
			require.Contains(t, got[i].What, c.want[i], name)
		}
	}
}
