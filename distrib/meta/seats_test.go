package meta

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/client/pkg/v3/types"
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
		at                                       place // beside peer and runs
		stopped                                  bool
		want                                     step
	}{
		{what: "alone", name: "a", peer: "A", holders: "a", wanted: "a", want: step{do: stepNone}},
		{what: "a second is wanted", name: "b", holders: "a", wanted: "a b c", want: step{do: stepSit}},
		{what: "one at a time", name: "c", holders: "a b*", wanted: "a b c", want: step{do: stepNone}},
		{what: "a learner is made to vote", name: "b", peer: "B", holders: "a b*", wanted: "a b c", want: step{stepPromote, 2}},
		{what: "let in, and crashed before it began", name: "b", peer: "?", holders: "a ?*", wanted: "a b c", stopped: true, want: step{do: stepSit}},
		{what: "its directory was wiped", name: "b", holders: "a b c", wanted: "a b c", want: step{stepEvict, 2}},
		{what: "its data was wiped, its seat was not", name: "b", peer: "B", holders: "a b c", wanted: "a b c", at: place{taken: true, lost: true}, stopped: true, want: step{stepEvict, 2}},
		{what: "the others have taken it out", name: "b", peer: "B", holders: "a c", wanted: "a b c", at: place{taken: true}, want: step{do: stepClear}},
		{what: "it crashed before they let it in", name: "b", peer: "B", holders: "a c", wanted: "a b c", stopped: true, want: step{do: stepSit}},
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
			c.at.peer, c.at.runs = c.peer, c.peer != "" && !c.stopped
			require.Equal(t, c.want, nextStep(c.name, c.at, holders, strings.Fields(c.wanted), known))
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

// pair is two nodes of which the first keeps the ring metadata, and the second comes and goes.
type pair struct {
	t    *testing.T
	a, b *Store
}

func newPair(t *testing.T) *pair {
	p := &pair{t: t, a: open(t, Options{Dir: t.TempDir(), Name: "a"})}
	_, err := p.a.Update(t.Context(), topology(1), 0)
	require.NoError(t, err)
	p.b = open(t, Options{Dir: t.TempDir(), Name: "b", Seeds: p.a.Endpoints()})
	return p
}

// kill ends b where it is, and starts it again.
func (p *pair) kill() {
	p.t.Helper()
	require.NoError(p.t, p.b.Close())
	p.b = open(p.t, p.b.options)
}

// until has b do what there is to do for it to hold a seat, or not to, until it is as wanted.
func (p *pair) until(sits, votes bool) {
	p.t.Helper()
	stay := []string{"a"}
	if sits {
		stay = []string{"a", "b", "x"} // of two only one would hold a seat
	}
	require.Eventually(p.t, func() bool {
		list, err := p.a.holders(p.t.Context())
		if err == nil && len(list) <= 2 {
			i := slices.IndexFunc(list, func(h holder) bool { return h.name == "b" })
			if sits && i >= 0 && list[i].learner != votes || !sits && len(list) == 1 && !HasSeat(p.b.options.Dir) {
				return true
			}
		}
		if _, err := p.b.Seats(p.t.Context(), stay, func(string) bool { return true }); err != nil {
			p.t.Log(err)
		}
		return false
	}, time.Minute, 100*time.Millisecond)
}

var errCut = errors.New("cut off")

// cutBehind has b cut off what it does in steps behind one of them. The function that it returns says whether it was.
func (p *pair) cutBehind(step int) (was func() bool) {
	done := 0
	p.b.cut = func() error {
		if done++; done == step {
			return errCut
		}
		return nil
	}
	return func() bool { return done >= step }
}

// TestSitCutOff: a node is killed behind each step of taking a seat. When it is back it takes it, and only one.
func TestSitCutOff(t *testing.T) {
	p := newPair(t)
	for step := 1; ; step++ {
		was := p.cutBehind(step)
		_, err := p.b.Seats(t.Context(), []string{"a", "b", "x"}, func(string) bool { return true })
		if !was() {
			require.NoError(t, err)
			require.Greater(t, step, 6)
			return
		}
		require.ErrorIs(t, err, errCut)
		p.kill()
		p.until(true, false)
		require.NoFileExists(t, filepath.Join(p.b.options.Dir, seatNew))
		p.until(false, false)
		require.NoDirExists(t, filepath.Join(p.b.options.Dir, seatData))
	}
}

// TestRiseCutOff: a node is killed behind each step of giving a seat up. When it is back it starts, has none, and can take
// one again.
func TestRiseCutOff(t *testing.T) {
	p := newPair(t)
	for step := 1; step <= 4; step++ {
		p.until(true, step == 1) // the first time it has votes
		was := p.cutBehind(step)
		require.Eventually(t, func() bool {
			_, err := p.b.Seats(t.Context(), []string{"a"}, func(string) bool { return true })
			return errors.Is(err, errCut)
		}, time.Minute, 100*time.Millisecond)
		require.True(t, was())
		p.kill()
		p.until(false, false)
	}
	p.until(true, false)
	require.NotNil(t, p.b.member)
}

// comesAnew has b take a seat that is not that of a member.
func (p *pair) comesAnew(member types.ID) {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		_, err := p.b.Seats(p.t.Context(), []string{"a", "b", "x"}, func(string) bool { return true })
		return err == nil && p.b.member != nil && p.b.member.etcd.Server.MemberID() != member
	}, time.Minute, 100*time.Millisecond)
}

// TestDataGone: the data of a member is removed, its seat is not. It does not begin anew by itself. Nor where its seat is damaged.
func TestDataGone(t *testing.T) {
	p := newPair(t)
	p.until(true, false)
	first := p.b.member.etcd.Server.MemberID()
	require.NoError(t, p.b.Close())
	require.NoError(t, os.RemoveAll(filepath.Join(p.b.options.Dir, seatData)))
	p.b = open(t, p.b.options)
	require.Nil(t, p.b.member, "it is no member as long as the others have not let it in anew")
	p.comesAnew(first)

	second := p.b.member.etcd.Server.MemberID()
	require.NoError(t, p.b.Close())
	require.NoError(t, os.WriteFile(filepath.Join(p.b.options.Dir, seatTaken), []byte("{"), 0o600))
	p.b = open(t, p.b.options)
	p.comesAnew(second)

	dir := p.a.options.Dir
	require.NoError(t, p.b.Close())
	require.NoError(t, p.a.Close())
	require.NoError(t, os.RemoveAll(filepath.Join(dir, seatData)))
	_, err := Open(t.Context(), Options{Dir: dir, Name: "a"})
	require.ErrorIs(t, err, errDataGone)
}
