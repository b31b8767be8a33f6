package service

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"google.golang.org/grpc/codes"

	"github.com/cambiumdb/cambium/distrib/api"
)

const (
	// batchParallel is how many operations of a batch are under way at once.
	batchParallel = 16
	// batchAnswerBytes is how much an answer to a batch holds at most, but for one get alone. The rest is left out.
	batchAnswerBytes = 64 << 20
)

func (s *Server) batchGet(ctx context.Context, q *api.BatchGetRequest) (*api.BatchGetResponse, *api.Failure) {
	var held atomic.Int64
	results, f := s.batch(ctx, "gets", len(q.GetGets()), func(i int, r *api.SessionResponse) {
		if n := held.Load(); n > batchAnswerBytes {
			setFailure(r, tooLarge(n))
			return
		}
		get, f := s.get(ctx, q.GetGets()[i])
		setGet(r, get, f)
		size := int64(messageBytes(r))
		if n := held.Add(size); n > batchAnswerBytes && n > size { // one alone may be as large as it is
			setFailure(r, tooLarge(n))
		}
	})
	return &api.BatchGetResponse{Results: results}, f
}

func tooLarge(n int64) *api.Failure {
	return &api.Failure{
		Code: uint32(codes.ResourceExhausted), Outcome: api.Failure_FAILED, Reason: reasonTooLarge,
		Message: fmt.Sprintf("batch: what its gets found holds %d bytes so far, the limit is %d", n, batchAnswerBytes), Try: "fewer keys at once",
	}
}

func (s *Server) batchPut(ctx context.Context, q *api.BatchPutRequest) (*api.BatchPutResponse, *api.Failure) {
	results, f := s.batch(ctx, "puts", len(q.GetPuts()), func(i int, r *api.SessionResponse) {
		put, f := s.put(ctx, q.GetPuts()[i])
		setPut(r, put, f)
	})
	return &api.BatchPutResponse{Results: results}, f
}

// batch has do give n results, some at once.
func (s *Server) batch(ctx context.Context, field string, n int, do func(i int, r *api.SessionResponse)) ([]*api.SessionResponse, *api.Failure) {
	if n > batchMax {
		return nil, s.failure(ctx, attempt{op: "batch"}, invalid("%s: %d keys, the limit is %d", field, n, batchMax))
	}
	results := make([]*api.SessionResponse, n)
	var next atomic.Int64
	var all sync.WaitGroup
	for range min(n, batchParallel) {
		all.Go(func() {
			for i := next.Add(1) - 1; i < int64(n); i = next.Add(1) - 1 {
				results[i] = &api.SessionResponse{Id: uint64(i)}
				do(int(i), results[i])
			}
		})
	}
	all.Wait()
	return results, nil
}
