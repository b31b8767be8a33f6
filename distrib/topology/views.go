package topology

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// views are the view that operations are given, and those before it under which some still go on.
type views struct {
	current atomic.Pointer[held] // nil: there is no topology yet

	mu     sync.Mutex // guards what follows, and changes of current
	before []*held
}

// held is a topology, what follows from it, and how much goes on under it.
type held struct {
	topology *distrib.Topology
	view     *ring.View
	takes    map[uint64]bool // whose requests are taken, of the nodes that the topology knows
	under    atomic.Int64
	release  func()
}

// adopt makes t the topology of what begins from now on. It reports whether it is newer than the one before.
func (v *views) adopt(t *distrib.Topology) (newer bool, err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	old := v.current.Load()
	if old != nil && t.Epoch <= old.topology.Epoch {
		return false, nil
	}
	h := &held{topology: t, takes: map[uint64]bool{}}
	if h.view, err = ViewOf(t); err != nil {
		return false, err
	}
	h.release = func() { h.under.Add(-1) }
	for _, m := range everybody(t) {
		h.takes[m.ID] = t.Change == nil || !slices.Contains(t.Change.Dead, m.ID)
	}
	v.replace(h)
	return true, nil
}

// replace makes h the current one. v.mu is held.
func (v *views) replace(h *held) {
	if old := v.current.Swap(h); old != nil {
		v.before = append(v.before, old)
	}
}

// enter begins something under the current view: h.release ends it.
func (v *views) enter() *held {
	for {
		h := v.current.Load()
		if h == nil {
			return nil
		}
		h.under.Add(1)
		if v.current.Load() == h { // else who asked for the oldest may have seen nothing go on under h
			return h
		}
		h.under.Add(-1)
	}
}

// oldest is the epoch of the oldest view under which something goes on or may begin; 0 where there is none.
func (v *views) oldest() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.before = slices.DeleteFunc(v.before, func(h *held) bool { return h.under.Load() == 0 })
	if len(v.before) > 0 {
		return v.before[0].topology.Epoch
	}
	if h := v.current.Load(); h != nil {
		return h.topology.Epoch
	}
	return 0
}

// admit lets a request of another node in, of which that has told its epoch, or says why not.
func (v *views) admit(from, epoch uint64) (release func(), err error) {
	h := v.enter()
	if h == nil {
		return nil, fmt.Errorf("this node knows no topology yet: %w", distrib.ErrRefused)
	}
	t := h.topology
	takes, known := h.takes[from]
	switch {
	case epoch < t.Fence:
		err = fmt.Errorf("a request of epoch %d: this node has epoch %d and takes none of before %d", epoch, t.Epoch, t.Fence)
	case known && !takes:
		err = fmt.Errorf("a request of node %s, which change %s takes out as dead", nameOf(t, from), t.Change.ID)
	case !known && epoch <= t.Epoch:
		err = fmt.Errorf("a request of node %d, which epoch %d does not know", from, t.Epoch)
	default:
		return h.release, nil
	}
	h.release()
	return nil, fmt.Errorf("%w: %w", err, distrib.ErrRefused)
}
