package replica

import (
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/storetest"
)

// slowRemoval is a store that does something else while it removes a range of records.
type slowRemoval struct {
	*storetest.Mem
	meanwhile func()
	removing  atomic.Bool
	changed   atomic.Int64 // changes while it removes
}

func (s *slowRemoval) DeleteRange(lower, upper []byte, sync distrib.Sync) error {
	if distrib.Space(lower[0]) == distrib.SpaceData {
		s.removing.Store(true)
		s.meanwhile()
		s.removing.Store(false)
	}
	return s.Mem.DeleteRange(lower, upper, sync)
}

func (s *slowRemoval) Apply(ops []distrib.Op, sync distrib.Sync) error {
	if s.removing.Load() {
		s.changed.Add(1)
	}
	return s.Mem.Apply(ops, sync)
}

// TestForgetHoldsItsRangeOnly: while a range is removed keys beside it are written, and those in it are behind it.
func TestForgetHoldsItsRangeOnly(t *testing.T) {
	s := &slowRemoval{Mem: storetest.NewMem()}
	r := start(t, s, 1)
	var inside, beside []byte
	for i := 0; inside == nil || beside == nil; i++ {
		if key := fmt.Appendf(nil, "%d", i); ring.TokenOf(key).Hi <= math.MaxUint64/2 {
			inside = key
		} else {
			beside = key
		}
	}
	large := distrib.Value{Data: make([]byte, 2*distrib.InlineBytes)}
	_, err := r.Put(inside, Put{Value: large})
	require.NoError(t, err)
	var behind sync.WaitGroup
	s.meanwhile = func() {
		behind.Go(func() {
			_, err := r.Put(inside, Put{Value: data("new")})
			require.NoError(t, err)
		})
		done := make(chan error, 1)
		go func() {
			_, err := r.Put(beside, Put{Value: large})
			done <- err
		}()
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(20 * time.Second):
			t.Error("a key beside the range waits")
		}
		for range 1000 {
			runtime.Gosched()
		}
	}
	require.NoError(t, r.Forget(0, math.MaxUint64/2))
	behind.Wait()
	require.EqualValues(t, 1, s.changed.Load())
	require.Equal(t, []string{"new"}, texts(t, r, string(inside)))
	require.Equal(t, []string{string(large.Data)}, texts(t, r, string(beside)))
}
