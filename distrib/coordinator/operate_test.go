package coordinator

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/register"
)

// TestOperate: what is written is read, at any node; the second change takes one round trip.
func TestOperate(t *testing.T) {
	s := newArena(t, 1, 5)
	first := s.owners("k")[0]
	got := first.operate("k", register.Operation{})
	require.NoError(t, got.err)
	require.Empty(t, got.Record)
	require.Zero(t, s.kinds[register.Prepare]+s.kinds[register.Accept], "what is absent is not written")

	put := first.operate("k", aPut("red"))
	require.NoError(t, put.err)
	require.NotZero(t, put.Op)
	require.Equal(t, register.Done, put.Verdict)
	require.Equal(t, "red", texts(put.Record))
	clear(s.kinds)
	put = first.operate("k", aSwap("red", "blue"))
	require.NoError(t, put.err)
	require.Zero(t, s.kinds[register.Prepare])
	for _, n := range s.nodes {
		got := n.operate("k", register.Operation{})
		require.NoError(t, got.err)
		require.Equal(t, "blue", texts(got.Record))
		require.False(t, got.Context.Empty())
		swapped := n.operate("k", aSwap("red", "green"))
		require.NoError(t, swapped.err)
		require.Equal(t, register.Mismatch, swapped.Verdict)
	}
	require.Equal(t, 8, s.handed, "to the first owner")
	s.learns = 0
	s.run(time.Second)
	require.Zero(t, s.learns, "the reads have told the owners")
	for _, n := range s.owners("k") {
		require.Equal(t, "blue", texts(n.data["k"]))
	}
	require.NoError(t, first.operate("k", aPut("grey")).err)
	s.run(time.Second)
	require.Equal(t, 3, s.learns)
	for _, n := range s.owners("k") {
		require.Equal(t, "grey", texts(n.data["k"]))
	}
	for _, n := range s.nodes {
		n.c.Wait()
		require.Zero(t, n.c.Load().Operations)
	}
}

// TestTurns: of many who swap one value at once those who lose hear of it by turns, also where nobody comes back. Those
// who come back win soon.
func TestTurns(t *testing.T) {
	s := newArena(t, 1, 3)
	first := s.owners("k")[0]
	require.NoError(t, first.operate("k", aPut("0")).err)
	var all []*told
	for i := range 8 {
		r, _ := first.begin("k", aSwap("0", fmt.Sprint(i+1)))
		all = append(all, r)
	}
	s.run(time.Second)
	within := func(d time.Duration) (n int) {
		for _, r := range all {
			if r.done && r.took <= d {
				n++
			}
		}
		return n
	}
	require.Equal(t, 8, within(30*time.Millisecond))
	require.Equal(t, register.Done, all[0].Verdict)
	for _, r := range all[1:] {
		require.NoError(t, r.err)
		require.Equal(t, register.Mismatch, r.Verdict)
		require.Equal(t, "1", texts(r.Record))
	}
	require.Less(t, within(all[0].took+turnAfter/2), 4, "not all at once")

	losses, ends := 0, 0
	for range 16 { // each adds one 20 times
		left := 20
		var try func(now string)
		try = func(now string) {
			n, err := strconv.Atoi(now)
			require.NoError(t, err)
			op := aSwap(now, strconv.Itoa(n+1))
			first.c.StartOperate([]byte("k"), op, func(out *Operated, err error) {
				require.NoError(t, err)
				if out.Verdict != register.Done {
					losses++
				} else if left--; left == 0 {
					ends++
					return
				}
				first.do(first.life, s.between(100*time.Microsecond, time.Millisecond), func() { try(texts(out.Record)) })
			})
		}
		try("1")
	}
	s.await(func() bool { return ends == 16 })
	got := first.operate("k", register.Operation{})
	require.NoError(t, got.err)
	require.Equal(t, strconv.Itoa(1+16*20), texts(got.Record))
	require.Less(t, losses, 3*16*20, "all but one would lose each time")
	s.run(time.Second)
	first.c.Wait()
}

// TestLearnTogether: what is decided of many keys is told together, and of which an owner is behind that key is unfinished.
func TestLearnTogether(t *testing.T) {
	s := newArena(t, 1, 3)
	const keys = 3 * register.MaxDecisions
	var behind string
	for i := range keys {
		key := fmt.Sprint(i)
		owners := s.owners(key)
		if owners[0].id != 1 {
			continue
		}
		if behind == "" {
			behind = key
		}
		s.cut[[2]uint64{1, owners[2].id}] = key == behind
		r, _ := owners[0].begin(key, aPut("v"))
		if key == behind {
			s.await(func() bool { return r.done })
		}
	}
	s.run(time.Second)
	require.NotEmpty(t, behind)
	require.Greater(t, s.learns, keys/2)
	require.Less(t, s.taught, 3*5)
	require.Equal(t, map[string]bool{behind: true}, s.dirty)
}

// TestAskQuorum: a read asks as many owners as it needs, and the others where one of these does not answer, or says something else.
func TestAskQuorum(t *testing.T) {
	s := newArena(t, 1, 3)
	owners := s.owners("k")
	read := func(want string) *told {
		t.Helper()
		s.run(time.Second) // owners are told what was decided
		clear(s.kinds)
		r := owners[0].operate("k", register.Operation{})
		require.NoError(t, r.err)
		require.Equal(t, want, texts(r.Record))
		s.run(time.Second)
		require.Zero(t, s.kinds[register.Prepare])
		return r
	}
	cut := func(is bool) { s.cut[[2]uint64{owners[0].id, owners[1].id}] = is }
	require.NoError(t, owners[0].operate("k", aPut("red")).err)
	asked := 0
	for i := range 1000 { // it learns how long answers take
		read("red")
		asked += s.kinds[register.Ask]
		require.True(t, i > 100 || asked == 2*(i+1))
	}
	require.Less(t, asked, 2100, "it hedges one in twenty")
	usual := owners[0].c.latencies.of(owners[1].id).read95.get()
	require.Less(t, usual, 5*time.Millisecond)

	owners[1].refuses = fmt.Errorf("for a test: %w", distrib.ErrRefused)
	require.Less(t, read("red").took, 10*time.Millisecond)
	require.Equal(t, 3, s.kinds[register.Ask])
	owners[1].refuses = nil

	cut(true)
	took := read("red").took
	require.Greater(t, took, usual)
	require.Less(t, took, 15*time.Millisecond, "long before it is asked again")
	require.NoError(t, owners[0].operate("k", aPut("blue")).err)
	cut(false)
	s.run(time.Second) // the key is unfinished, and nobody compares it here
	read("blue")
	require.Equal(t, 3, s.kinds[register.Ask], "the second owner has an older value")
}

// TestLateAccept: an owner that gets a value after it was told that this is decided holds it as decided, or the key is compared.
func TestLateAccept(t *testing.T) {
	s := newArena(t, 1, 3)
	s.slow = 40 * time.Millisecond
	for i := range 100 {
		key := fmt.Sprint(i)
		first := s.owners(key)[0]
		require.NoError(t, first.operate(key, aPut("red")).err)
		require.NoError(t, first.operate(key, register.Operation{}).err)
	}
	s.run(10 * time.Second)
	for i := range 100 {
		for _, n := range s.nodes {
			key := fmt.Sprint(i)
			require.True(t, s.dirty[key] || texts(n.data[key]) == "red", key)
		}
	}
	require.Less(t, len(s.dirty), 100)
}

// TestFold: operations that wait go with the next round.
func TestFold(t *testing.T) {
	s := newArena(t, 1, 3)
	first := s.owners("k")[0]
	var all []*told
	for range 100 {
		r, _ := first.begin("k", aPut("v"))
		all = append(all, r)
	}
	s.run(time.Second)
	for _, r := range all {
		require.NoError(t, r.err)
		require.True(t, r.done)
	}
	require.LessOrEqual(t, s.kinds[register.Accept], 2*3)
}

// TestOperateInMinority: an operation fails at once where too few owners are up, and says who is, and who is down.
func TestOperateInMinority(t *testing.T) {
	s := newArena(t, 1, 3)
	owners := s.owners("k")
	for _, n := range owners[1:] {
		n.kill()
		owners[0].opinion[n.id] = distrib.Down
	}
	r := owners[0].operate("k", aPut("v"))
	require.Equal(t, Failed, r.outcome(t))
	require.Less(t, r.took, 100*time.Millisecond)
	require.ErrorContains(t, r.err, "linearizable put \"k\": FAILED: 0 of 2 nodes did it")
	require.ErrorContains(t, r.err, fmt.Sprintf("only n%d can be reached", owners[0].id))
	require.ErrorContains(t, r.err, fmt.Sprintf("n%d down; n%d down", owners[1].id, owners[2].id))
	require.Zero(t, s.kinds[register.Prepare])
	owners[1].start() // and nobody has heard of it
	s.run(time.Second)
	r = owners[0].operate("k", aPut("v"))
	require.NoError(t, r.err)
}

// TestFirstOwnerKilled: the next one takes over, and what was under way ends soon, done once.
func TestFirstOwnerKilled(t *testing.T) {
	s := newArena(t, 1, 5)
	owners := s.owners("k")
	require.NoError(t, owners[2].operate("k", aPut("0")).err)
	r, _ := owners[2].begin("k", aSwap("0", "1"))
	s.run(3 * time.Millisecond)
	owners[0].kill()
	s.await(func() bool { return r.done })
	require.NoError(t, r.err)
	require.LessOrEqual(t, r.Verdict, register.Repeated)
	require.Less(t, r.took, 200*time.Millisecond)
	got := owners[1].operate("k", register.Operation{})
	require.NoError(t, got.err)
	require.Equal(t, "1", texts(got.Record))
}

// TestFirstOwnerHangs: another node carries out what it does not answer.
func TestFirstOwnerHangs(t *testing.T) {
	s := newArena(t, 1, 5)
	owners := s.owners("k")
	require.NoError(t, owners[0].operate("k", aPut("0")).err)
	for _, n := range s.nodes {
		s.cut[[2]uint64{owners[0].id, n.id}] = true // its answers are lost
	}
	r := owners[2].operate("k", aSwap("0", "1"))
	require.NoError(t, r.err)
	require.LessOrEqual(t, r.Verdict, register.Repeated)
	require.Less(t, r.took, time.Second)
}

// TestDuel: two proposers do not beat each other for ever, and the one that is not the first leaves operations to the other.
func TestDuel(t *testing.T) {
	s := newArena(t, 1, 3)
	owners := s.owners("k")
	owners[1].opinion[owners[0].id] = distrib.Down
	require.NoError(t, owners[0].operate("k", aPut("0")).err)
	var all []*told
	for i := range 200 {
		s.run(time.Millisecond)
		r, _ := owners[i%2].begin("k", aPut("v"))
		all = append(all, r)
		if i == 100 {
			owners[1].opinion[owners[0].id] = distrib.Up
		}
	}
	s.run(2 * time.Second)
	for _, r := range all {
		require.True(t, r.done)
		require.NoError(t, r.err)
	}
	require.NotZero(t, s.handed)
}

// TestOperateGivenUp: an operation that its caller gives up has FAILED where nothing was proposed, else it is UNKNOWN.
func TestOperateGivenUp(t *testing.T) {
	s := newArena(t, 1, 3)
	owners := s.owners("k")
	for _, n := range owners[1:] {
		s.cut[[2]uint64{owners[0].id, n.id}] = true
	}
	r, giveUp := owners[0].begin("k", aPut("v"))
	s.run(100 * time.Millisecond)
	giveUp(errGivenUp)
	s.run(time.Millisecond)
	require.Equal(t, Failed, r.outcome(t))
	require.ErrorIs(t, r.err, errGivenUp)

	clear(s.cut)
	require.NoError(t, owners[0].operate("k", aPut("v")).err)
	for _, n := range owners[1:] {
		s.cut[[2]uint64{n.id, owners[0].id}] = true
	}
	r, giveUp = owners[0].begin("k", aPut("w"))
	s.run(100 * time.Millisecond)
	giveUp(errGivenUp)
	s.run(time.Millisecond)
	require.Equal(t, Unknown, r.outcome(t))
}
