package service

import (
	"context"
	"crypto/rand"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
)

// The operations, each from its request to its answer. The context ends at the operation's deadline.

func (s *Server) get(ctx context.Context, q *api.GetRequest) (*api.GetResponse, *api.Failure) {
	a := attempt{op: "get", key: q.GetKey(), strict: q.GetLevel().GetStrict(), began: s.opts.Now()}
	o, err := readOptions(q)
	if err != nil {
		return nil, s.failure(ctx, a, err)
	}
	r, err := s.opts.Coordinator.Get(ctx, q.GetKey(), o)
	if err != nil {
		return nil, s.failure(ctx, a, err)
	}
	return &api.GetResponse{
		Siblings: siblings(r.Record, s.opts.Now().UnixMilli()),
		Context:  distrib.EncodeContext(q.GetKey(), r.Context),
		Answered: s.places(r.Places),
		Repaired: len(r.Stale) > 0,
	}, nil
}

func (s *Server) put(ctx context.Context, q *api.PutRequest) (*api.PutResponse, *api.Failure) {
	now, at := s.clock.tick()
	v, err := valueOf(q, now, at)
	return s.write(ctx, q, v, attempt{op: "put", began: now}, err)
}

func (s *Server) del(ctx context.Context, q *api.DeleteRequest) (*api.PutResponse, *api.Failure) {
	now, at := s.clock.tick()
	return s.write(ctx, q, distrib.Value{Deleted: true, Time: at}, attempt{op: "delete", began: now}, nil)
}

// write stores v, unless bad says what is wrong with it.
func (s *Server) write(ctx context.Context, q writeRequest, v distrib.Value, a attempt, bad error) (*api.PutResponse, *api.Failure) {
	a.key, a.strict = q.GetKey(), q.GetLevel().GetStrict()
	o, err := writeOptions(q, s.opts.Sync)
	if err == nil {
		err = bad
	}
	if err != nil {
		return nil, s.failure(ctx, a, err)
	}
	if o.Op == (distrib.OpID{}) { // by this a client can ask what became of it
		_, _ = rand.Read(o.Op[:]) // it never fails
	}
	a.id = o.Op
	r, err := s.opts.Coordinator.Put(ctx, q.GetKey(), v, o)
	if err != nil {
		return nil, s.failure(ctx, a, err)
	}
	return &api.PutResponse{
		Context:      distrib.EncodeContext(q.GetKey(), r.Context),
		Siblings:     uint32(r.Siblings),
		Acknowledged: s.places(r.Places),
		OpId:         a.id[:],
	}, nil
}

func (s *Server) compareAndSwap(ctx context.Context, q *api.CompareAndSwapRequest) (*api.CompareAndSwapResponse, *api.Failure) {
	return nil, s.failure(ctx, attempt{op: "compare and swap"}, errSwap)
}

var errSwap = &unimplementedError{"it needs the linearizable path, which does not exist yet; a put with the context of a read replaces what was read"}

func (s *Server) resolve(ctx context.Context, q *api.ResolveRequest) (*api.ResolveResponse, *api.Failure) {
	a := attempt{op: "resolve", key: q.GetKey(), began: s.opts.Now()}
	if err := distrib.CheckKey(q.GetKey()); err != nil {
		return nil, s.failure(ctx, a, invalid("%s", err))
	}
	id, err := opID(q.GetOpId())
	if err != nil {
		return nil, s.failure(ctx, a, err)
	}
	a.id = id
	fate, places, err := s.opts.Coordinator.Resolve(ctx, q.GetKey(), id)
	if err != nil {
		return nil, s.failure(ctx, a, err)
	}
	return &api.ResolveResponse{Fate: fates[fate], Answered: s.places(places)}, nil
}
