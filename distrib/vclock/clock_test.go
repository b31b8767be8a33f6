package vclock

import (
	"maps"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// dots is the model of a clock.
type dots map[Dot]bool

func (d dots) clock() (c Clock) {
	for dot := range d {
		c = c.With(dot)
	}
	return c
}

func (d dots) within(e dots) bool {
	for dot := range d {
		if !e[dot] {
			return false
		}
	}
	return true
}

func drawDot(t *rapid.T) Dot {
	return Dot{Actor{rapid.Uint64Range(1, 3).Draw(t, "node"), rapid.Uint64Range(0, 1).Draw(t, "birth")}, rapid.Uint64Range(1, 6).Draw(t, "counter")}
}

func drawDots(t *rapid.T) dots {
	d := dots{}
	for range rapid.IntRange(0, 20).Draw(t, "dots") {
		d[drawDot(t)] = true
	}
	return d
}

// TestClockIsASetOfDots: whatever is done with clocks, sets of dots do the same.
func TestClockIsASetOfDots(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, y := drawDots(t), drawDots(t)
		a, b := x.clock(), y.clock()
		probe := drawDot(t)
		require.Equal(t, x[probe], a.Contains(probe))
		listed := dots{}
		for actor, s := range a.All() {
			for n := range s.Last {
				listed[Dot{actor, n + 1}] = true
			}
			for _, n := range s.Beyond {
				listed[Dot{actor, n}] = true
			}
		}
		require.Equal(t, x, listed)
		require.Equal(t, relation(x.within(y), y.within(x)), a.Compare(b))
		require.Equal(t, b.Compare(a), map[Relation]Relation{Equal: Equal, Ancestor: Descends, Descends: Ancestor, Concurrent: Concurrent}[a.Compare(b)])

		both := maps.Clone(x)
		maps.Copy(both, y)
		require.Equal(t, both.clock(), a.Union(b))
		require.Equal(t, a.Union(b), b.Union(a))
		require.Equal(t, a, a.Union(a))
		require.Equal(t, x.clock(), a, "operands do not change")

		last := uint64(0)
		for d := range x {
			if d.Actor == probe.Actor {
				last = max(last, d.Counter)
			}
		}
		require.Equal(t, last, a.Last(probe.Actor))

		bytes := a.Append([]byte("before"))
		got, rest, err := Decode(append(bytes[6:], "behind"...))
		require.NoError(t, err)
		require.Equal(t, "behind", string(rest))
		require.Equal(t, a.String(), got.String())
	})
}

func TestClockOfSpans(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := drawDots(t).clock(), drawDots(t).clock()
		require.Equal(t, a, Of(a.All()))
		require.Equal(t, a.Union(b), Of(func(yield func(Actor, Span) bool) {
			b.All()(yield)
			a.All()(yield)
		}))
	})
	c := Of(maps.All(map[Actor]Span{{1, 2}: {Last: 2, Beyond: []uint64{6, 4, 3, 0, 6}}, {7, 0}: {}}))
	require.Equal(t, "{1.2:4+6}", c.String())
}

func TestClockText(t *testing.T) {
	one, two := Actor{1, 0}, Actor{2, 9}
	c := Clock{}.With(Dot{one, 1}).With(Dot{two, 3}).With(Dot{one, 2}).With(Dot{two, 5})
	require.Equal(t, "{1.0:2 2.9:0+3+5}", c.String())
	require.Equal(t, "2.9:5", Dot{two, 5}.String())
	require.Equal(t, "{1.0:2 2.9:3+5}", c.With(Dot{two, 1}).With(Dot{two, 2}).String(), "the gap closes")
	require.Equal(t, c, c.With(Dot{one, 0}), "no write has the counter 0")
	require.False(t, c.Contains(Dot{one, 0}))
	require.Equal(t, []Actor{one, two}, c.Actors())
	require.Equal(t, "concurrent", Concurrent.String())
}

func TestDecodeRefuses(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing":              {},
		"cut":                  {1, 1, 0},
		"more than there is":   {200, 1, 1, 0, 1, 0},
		"an actor without dot": {1, 1, 0, 0, 0},
		"actors out of order":  {2, 2, 0, 1, 0, 1, 0, 1, 0},
		"an actor twice":       {2, 1, 0, 1, 0, 1, 0, 1, 0},
		"no gap":               {1, 1, 0, 1, 1, 1},
		"a dot twice":          {1, 1, 0, 1, 2, 2, 0},
		"a long varint":        {1, 0x81, 0, 0, 1, 0},
		"counters that wrap":   {1, 1, 0, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 1, 2},
	} {
		_, _, err := Decode(b)
		require.Error(t, err, name)
	}
	_, rest, err := Decode([]byte{0, 7})
	require.NoError(t, err)
	require.Equal(t, []byte{7}, rest)
}

func FuzzDecode(f *testing.F) {
	f.Add(Clock{}.With(Dot{Actor{1, 0}, 1}).With(Dot{Actor{2, 9}, 5}).With(Dot{Actor{2, 9}, math.MaxUint64}).Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, rest, err := Decode(b)
		if err != nil {
			return
		}
		require.Equal(t, b[:len(b)-len(rest)], c.Append([]byte{}), "one clock has one encoding")
		require.Equal(t, Equal, c.Union(c).Compare(c))
	})
}
