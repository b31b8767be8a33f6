package transport

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/cambiumdb/cambium/distrib/api"
)

// Faults are what a demonstration or a test does to the network of a node. The zero value does nothing.
//
// What is cut is lost without a word, as in a network: a request waits until its context ends. Connections stand.
type Faults struct{ now atomic.Pointer[faults] }

type faults struct {
	cutTo, cutFrom []string
	slow           time.Duration
}

// Set replaces all faults: nothing goes to the nodes of cutTo, nothing is taken from those of cutFrom, and each
// request of another node waits for slow.
func (f *Faults) Set(cutTo, cutFrom []string, slow time.Duration) {
	if len(cutTo) == 0 && len(cutFrom) == 0 && slow <= 0 {
		f.now.Store(nil)
		return
	}
	f.now.Store(&faults{slices.Clone(cutTo), slices.Clone(cutFrom), slow})
}

// To reports whether what goes to the node of that name is lost.
func (f *Faults) To(name string) bool {
	if f == nil {
		return false
	}
	now := f.now.Load()
	return now != nil && slices.Contains(now.cutTo, name)
}

// From reports whether what comes from the node of that name is lost.
func (f *Faults) From(name string) bool {
	if f == nil {
		return false
	}
	now := f.now.Load()
	return now != nil && slices.Contains(now.cutFrom, name)
}

// Slow is how long each request of another node waits.
func (f *Faults) Slow() time.Duration {
	if f == nil {
		return 0
	}
	if now := f.now.Load(); now != nil {
		return now.slow
	}
	return 0
}

// FaultsService is the gRPC service that sets the faults of a node.
type FaultsService struct {
	api.UnimplementedFaultsServer
	Faults *Faults
}

// Set implements api.FaultsServer.
func (s *FaultsService) Set(_ context.Context, r *api.FaultsRequest) (*api.FaultsResponse, error) {
	s.Faults.Set(r.GetCutTo(), r.GetCutFrom(), time.Duration(r.GetSlowMs())*time.Millisecond)
	return &api.FaultsResponse{}, nil
}
