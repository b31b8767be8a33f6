package node

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestJudge(t *testing.T) {
	mine := &self{"c", 2, "n2"}
	of := func(w self) *self { return &w }
	for _, c := range []struct {
		name  string
		found found
		known known
		want  verdict
		err   string
	}{
		{name: "the first node of a cluster", known: known{id: 2}},
		{name: "a node that joins", known: known{id: 2, others: true}, want: verdict{Refill: refillAll, Dirty: true}},
		{name: "its directory was wiped", known: known{id: 2, run: 7, others: true}, want: verdict{Refill: refillAll, Dirty: true}},
		{name: "it was closed and comes back", found: found{self: mine, run: 7, clean: true}, known: known{id: 2, run: 7, others: true}},
		{name: "its last run is known of nowhere", found: found{self: mine, run: 7, clean: true}, known: known{id: 2, run: 6, others: true}},
		{name: "its directory is an old copy", found: found{self: mine, run: 6, clean: true}, known: known{id: 2, run: 7, others: true}, want: verdict{Aside: true, Refill: refillAll, Dirty: true}},
		{name: "it crashed", found: found{self: mine, run: 7}, known: known{id: 2, run: 7, others: true}, want: verdict{Refill: refillUp, Dirty: true}},
		{name: "it crashed, and syncs each write", found: found{self: mine, run: 7, synced: true}, known: known{id: 2, run: 7, others: true}, want: verdict{Dirty: true}},
		{name: "it crashed, and is alone", found: found{self: mine, run: 7}, known: known{id: 2, run: 7}},
		{name: "it crashed while it was refilled", found: found{self: mine, run: 7, synced: true, refill: refillAll}, known: known{id: 2, run: 7, others: true}, want: verdict{Refill: refillAll, Dirty: true}},
		{name: "another cluster's", found: found{self: of(self{"d", 2, "n2"}), run: 1}, known: known{id: 2}, err: "the store is of cluster d, this is c"},
		{name: "another node's", found: found{self: of(self{"c", 3, "n3"}), run: 1}, known: known{id: 2}, err: "the store is node n3's, this is to be n2"},
		{name: "taken out", found: found{self: mine, run: 1}, err: "node n2 was taken out of cluster c"},
		{name: "its name was given away", found: found{self: mine, run: 1}, known: known{id: 9}, err: "another node has taken that name"},
		{name: "damaged", found: found{run: 3}, known: known{id: 2}, err: "has been started 3 times but does not say whose it is"},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.known.cluster = "c"
			got, err := judge(c.found, "n2", c.known)
			if c.err != "" {
				require.ErrorContains(t, err, c.err)
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, got)
		})
	}
}
