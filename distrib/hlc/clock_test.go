package hlc

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/storetest"
)

// wall is a wall clock that a test sets, in milliseconds.
type wall struct{ ms int64 }

func (w *wall) now() time.Time { return time.UnixMilli(w.ms) }

func TestClock(t *testing.T) {
	w := &wall{10}
	c := New(w.now)
	require.Equal(t, distrib.Timestamp(10<<16), c.Tick())
	require.Equal(t, distrib.Timestamp(10<<16+1), c.Tick())
	w.ms = 9
	require.Equal(t, distrib.Timestamp(10<<16+2), c.Tick(), "never back")
	w.ms = 10
	require.NoError(t, c.Observe(12<<16))
	require.Equal(t, distrib.Timestamp(12<<16+1), c.Tick(), "never behind what it was told")
	require.NoError(t, c.Observe(5<<16))
	require.Equal(t, distrib.Timestamp(12<<16+2), c.Tick())
	require.ErrorContains(t, c.Observe(60_011<<16), "60001 ms ahead of this node's clock, the limit is 60000 ms")
	require.Equal(t, distrib.Timestamp(12<<16+3), c.Tick(60_011<<16), "it is not carried away")
	require.NoError(t, c.Observe(60_010<<16))
	require.Equal(t, int64(60_010), c.Tick().Millis())
	require.NoError(t, c.Keep(), "there is no ceiling")
}

// TestCeiling: a node whose clock was set back while it was down gives no time twice, whenever it lost its power.
func TestCeiling(t *testing.T) {
	s, w := storetest.NewMem(), &wall{1_000_000}
	var last distrib.Timestamp
	for life := range 50 {
		s = s.Crash(0)
		c, err := Open(s, w.now)
		require.NoError(t, err)
		for step := range 20 {
			at := c.Tick()
			require.Greater(t, at, last, "life %d, step %d", life, step)
			require.LessOrEqual(t, at.Millis()-max(w.ms, last.Millis()), window.Milliseconds(), "not far ahead")
			last = at
			w.ms += int64(step*life) % 700
			if step%3 == 0 {
				require.NoError(t, c.Keep())
			}
			if life%7 == 0 {
				require.NoError(t, c.Observe(last+1000<<16))
			}
		}
		w.ms = last.Millis() - int64(life)*100 // set back, by up to five seconds
	}
}

// TestKeepIsIdle: the clock of a node that does nothing writes nothing.
func TestKeepIsIdle(t *testing.T) {
	s, w := &counting{Mem: storetest.NewMem()}, &wall{1_000_000}
	c, err := Open(s, w.now)
	require.NoError(t, err)
	c.Tick()
	for range 100 {
		require.NoError(t, c.Keep())
		w.ms += 1000
	}
	require.Equal(t, 1, s.changes)
	w.ms = 1_002_000
	c.Tick()
	require.NoError(t, c.Keep())
	w.ms += 500
	c.Tick()
	require.Equal(t, 2, s.changes, "kept ahead, so that no tick waits")

	s.wrong = errors.New("the disk is gone")
	w.ms += 10_000
	c.Tick()
	require.ErrorContains(t, c.Keep(), "ceiling of the clock: the disk is gone")
	require.NoError(t, s.Mem.Apply([]distrib.Op{{Key: ceilingKey, Value: []byte("x")}}, distrib.SyncNow))
	_, err = Open(s, w.now)
	require.ErrorContains(t, err, "is 1 bytes, want 8")
}

// TestTickBesideKeep: while the ceiling is raised, times below the one before are given, and others wait for it.
func TestTickBesideKeep(t *testing.T) {
	s, w := &counting{Mem: storetest.NewMem()}, &wall{1_000_000}
	c, err := Open(s, w.now)
	require.NoError(t, err)
	c.Tick()
	ceiling := c.ceiling
	w.ms += window.Milliseconds() - 1
	c.Tick()

	s.entered, s.hold = make(chan struct{}, 2), make(chan struct{})
	kept, ticked := make(chan error, 1), make(chan distrib.Timestamp, 2)
	go func() { kept <- c.Keep() }()
	<-s.entered
	at := c.Tick()
	require.Less(t, at, ceiling, "given while the store is at work")
	w.ms += 2
	for range cap(ticked) {
		go func() { ticked <- c.Tick() }()
	}
	require.Empty(t, ticked, "above a ceiling that is not durable yet")
	close(s.hold)
	require.NoError(t, <-kept)
	one, other := <-ticked, <-ticked
	require.NotEqual(t, one, other)
	require.Greater(t, min(one, other), ceiling)
	require.LessOrEqual(t, max(one, other), c.ceiling)
}

// counting is a store that counts changes, or refuses them.
type counting struct {
	*storetest.Mem
	changes int
	wrong   error
	entered chan struct{} // told of each change, which waits until hold is closed; nil: none waits
	hold    chan struct{}
}

func (s *counting) Apply(ops []distrib.Op, sync distrib.Sync) error {
	if s.wrong != nil {
		return s.wrong
	}
	if s.entered != nil {
		s.entered <- struct{}{}
		<-s.hold
	}
	s.changes++
	return s.Mem.Apply(ops, sync)
}
