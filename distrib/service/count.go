package service

import (
	"time"

	"google.golang.org/grpc/codes"

	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/observe"
)

// count tells of an operation that came at since, and of its failure where it has one.
func (s *Server) count(q any, f *api.Failure, since time.Time) {
	if s.opts.Operations != nil {
		kind, level := kindOf(q)
		s.opts.Operations.Done(kind, level, outcomeOf(f), time.Since(since))
	}
}

// kindOf is what a request asks for. A batch has the level of its first.
func kindOf(q any) (observe.Kind, observe.Level) {
	switch q := q.(type) {
	case *api.SessionRequest:
		switch op := q.GetOp().(type) {
		case *api.SessionRequest_Get:
			return kindOf(op.Get)
		case *api.SessionRequest_Put:
			return kindOf(op.Put)
		case *api.SessionRequest_Delete:
			return kindOf(op.Delete)
		case *api.SessionRequest_CompareAndSwap:
			return kindOf(op.CompareAndSwap)
		case *api.SessionRequest_Resolve:
			return kindOf(op.Resolve)
		}
	case *api.GetRequest:
		return observe.Get, levelOf(q.GetLevel())
	case *api.PutRequest:
		return observe.Put, levelOf(q.GetLevel())
	case *api.DeleteRequest:
		return observe.Delete, levelOf(q.GetLevel())
	case *api.CompareAndSwapRequest:
		return observe.CompareAndSwap, observe.Linearizable
	case *api.BatchGetRequest:
		if len(q.GetGets()) > 0 {
			return observe.BatchGet, levelOf(q.GetGets()[0].GetLevel())
		}
		return observe.BatchGet, observe.Quorum
	case *api.BatchPutRequest:
		if len(q.GetPuts()) > 0 {
			return observe.BatchPut, levelOf(q.GetPuts()[0].GetLevel())
		}
		return observe.BatchPut, observe.Quorum
	case *api.ScanRequest:
		return observe.Scan, levelOf(q.GetLevel())
	case *api.ResolveRequest:
		if q.GetLinearizable() {
			return observe.Resolve, observe.Linearizable
		}
	}
	return observe.Resolve, observe.All // it asks all nodes of the key
}

func levelOf(l *api.Level) observe.Level {
	switch {
	case linearizable(l):
		return observe.Linearizable
	case l.GetNodes() != 0:
		return observe.Nodes
	case l.GetConsistency() == api.Consistency_ONE:
		return observe.One
	case l.GetConsistency() == api.Consistency_ALL:
		return observe.All
	}
	return observe.Quorum
}

func outcomeOf(f *api.Failure) observe.Outcome {
	switch {
	case f == nil:
		return observe.OK
	case f.Code == uint32(codes.InvalidArgument), f.Code == uint32(codes.Unimplemented):
		return observe.Invalid
	case f.Outcome == api.Failure_UNKNOWN:
		return observe.Unknown
	case f.Reason == reasonOverloaded:
		return observe.Overloaded
	}
	return observe.Failed
}

// worst is the failure of an operation: f, or of those of a batch's keys one that leaves most open.
func worst(answer any, f *api.Failure) *api.Failure {
	var results []*api.SessionResponse
	switch a := answer.(type) {
	case *api.BatchGetResponse:
		results = a.GetResults()
	case *api.BatchPutResponse:
		results = a.GetResults()
	}
	for _, r := range results {
		if g := r.GetFailure(); f == nil || g.GetOutcome() == api.Failure_UNKNOWN {
			f = g
		}
	}
	return f
}
