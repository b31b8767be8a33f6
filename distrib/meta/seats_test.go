package meta

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWantedSeats(t *testing.T) {
	for _, c := range []struct{ stay, holders, want string }{
		{"a", "", "a"},
		{"a b", "b", "b"},
		{"a b c", "b", "b a c"},
		{"a b c d", "d", "d a b"},
		{"b c d e", "a b c", "b c d"}, // a is to go
		{"a b c d", "a b c d", "a b c"},
	} {
		require.Equal(t, strings.Fields(c.want), WantedSeats(strings.Fields(c.stay), strings.Fields(c.holders)), "%+v", c)
	}
}

// TestNextStep: holders are written NAME, NAME* for a learner, ? for one that did not start, the peer URL being the
// name in upper case.
func TestNextStep(t *testing.T) {
	for _, c := range []struct {
		what, name, peer, holders, wanted, known string
		stopped                                  bool
		want                                     step
	}{
		{what: "alone", name: "a", peer: "A", holders: "a", wanted: "a", want: step{do: stepNone}},
		{what: "a second is wanted", name: "b", holders: "a", wanted: "a b c", want: step{do: stepSit}},
		{what: "one at a time", name: "c", holders: "a b*", wanted: "a b c", want: step{do: stepNone}},
		{what: "a learner is made to vote", name: "b", peer: "B", holders: "a b*", wanted: "a b c", want: step{stepPromote, 2}},
		{what: "let in, and crashed before it began", name: "b", peer: "?", holders: "a ?*", wanted: "a b c", stopped: true, want: step{do: stepSit}},
		{what: "its directory was wiped", name: "b", holders: "a b c", wanted: "a b c", want: step{stepEvict, 2}},
		{what: "to go, but another is to come first", name: "a", peer: "A", holders: "a b c", wanted: "b c d", want: step{do: stepNone}},
		{what: "who is to come comes", name: "d", holders: "a b c", wanted: "b c d", want: step{do: stepSit}},
		{what: "to go, but the other does not vote yet", name: "a", peer: "A", holders: "a b c d*", wanted: "b c d", want: step{do: stepNone}},
		{what: "it goes", name: "a", peer: "A", holders: "a b c d", wanted: "b c d", want: step{stepRise, 1}},
		{what: "of one that is no more, the first takes care", name: "b", peer: "B", holders: "a b c d", wanted: "b c d", known: "b c d", want: step{stepEvict, 1}},
		{what: "and no other", name: "c", peer: "C", holders: "a b c d", wanted: "b c d", known: "b c d", want: step{do: stepNone}},
	} {
		t.Run(c.what, func(t *testing.T) {
			var holders []holder
			for i, word := range strings.Fields(c.holders) {
				name, learner := strings.CutSuffix(word, "*")
				h := holder{id: uint64(i + 1), name: name, peer: strings.ToUpper(name), learner: learner}
				if name == "?" {
					h.name = ""
				}
				holders = append(holders, h)
			}
			known := func(name string) bool { return c.known == "" || slices.Contains(strings.Fields(c.known), name) }
			require.Equal(t, c.want, nextStep(c.name, c.peer, c.peer != "" && !c.stopped, holders, strings.Fields(c.wanted), known))
		})
	}
}

// TestSeatsMove: the founder's etcd comes to run on three nodes, and then without the founder; what it holds stays.
func TestSeatsMove(t *testing.T) {
	a := open(t, Options{Dir: t.TempDir(), Name: "a"})
	_, err := a.Update(t.Context(), topology(1), 0)
	require.NoError(t, err)
	stores := []*Store{a}
	for _, name := range []string{"b", "c", "d"} {
		stores = append(stores, open(t, Options{Dir: t.TempDir(), Name: name, Seeds: a.Endpoints()}))
	}
	until := func(stay string, want int, without string) {
		t.Helper()
		require.Eventually(t, func() bool {
			var names []string
			for _, s := range stores {
				endpoints, err := s.Seats(t.Context(), strings.Fields(stay), func(string) bool { return true })
				if err != nil {
					t.Log(err) // a learner that is behind, a member that is new
					continue
				}
				if len(endpoints) > 0 {
					s.client.SetEndpoints(endpoints...) // a node does so with Topology.Metadata
				}
			}
			holders, err := a.holders(t.Context())
			for _, h := range holders {
				names = append(names, h.name)
				if h.learner || h.name == without {
					return false
				}
			}
			return err == nil && len(names) == want
		}, time.Minute, 100*time.Millisecond)
	}
	until("a b c d", 3, "d")
	until("b c d", 3, "a")
	require.Nil(t, a.member)
	require.False(t, HasSeat(a.options.Dir))
	for _, s := range stores {
		got, _, err := s.Load(t.Context())
		require.NoError(t, err)
		require.EqualValues(t, 1, got.Epoch)
	}
}
