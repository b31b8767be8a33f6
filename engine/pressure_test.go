package engine

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/manifest"
)

func TestPressure(t *testing.T) {
	const mib = 1 << 20
	calm := pressure{flushRate: 100 * mib, drainRate: 40 * mib}
	with := func(change func(*pressure)) pressure {
		p := calm
		change(&p)
		return p
	}
	for _, c := range []struct {
		name  string
		p     pressure
		mib   float64 // a second
		cause string
	}{
		{"nothing is behind", calm, math.Inf(1), ""},
		{"a flush, and little else in memory",
			with(func(p *pressure) { p.memory, p.room, p.flushLeft = 0.1, 448*mib, 64*mib }), 700, stallMemtables},
		{"memory half full: what flushes achieve",
			with(func(p *pressure) { p.memory, p.room, p.flushLeft = 0.5, 256*mib, 256*mib }), 100, stallMemtables},
		{"more is to be flushed than there is room: it must last",
			with(func(p *pressure) { p.memory, p.room, p.flushLeft = 0.5, 64*mib, 256*mib }), 25, stallMemtables},
		{"the flush has read everything and syncs: longer than it has taken it may take again",
			with(func(p *pressure) { p.memory, p.room, p.flushLeft, p.quiet = 0.1, 64*mib, 1, 2 }), 32, stallMemtables},
		{"no room",
			with(func(p *pressure) { p.memory, p.flushLeft = 0.9, 64*mib }), 0, stallMemtables},
		{"a tenth of the way to too many runs", with(func(p *pressure) { p.runs = 0.1 }), 360, stallL0},
		{"half of it: what compaction achieves", with(func(p *pressure) { p.runs = 0.5 }), 40, stallL0},
		{"too many runs: never nothing", with(func(p *pressure) { p.runs = 1 }), 40. / 49, stallL0},
		{"three quarters of too much debt", with(func(p *pressure) { p.debt = 0.75 }), 40. / 3, stallDebt},
		{"the worst of them counts",
			with(func(p *pressure) { p.memory, p.room, p.flushLeft, p.runs, p.debt = 0.5, 256*mib, 256*mib, 0.8, 0.5 }), 10, stallL0},
	} {
		t.Run(c.name, func(t *testing.T) {
			rate, cause := c.p.rate()
			require.Equal(t, c.cause, cause)
			if math.IsInf(c.mib, 1) {
				require.True(t, math.IsInf(rate, 1))
				return
			}
			require.InDelta(t, c.mib, rate/mib, 0.01)
		})
	}
}

// TestPressureRises: the more is behind, the slower, without a jump.
func TestPressureRises(t *testing.T) {
	last := math.Inf(1)
	for x := 0.001; x < 1; x += 0.001 {
		rate, _ := pressure{runs: x, drainRate: 1000}.rate()
		require.LessOrEqual(t, rate, last)
		if x > 0.01 && x < 0.97 {
			require.Greater(t, rate, last*0.85, "a jump at %g", x)
		}
		last = rate
	}
}

// TestSpaceShare: a tiered tree slows writes down before it takes twice its last level.
func TestSpaceShare(t *testing.T) {
	const flush = 64
	for _, c := range []struct {
		total, last int64
		share       float64
	}{
		{1000, 0, 0},
		{1000, 100, 0}, // ten times the last level, which is less than eight flushes
		{1600, 1000, 0},
		{1900, 1000, 0.5},
		{2200, 1000, 1},
		{9000, 1000, 1},
	} {
		require.InDelta(t, c.share, spaceShare(c.total, c.last, flush), 1e-9, "%d of which %d", c.total, c.last)
	}
	v := &manifest.Version{}
	v.Levels[0] = []*manifest.Table{{Size: 10}, {Size: 20}}
	v.Levels[6] = []*manifest.Table{{Size: 300}}
	total, last := treeBytes(v)
	require.Equal(t, [2]int64{330, 300}, [2]int64{total, last})
}

func TestSpeed(t *testing.T) {
	at := func(seconds float64) time.Time { return time.Unix(0, int64(seconds*1e9)) }
	s := newSpeed(1000, 2*time.Second)
	require.InDelta(t, 1000, s.rate(at(0)), 1, "the guess")
	require.InDelta(t, 1000, s.rate(at(1000)), 1, "idle time says nothing")

	s.begin(at(1000))
	for i := range 200 {
		s.did(10, at(1000.1+float64(i)*0.1))
	}
	s.end(at(1020))
	require.InDelta(t, 100, s.rate(at(1020)), 5, "10 in each tenth of a second; the guess is forgotten")
	require.InDelta(t, 100, s.rate(at(5000)), 5)

	s.begin(at(5000))
	s.begin(at(5000))
	require.InDelta(t, 100*math.Exp(-1), s.rate(at(5002)), 5, "two are silent for two seconds")
	s.did(400, at(5004))
	require.InDelta(t, 100, s.rate(at(5004)), 5, "it had gone on meanwhile")
	s.end(at(5004))
	require.Positive(t, s.quiet(at(5005)), "one is left")
	s.end(at(5004))
	require.Zero(t, s.quiet(at(5005)))
}
