package register

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

func drawBallot(t *rapid.T) Ballot {
	return Ballot{
		Epoch: rapid.Uint64Range(1, 9).Draw(t, "epoch"), Time: distrib.Timestamp(rapid.Uint64().Draw(t, "time")),
		Node: rapid.Uint64().Draw(t, "node"), Run: rapid.Uint64().Draw(t, "run"),
	}
}

// drawState is what some operations left.
func drawState(t *rapid.T) (s State) {
	s.Promised = drawBallot(t)
	if rapid.Bool().Draw(t, "only promised") {
		return s
	}
	s.Accepted = s.Promised
	s.Value = Promote(s.Accepted, eventual(rapid.SampledFrom([]string{"", "a", "ab"}).Draw(t, "before")))
	for i := range rapid.IntRange(0, 12).Draw(t, "operations") {
		o := put(i+1, rapid.StringN(0, 20, -1).Draw(t, "value"))
		o.If = Condition(rapid.IntRange(0, int(Beside)).Draw(t, "condition"))
		if o.If == Beside {
			o.Context = vclock.Context(s.Value.Record[:len(s.Value.Record)/2])
		}
		if rapid.IntRange(0, 9).Draw(t, "kind") == 0 {
			o.Kind = Resolve
		}
		s.Value, _, _ = Apply(s.Value, distrib.Timestamp(i)<<32, []Operation{o})
	}
	return s
}

func TestStateRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := drawState(t)
		b := AppendState([]byte("x"), &s)[1:]
		got, err := DecodeState(b)
		require.NoError(t, err)
		require.Equal(t, b, AppendState(nil, &got), "one state has one encoding")
		require.Equal(t, s.Promised, got.Promised)
		require.Equal(t, s.Accepted, got.Accepted)
		require.Equal(t, s.Value.Changes, got.Value.Changes)
		require.Equal(t, vclock.Dots(s.Value.Record), vclock.Dots(got.Value.Record))
		for cut := range b {
			_, err = DecodeState(b[:cut])
			require.Error(t, err, "cut at %d of %d", cut, len(b))
		}
		_, err = DecodeState(append(b, 0))
		require.Error(t, err)
	})
}

func TestStateRefused(t *testing.T) {
	low, high := Ballot{Epoch: 1, Node: 1, Run: 1}, Ballot{Epoch: 2, Node: 1, Run: 1}
	good := AppendState(nil, &State{Promised: high, Accepted: low})
	for _, c := range []struct {
		b    []byte
		want string
	}{
		{nil, "bytes end early"},
		{append([]byte{9}, good[1:]...), "version 9, this program knows 1: it was written by a newer one"},
		{AppendState(nil, &State{Promised: low, Accepted: high}), "less is promised than accepted"},
		{append(AppendState(nil, &State{Promised: high}), 0), "bytes behind the end"},
		{AppendState(nil, &State{Promised: high, Accepted: low, Value: Value{Changes: make([]Change, MaxChanges+1)}}), "129 changes, the limit is 128"},
	} {
		_, err := DecodeState(c.b)
		require.ErrorContains(t, err, c.want)
	}
	_, err := DecodeState(good)
	require.NoError(t, err)
}

// What decodes is what encodes to the same bytes.
func FuzzState(f *testing.F) {
	v, _, _ := Apply(Promote(Ballot{Epoch: 1, Time: 5}, eventual("a")), 7, []Operation{put(1, "b"), op(9, Resolve), put(2, "c")})
	f.Add(AppendState(nil, &State{}))
	f.Add(AppendState(nil, &State{Promised: Ballot{2, 3, 4, 5}, Accepted: Ballot{1, 2, 3, 4}, Value: v}))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeState(b)
		if err == nil {
			require.Equal(t, b, AppendState(nil, &s))
		}
		if v, err := DecodeValue(b); err == nil {
			require.Equal(t, b, AppendValue(nil, &v))
		}
	})
}

// A value remembers its last changes, and up to when it forgot others.
func TestChanges(t *testing.T) {
	var v Value
	for i := range MaxChanges + 10 {
		v.remember(Change{Op: opID(i), Time: distrib.Timestamp(i + 1)})
	}
	require.Len(t, v.Changes, MaxChanges)
	require.Equal(t, opID(10), v.Changes[0].Op)
	require.Equal(t, distrib.Timestamp(10), v.Forgotten)
	later := distrib.Timestamp(ChangesFor+2) << 16
	v.remember(Change{Op: opID(200), Time: later})
	require.Len(t, v.Changes, KeptChanges, "the others are too old")
	require.Equal(t, opID(200), v.Changes[KeptChanges-1].Op)

	verdict := func(o Operation) Verdict {
		_, results, _ := Apply(v, later, []Operation{o})
		return results[0].Verdict
	}
	o := op(77, Resolve)
	require.Equal(t, Forgotten, verdict(o), "it may be one of those")
	o.Since = v.Forgotten
	require.Equal(t, Forgotten, verdict(o))
	o.Since++
	require.Equal(t, NotDone, verdict(o), "it was proposed later than these")
	require.Equal(t, Repeated, verdict(op(200, Resolve)))
}

// A round whose own value may have been forgotten by the base cannot tell what became of it.
func TestForgottenProposal(t *testing.T) {
	p := NewProposer(1, 1, groups[1], 0)
	p.Submit(0, put(1, "a"))
	promise := Reply{Kind: Prepare, Ballot: p.ballot, OK: true}
	p.Answer(0, 1, &promise)
	p.Answer(0, 2, &promise)
	other := Ballot{Epoch: 1, Time: 900, Node: 2, Run: 1}
	refusal := Reply{Kind: Accept, Ballot: p.ballot, Promised: other}
	p.Answer(0, 1, &refusal)
	require.NotNil(t, p.Answer(0, 2, &refusal).Beaten)
	p.Retry(0)
	promise = Reply{Kind: Prepare, Ballot: p.ballot, OK: true, Accepted: other, Value: Value{Forgotten: 500}}
	p.Answer(0, 1, &promise)
	e := p.Answer(0, 2, &promise)
	require.Equal(t, []Result{{Op: opID(1), Outcome: Unknown}}, e.Results)
	require.Empty(t, e.Sends, "it is not proposed again, and the base is decided")
}

// Ballots are compared whole.
func TestBallots(t *testing.T) {
	ascending := []Ballot{{}, {0, 0, 0, 1}, {0, 0, 1, 0}, {0, 1, 0, 0}, {0, 1, 0, 1}, {0, 1, 2, 0}, {0, 2, 0, 0}, {1, 0, 0, 0}}
	for i, a := range ascending {
		for j, b := range ascending {
			require.Equal(t, i < j, a.Compare(b) < 0, "%v %v", a, b)
			require.Equal(t, i == j, a.Compare(b) == 0, "%v %v", a, b)
		}
	}
}
