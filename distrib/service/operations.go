package service

import (
	"context"
	"crypto/rand"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
)

// The operations, each from its request to its answer. The context ends at the operation's deadline.

func (s *Server) get(ctx context.Context, q *api.GetRequest) (*api.GetResponse, *api.Failure) {
	a := s.attempt("get", q.GetKey(), q.GetLevel(), s.opts.Now())
	o, err := readOptions(q)
	if err == nil && a.linearizable {
		return s.getLinearizable(ctx, a)
	}
	if err != nil {
		return nil, s.failure(ctx, a, err)
	}
	r, err := s.opts.Coordinator.Get(ctx, q.GetKey(), o)
	if err != nil {
		return nil, s.failure(ctx, a, err)
	}
	return &api.GetResponse{
		Siblings:     siblings(r.Record, s.opts.Now().UnixMilli()),
		Context:      distrib.EncodeContext(q.GetKey(), r.Context),
		Answered:     s.places(r.Places),
		Repaired:     len(r.Stale) > 0,
		Linearizable: r.Linearizable,
	}, nil
}

func (s *Server) put(ctx context.Context, q *api.PutRequest) (*api.PutResponse, *api.Failure) {
	now, at := s.opts.Now(), s.opts.Clock.Tick()
	v, err := valueOf(q, now, at)
	return s.write(ctx, q, v, s.attempt("put", q.GetKey(), q.GetLevel(), now), err)
}

func (s *Server) del(ctx context.Context, q *api.DeleteRequest) (*api.PutResponse, *api.Failure) {
	now, at := s.opts.Now(), s.opts.Clock.Tick()
	return s.write(ctx, q, distrib.Value{Deleted: true, Time: at}, s.attempt("delete", q.GetKey(), q.GetLevel(), now), nil)
}

// write stores v, unless bad says what is wrong with it.
func (s *Server) write(ctx context.Context, q writeRequest, v distrib.Value, a attempt, bad error) (*api.PutResponse, *api.Failure) {
	o, err := writeOptions(q, s.opts.Sync)
	if err == nil {
		err = bad
	}
	if err != nil {
		return nil, s.failure(ctx, a, err)
	}
	o.Op = named(o.Op)
	a.id = o.Op
	if a.linearizable {
		return s.writeLinearizable(ctx, a, v, o)
	}
	r, err := s.opts.Coordinator.Put(ctx, q.GetKey(), v, o)
	if err != nil {
		return nil, s.failure(ctx, a, err)
	}
	return &api.PutResponse{
		Context:      distrib.EncodeContext(q.GetKey(), r.Context),
		Siblings:     uint32(r.Siblings),
		Acknowledged: s.places(r.Places),
		OpId:         a.id[:],
		Linearizable: r.Linearizable,
		Strays:       uint32(r.Strays),
	}, nil
}

// named returns id, or where it is zero a new one: by it a client can ask what became of the operation.
func named(id distrib.OpID) distrib.OpID {
	if id == (distrib.OpID{}) {
		_, _ = rand.Read(id[:]) // it never fails
	}
	return id
}

func (s *Server) resolve(ctx context.Context, q *api.ResolveRequest) (*api.ResolveResponse, *api.Failure) {
	a := attempt{op: "resolve", key: q.GetKey(), linearizable: q.GetLinearizable(), began: s.opts.Now()}
	if err := distrib.CheckKey(q.GetKey()); err != nil {
		return nil, s.failure(ctx, a, invalid("%s", err))
	}
	id, err := opID(q.GetOpId())
	if err != nil {
		return nil, s.failure(ctx, a, err)
	}
	a.id = id
	if a.linearizable {
		return s.resolveLinearizable(ctx, a)
	}
	fate, places, err := s.opts.Coordinator.Resolve(ctx, q.GetKey(), id)
	if err != nil {
		return nil, s.failure(ctx, a, err)
	}
	return &api.ResolveResponse{Fate: fates[fate], Answered: s.places(places)}, nil
}
