package recovery

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestJudge(t *testing.T) {
	mine := &Self{"c", 2, "n2"}
	of := func(w Self) *Self { return &w }
	for _, c := range []struct {
		name  string
		found Found
		known Known
		want  Verdict
		err   string
	}{
		{name: "the first node of a cluster", known: Known{ID: 2}},
		{name: "a node that joins", known: Known{ID: 2, Others: true}, want: Verdict{Refill: RefillAll, Dirty: true}},
		{name: "its directory was wiped", known: Known{ID: 2, Run: 7, Others: true}, want: Verdict{Refill: RefillAll, Dirty: true}},
		{name: "it was closed and comes back", found: Found{Self: mine, Run: 7, Clean: true}, known: Known{ID: 2, Run: 7, Others: true}},
		{name: "its last run is known of nowhere", found: Found{Self: mine, Run: 7, Clean: true}, known: Known{ID: 2, Run: 6, Others: true}},
		{name: "its directory is an old copy", found: Found{Self: mine, Run: 6, Clean: true}, known: Known{ID: 2, Run: 7, Others: true}, want: Verdict{Aside: true, Refill: RefillAll, Dirty: true}},
		{name: "it crashed", found: Found{Self: mine, Run: 7}, known: Known{ID: 2, Run: 7, Others: true}, want: Verdict{Refill: RefillUp, Dirty: true}},
		{name: "it crashed, and syncs each write", found: Found{Self: mine, Run: 7, Synced: true}, known: Known{ID: 2, Run: 7, Others: true}, want: Verdict{Dirty: true}},
		{name: "it crashed, and is alone", found: Found{Self: mine, Run: 7}, known: Known{ID: 2, Run: 7}},
		{name: "it crashed while it was refilled", found: Found{Self: mine, Run: 7, Synced: true, Refill: RefillAll}, known: Known{ID: 2, Run: 7, Others: true}, want: Verdict{Refill: RefillAll, Dirty: true}},
		{name: "another cluster's", found: Found{Self: of(Self{"d", 2, "n2"}), Run: 1}, known: Known{ID: 2}, err: "the store is of cluster d, this is c"},
		{name: "another node's", found: Found{Self: of(Self{"c", 3, "n3"}), Run: 1}, known: Known{ID: 2}, err: "the store is node n3's, this is to be n2"},
		{name: "taken out", found: Found{Self: mine, Run: 1}, err: "node n2 was taken out of cluster c"},
		{name: "its name was given away", found: Found{Self: mine, Run: 1}, known: Known{ID: 9}, err: "another node has taken that name"},
		{name: "damaged", found: Found{Run: 3}, known: Known{ID: 2}, err: "has been started 3 times but does not say whose it is"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.known.Cluster = "c"
			got, err := Judge(c.found, "n2", c.known)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}
