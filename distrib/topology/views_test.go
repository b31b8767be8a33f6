package topology

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
)

func members(ids ...uint64) (list []distrib.Member) {
	for _, id := range ids {
		list = append(list, distrib.Member{ID: id, Name: "n" + string(rune('0'+id)), Addr: "here"})
	}
	return list
}

func TestViews(t *testing.T) {
	v := &views{}
	require.Nil(t, v.enter())
	require.Zero(t, v.oldest())
	_, err := v.admit(1, 1)
	require.ErrorIs(t, err, distrib.ErrRefused)

	at := func(epoch uint64, change func(*distrib.Topology)) *distrib.Topology {
		t := &distrib.Topology{Epoch: epoch, Replicas: 3, Members: members(1, 2, 3), Joining: members(4)}
		if change != nil {
			change(t)
		}
		return t
	}
	adopt := func(topology *distrib.Topology, want bool) {
		newer, err := v.adopt(topology)
		require.NoError(t, err)
		require.Equal(t, want, newer)
	}
	adopt(at(5, nil), true)
	a, b := v.enter(), v.enter()
	require.True(t, a.view.Steady())
	adopt(at(6, func(t *distrib.Topology) {
		t.Change = &distrib.Change{Stage: distrib.StageStream, Since: 6, Next: members(1, 2, 4), Dead: []uint64{3}}
		t.Fence = 5
	}), true)
	adopt(at(6, nil), false)
	adopt(at(4, nil), false)
	c := v.enter()
	require.False(t, c.view.Steady())
	require.Equal(t, uint64(5), v.oldest())
	a.release()
	require.Equal(t, uint64(5), v.oldest())
	adopt(at(8, nil), true)
	b.release()
	require.Equal(t, uint64(6), v.oldest())
	c.release()
	require.Equal(t, uint64(8), v.oldest())

	adopt(at(9, func(t *distrib.Topology) {
		t.Change = &distrib.Change{ID: "9-leave:n3-0", Stage: distrib.StageVerify, Since: 9, Next: members(1, 2, 4), Dead: []uint64{3}}
		t.Fence = 8
	}), true)
	for _, c := range []struct {
		from, epoch uint64
		refused     string
	}{
		{1, 8, ""}, {1, 9, ""}, {1, 10, ""}, {4, 9, ""},
		{1, 7, "a request of epoch 7: this node has epoch 9 and takes none of before 8"},
		{3, 9, "node n3, which change 9-leave:n3-0 takes out as dead"},
		{3, 10, "as dead"},
		{5, 9, "node 5, which epoch 9 does not know"},
		{5, 10, ""}, // it joined with that
	} {
		release, err := v.admit(c.from, c.epoch)
		if c.refused == "" {
			require.NoError(t, err)
			release()
			continue
		}
		require.ErrorContains(t, err, c.refused)
		require.ErrorIs(t, err, distrib.ErrRefused)
	}
	require.Zero(t, v.current.Load().under.Load())
}

// TestOldestRace: once the oldest view is a new one, nothing goes on under an older one, nor begins.
func TestOldestRace(t *testing.T) {
	v := &views{}
	replace := func(epoch uint64) {
		h := &held{topology: &distrib.Topology{Epoch: epoch}}
		h.release = func() { h.under.Add(-1) }
		v.mu.Lock()
		defer v.mu.Unlock()
		v.replace(h)
	}
	replace(1)
	var all sync.WaitGroup
	var settled, broken atomic.Uint64
	const epochs = 100_000
	for range 8 {
		all.Go(func() {
			for settled.Load() < epochs {
				h := v.enter()
				for range 10 {
					if at := h.topology.Epoch; at < settled.Load() {
						broken.Store(at)
					}
				}
				h.release()
			}
		})
	}
	for epoch := uint64(2); epoch <= epochs; epoch++ {
		replace(epoch)
		settled.Store(v.oldest())
	}
	for settled.Load() < epochs {
		settled.Store(v.oldest())
	}
	all.Wait()
	require.Zero(t, broken.Load(), "something began under this epoch when all were to be newer")
}
