package service

import (
	"context"
	"slices"

	"google.golang.org/grpc/codes"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/coordinator"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

var errNotServed = &unimplementedError{"this node serves no linearizable operations, only ONE, QUORUM and ALL: its setting promote is never"}

// unexpired is a time, in milliseconds since 1970, as of which nothing has expired: what has is decided by the register, whose
// record then says that it is deleted, and not by the clock of who reads it.
const unexpired = 0

// operate carries out a linearizable operation.
func (s *Server) operate(ctx context.Context, a attempt, op register.Operation) (*coordinator.Operated, *api.Failure) {
	if !s.opts.Linearizable {
		return nil, s.failure(ctx, a, errNotServed)
	}
	r, err := s.opts.Coordinator.Operate(ctx, a.key, op)
	if err == nil && r.Verdict == register.BadPast {
		err = invalid("context: no version can follow what it says it has seen")
	}
	if err != nil {
		return nil, s.failure(ctx, a, err)
	}
	return r, nil
}

func (s *Server) getLinearizable(ctx context.Context, a attempt) (*api.GetResponse, *api.Failure) {
	r, f := s.operate(ctx, a, register.Operation{Kind: register.Get})
	if f != nil {
		return nil, f
	}
	return current(a.key, r), nil
}

// current is what a key holds behind an operation.
func current(key []byte, r *coordinator.Operated) *api.GetResponse {
	return &api.GetResponse{
		Siblings: siblings(r.Record, unexpired), Context: distrib.EncodeContext(key, r.Context), Linearizable: true, Strays: uint32(r.Strays),
	}
}

// writeLinearizable stores v in place of what is there. A context must have seen all of that.
func (s *Server) writeLinearizable(ctx context.Context, a attempt, v distrib.Value, o coordinator.WriteOptions) (*api.PutResponse, *api.Failure) {
	op := register.Operation{Kind: register.Put, ID: o.Op, Value: v, Retried: o.Retried}
	if !o.Context.Empty() {
		op.If, op.Context = register.IfSeen, o.Context
	}
	r, f := s.operate(ctx, a, op)
	switch {
	case f != nil:
		return nil, f
	case r.Verdict == register.Mismatch:
		return nil, mismatch(a, r)
	}
	_, live := distrib.AsOf(r.Record, unexpired)
	return &api.PutResponse{
		Context: distrib.EncodeContext(a.key, written(r, o)), Siblings: uint32(live), OpId: a.id[:], Linearizable: true, Strays: uint32(r.Strays),
	}, nil
}

// written is what the writer of a put has seen now: its own write and what that replaced. Of one that an earlier try had done
// and another writer has replaced since, it is what the writer had seen before.
func written(r *coordinator.Operated, o coordinator.WriteOptions) vclock.Seen {
	if i := slices.IndexFunc(r.Record, func(s distrib.Sibling) bool { return s.Op == o.Op }); i >= 0 {
		return r.Record[i].Seen()
	}
	return o.Context
}

// mismatch is what the writer of a put is told that has not seen what is there.
func mismatch(a attempt, r *coordinator.Operated) *api.Failure {
	key := keyWord(a.key)
	return &api.Failure{
		Code: uint32(codes.Aborted), Reason: reasonMismatch, Outcome: api.Failure_FAILED, OpId: a.id[:], Current: current(a.key, r),
		Message: a.op + " " + key + ": others have written since its context was read; outcome FAILED",
		Try:     "kvctl get " + key + ", then again with the context that it gave",
	}
}

func (s *Server) compareAndSwap(ctx context.Context, q *api.CompareAndSwapRequest) (*api.CompareAndSwapResponse, *api.Failure) {
	now, at := s.opts.Now(), s.opts.Clock.Tick()
	a := attempt{op: "compare and swap", key: q.GetKey(), linearizable: true, began: now}
	op, err := swapOperation(q, now, at)
	if err != nil {
		return nil, s.failure(ctx, a, err)
	}
	op.ID = named(op.ID)
	a.id = op.ID
	r, f := s.operate(ctx, a, op)
	if f != nil {
		return nil, f
	}
	return &api.CompareAndSwapResponse{
		Swapped: mismatches[r.Verdict] == api.CompareAndSwapResponse_NONE, Mismatch: mismatches[r.Verdict], Current: current(a.key, r), OpId: a.id[:],
	}, nil
}

// mismatches are why a swap was not made; of other verdicts it was.
var mismatches = map[register.Verdict]api.CompareAndSwapResponse_Mismatch{
	register.Mismatch: api.CompareAndSwapResponse_MISMATCH,
	register.Siblings: api.CompareAndSwapResponse_SIBLINGS,
}

// resolveLinearizable asks the register what became of an operation. Where nothing did, nothing will.
func (s *Server) resolveLinearizable(ctx context.Context, a attempt) (*api.ResolveResponse, *api.Failure) {
	r, f := s.operate(ctx, a, register.Operation{Kind: register.Resolve, ID: a.id})
	if f != nil {
		return nil, f
	}
	return &api.ResolveResponse{Fate: registerFates[r.Verdict]}, nil
}

var registerFates = map[register.Verdict]api.ResolveResponse_Fate{
	register.Repeated:  api.ResolveResponse_HAPPENED,
	register.NotDone:   api.ResolveResponse_NOT_HAPPENED,
	register.Forgotten: api.ResolveResponse_OVERTAKEN,
}
