package service

import (
	"strconv"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/coordinator"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// number is the name of a node whose name is not known.
func number(id uint64) string { return "node " + strconv.FormatUint(id, 10) }

// siblings are what a reader at now, in milliseconds since 1970, sees of a record: none where it is absent.
func siblings(r distrib.Record, now int64) []*api.Sibling {
	seen, live := distrib.AsOf(r, now)
	if live == 0 {
		return nil
	}
	list := make([]*api.Sibling, len(seen))
	for i := range seen {
		list[i] = sibling(&seen[i], len(seen) > 1)
	}
	return list
}

// sibling is one of them. What its writer had seen matters only beside others.
func sibling(s *distrib.Sibling, past bool) *api.Sibling {
	out := &api.Sibling{
		Value: s.Value.Data, Deleted: s.Value.Deleted, ExpiresMs: s.Value.Expires, TimeMs: uint64(s.Value.Time) >> 16,
		Dot: &api.Dot{Node: s.Dot.Node, Birth: s.Dot.Birth, Counter: s.Dot.Counter},
	}
	if s.Op != (distrib.OpID{}) {
		out.OpId = s.Op[:]
	}
	if past {
		out.Past = clockEntries(s.Past.Clock)
	}
	return out
}

func clockEntries(c vclock.Clock) (list []*api.ClockEntry) {
	for actor, span := range c.All() {
		list = append(list, &api.ClockEntry{Node: actor.Node, Birth: actor.Birth, Last: span.Last, Beyond: span.Beyond})
	}
	return list
}

func (s *Server) places(list []coordinator.Place) []*api.Place {
	out, block := make([]*api.Place, len(list)), make([]api.Place, len(list))
	for i, p := range list {
		out[i] = &block[i]
		out[i].Node = s.opts.Name(p.Node)
		if p.For != 0 {
			out[i].For = s.opts.Name(p.For)
		}
	}
	return out
}

// fates are the coordinator's as clients know them.
var fates = map[coordinator.Fate]api.ResolveResponse_Fate{
	coordinator.Happened:    api.ResolveResponse_HAPPENED,
	coordinator.NotSeen:     api.ResolveResponse_NOT_SEEN,
	coordinator.Overtaken:   api.ResolveResponse_OVERTAKEN,
	coordinator.NotHappened: api.ResolveResponse_NOT_HAPPENED,
}

// The results of a session's answer, each an answer or a failure.

func setGet(r *api.SessionResponse, get *api.GetResponse, f *api.Failure) {
	if r.Result = (&api.SessionResponse_Get{Get: get}); f != nil {
		setFailure(r, f)
	}
}

func setPut(r *api.SessionResponse, put *api.PutResponse, f *api.Failure) {
	if r.Result = (&api.SessionResponse_Put{Put: put}); f != nil {
		setFailure(r, f)
	}
}

func setSwap(r *api.SessionResponse, swap *api.CompareAndSwapResponse, f *api.Failure) {
	if r.Result = (&api.SessionResponse_CompareAndSwap{CompareAndSwap: swap}); f != nil {
		setFailure(r, f)
	}
}

func setResolve(r *api.SessionResponse, resolve *api.ResolveResponse, f *api.Failure) {
	if r.Result = (&api.SessionResponse_Resolve{Resolve: resolve}); f != nil {
		setFailure(r, f)
	}
}

func setFailure(r *api.SessionResponse, f *api.Failure) {
	r.Result = &api.SessionResponse_Failure{Failure: f}
}
