package node

import (
	"context"
	"fmt"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/hint"
	"github.com/cambiumdb/cambium/distrib/hlc"
	"github.com/cambiumdb/cambium/distrib/recovery"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/replica"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/transport"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// handler carries out what coordinators ask of the node: for itself, or for a node that it keeps hints for.
type handler struct {
	name  string
	data  *replica.Replica
	hints *hint.Hints
	// lost says whether the node may lack what counted as stored.
	lost      func() recovery.Refill
	registers *recovery.Registers
	clock     *hlc.Clock
	// view is where keys lie; what goes on under it ends with release.
	view func() (v *ring.View, release func())
	// operate carries out linearizable operations.
	operate func(deadline time.Time, key, operation []byte, done func(result []byte, err error))
}

var _ transport.Handler = (*handler)(nil)

// Put implements transport.Handler.
func (h *handler) Put(_ context.Context, r *distrib.PutRequest) (*distrib.PutReply, error) {
	if r.For != 0 {
		return h.hints.Put(r)
	}
	w, err := h.data.Put(r.Key, replica.Put{Op: r.Op, Past: r.Past, Value: r.Value, Sync: r.Sync, Retried: r.Retried})
	if err != nil {
		return nil, err
	}
	return &distrib.PutReply{Sibling: w.Sibling, Siblings: w.Siblings}, nil
}

// Merge implements transport.Handler.
func (h *handler) Merge(_ context.Context, r *distrib.MergeRequest) error {
	if r.For != 0 {
		return h.hints.Merge(r)
	}
	_, err := h.data.Merge(r.Key, r.Record, r.Sync)
	return err
}

// Read implements transport.Handler.
func (h *handler) Read(_ context.Context, r *distrib.ReadRequest) (*distrib.ReadReply, error) {
	if r.For != 0 {
		record, err := h.hints.Read(r)
		if r.Digest {
			return &distrib.ReadReply{Dots: vclock.Dots(record)}, err
		}
		return &distrib.ReadReply{Record: record}, err
	}
	if err := h.complete(r.Partial); err != nil {
		return nil, err
	}
	if r.Digest {
		dots, linearizable, err := h.data.Digest(r.Key)
		return &distrib.ReadReply{Dots: dots, Linearizable: linearizable}, err
	}
	held, err := h.data.Hold(r.Key)
	return &distrib.ReadReply{Record: held.Record, Linearizable: held.Linearizable}, err
}

// complete refuses reads that would count as long as the node may lack something.
func (h *handler) complete(partial bool) error {
	if lost := h.lost(); lost != recovery.RefillNot && !partial {
		return fmt.Errorf("node %s is being refilled from the others: what it holds does not count yet: %w", h.name, distrib.ErrRefused)
	}
	return nil
}

// Parts implements transport.Handler.
func (h *handler) Parts(_ context.Context, r *distrib.PartsRequest) ([]distrib.Part, error) {
	return h.data.Parts(r)
}

// Step implements transport.Handler. It waits for no other node: an epoch is over where none of its requests is under way.
func (h *handler) Step(_ context.Context, key, request []byte) ([]byte, error) {
	r, err := register.DecodeRequest(request)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, distrib.ErrRefused)
	}
	if err := h.clock.Observe(r.Ballot.Time); err != nil { // what it decides would expire values by that clock
		return nil, fmt.Errorf("ballot %v: %w: %w", r.Ballot, err, distrib.ErrRefused)
	}
	v, release := h.view()
	defer release()
	if h.registers.Lost() {
		return nil, replica.ErrRegister
	}
	reply, err := h.data.Step(key, h.registers.Fence(v.Epoch()), h.registers.Since(), &r)
	if err != nil {
		return nil, err
	}
	return register.AppendReply(nil, reply), nil
}

// Learn implements transport.Handler.
func (h *handler) Learn(_ context.Context, decisions []byte) ([]byte, error) {
	list, err := register.DecodeDecisions(decisions)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", err, distrib.ErrRefused)
	}
	if h.registers.Lost() {
		return nil, replica.ErrRegister
	}
	behind, err := h.data.Learn(list)
	if err != nil {
		return nil, err
	}
	return register.AppendBehind(nil, behind), nil
}

// StartOperate implements transport.Handler.
func (h *handler) StartOperate(deadline time.Time, key, operation []byte, done func([]byte, error)) {
	h.operate(deadline, key, operation, done)
}

// Keys implements transport.Handler.
func (h *handler) Keys(_ context.Context, r *distrib.KeysRequest) ([]distrib.KeyDots, error) {
	if err := h.complete(!r.Records); err != nil { // who compares asks for no records, who scans does
		return nil, err
	}
	return h.data.Keys(r)
}
