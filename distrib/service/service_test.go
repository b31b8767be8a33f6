package service

import (
	"context"
	"io"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/replica"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// way is how an operation reaches the service: alone, or in a session.
type way func(q *api.SessionRequest) *api.SessionResponse

// ways runs a test over unary calls and over a session.
func ways(t *testing.T, nodes uint64, limits Limits, test func(t *testing.T, c *cluster, do way)) {
	t.Run("unary", func(t *testing.T) {
		c := newCluster(t, nodes, limits)
		test(t, c, func(q *api.SessionRequest) *api.SessionResponse { return c.unary(t, t.Context(), q) })
	})
	t.Run("session", func(t *testing.T) {
		c := newCluster(t, nodes, limits)
		s := c.session(t)
		last := uint64(0)
		test(t, c, func(q *api.SessionRequest) *api.SessionResponse {
			last++
			q.Id = last
			require.NoError(t, s.Send(q))
			r := s.next(t)
			require.Equal(t, last, r.Id)
			return r
		})
	})
}

// unary carries out q by a call of its own.
func (c *cluster) unary(t *testing.T, ctx context.Context, q *api.SessionRequest) *api.SessionResponse {
	var err error
	r := &api.SessionResponse{}
	switch op := q.Op.(type) {
	case *api.SessionRequest_Get:
		var a *api.GetResponse
		a, err = c.client.Get(ctx, op.Get)
		setGet(r, a, nil)
	case *api.SessionRequest_Put:
		var a *api.PutResponse
		a, err = c.client.Put(ctx, op.Put)
		setPut(r, a, nil)
	case *api.SessionRequest_Delete:
		var a *api.PutResponse
		a, err = c.client.Delete(ctx, op.Delete)
		setPut(r, a, nil)
	case *api.SessionRequest_Resolve:
		var a *api.ResolveResponse
		a, err = c.client.Resolve(ctx, op.Resolve)
		setResolve(r, a, nil)
	case *api.SessionRequest_CompareAndSwap:
		var a *api.CompareAndSwapResponse
		a, err = c.client.CompareAndSwap(ctx, op.CompareAndSwap)
		setSwap(r, a, nil)
	}
	if err != nil {
		setFailure(r, failureOf(t, err))
	}
	return r
}

// failureOf is the failure in the details of a unary call's error, which must say the same.
func failureOf(t *testing.T, err error) *api.Failure {
	st := status.Convert(err)
	require.Len(t, st.Details(), 1, st.Message())
	f := st.Details()[0].(*api.Failure)
	require.Equal(t, uint32(st.Code()), f.Code)
	require.Equal(t, st.Message(), f.Message)
	return f
}

// caller is a session, and answers that came together with others.
type caller struct {
	api.KV_SessionClient
	rest     []*api.SessionResponse
	messages int
}

func (c *cluster) session(t testing.TB) *caller {
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	s, err := c.client.Session(ctx)
	require.NoError(t, err)
	return &caller{KV_SessionClient: s}
}

// next returns the next answer.
func (s *caller) next(t testing.TB) *api.SessionResponse {
	if len(s.rest) == 0 {
		r, err := s.Recv()
		require.NoError(t, err)
		s.messages++
		s.rest = []*api.SessionResponse{r}
		if batch := r.GetBatch(); batch != nil {
			s.rest = batch.Responses
		}
	}
	r := s.rest[0]
	s.rest = s.rest[1:]
	return r
}

func get(q *api.GetRequest) *api.SessionRequest {
	return &api.SessionRequest{Op: &api.SessionRequest_Get{Get: q}}
}

func put(q *api.PutRequest) *api.SessionRequest {
	return &api.SessionRequest{Op: &api.SessionRequest_Put{Put: q}}
}

func del(q *api.DeleteRequest) *api.SessionRequest {
	return &api.SessionRequest{Op: &api.SessionRequest_Delete{Delete: q}}
}

func resolve(q *api.ResolveRequest) *api.SessionRequest {
	return &api.SessionRequest{Op: &api.SessionRequest_Resolve{Resolve: q}}
}

func swap(q *api.CompareAndSwapRequest) *api.SessionRequest {
	return &api.SessionRequest{Op: &api.SessionRequest_CompareAndSwap{CompareAndSwap: q}}
}

func level(c api.Consistency) *api.Level { return &api.Level{Consistency: c} }

func nodes(places []*api.Place) (names []string) {
	for _, p := range places {
		names = append(names, p.Node)
	}
	return names
}

func values(r *api.SessionResponse) (list []string) {
	for _, s := range r.GetGet().GetSiblings() {
		list = append(list, string(s.Value))
	}
	return list
}

func TestOperations(t *testing.T) {
	ways(t, 3, Limits{}, func(t *testing.T, c *cluster, do way) {
		key, all := []byte("user:1"), level(api.Consistency_ALL)
		first := do(put(&api.PutRequest{Key: key, Value: []byte("red"), Level: all})).GetPut()
		require.Equal(t, uint32(1), first.Siblings)
		require.ElementsMatch(t, []string{"n1", "n2", "n3"}, nodes(first.Acknowledged))
		require.Len(t, first.OpId, 16)

		got := do(get(&api.GetRequest{Key: key, Level: all}))
		require.Equal(t, []string{"red"}, values(got))
		require.Equal(t, first.Context, got.GetGet().Context)
		require.Equal(t, first.OpId, got.GetGet().Siblings[0].OpId)
		require.Equal(t, uint64(1_000_000), got.GetGet().Siblings[0].TimeMs)
		require.Empty(t, got.GetGet().Siblings[0].Past)
		require.ElementsMatch(t, []string{"n1", "n2", "n3"}, nodes(got.GetGet().Answered))

		id := make([]byte, 16)
		id[0] = 7
		for range 2 { // another try makes no second sibling
			second := do(put(&api.PutRequest{Key: key, Value: []byte("blue"), OpId: id, Level: all})).GetPut()
			require.Equal(t, uint32(2), second.Siblings, "written without context")
			require.Equal(t, id, second.OpId)
		}
		got = do(get(&api.GetRequest{Key: key}))
		require.ElementsMatch(t, []string{"red", "blue"}, values(got))
		require.Len(t, got.GetGet().Answered, 2)

		third := do(put(&api.PutRequest{Key: key, Value: []byte("green"), Context: got.GetGet().Context, Level: all})).GetPut()
		require.Equal(t, uint32(1), third.Siblings)
		require.Equal(t, []string{"green"}, values(do(get(&api.GetRequest{Key: key, Level: level(api.Consistency_ONE)}))))
		require.Equal(t, api.ResolveResponse_HAPPENED, do(resolve(&api.ResolveRequest{Key: key, OpId: id})).GetResolve().Fate)
		id[0] = 8
		answer := do(resolve(&api.ResolveRequest{Key: key, OpId: id})).GetResolve()
		require.Equal(t, api.ResolveResponse_NOT_SEEN, answer.Fate)
		require.Len(t, answer.Answered, 3)

		do(put(&api.PutRequest{Key: key, Value: []byte("grey"), Level: all}))
		do(del(&api.DeleteRequest{Key: key, Context: third.Context, Level: all}))
		got = do(get(&api.GetRequest{Key: key, Level: &api.Level{Nodes: 3}}))
		require.Len(t, got.GetGet().Siblings, 2, "a delete beside a value")
		for _, s := range got.GetGet().Siblings {
			require.Equal(t, string(s.Value) != "grey", s.Deleted)
			require.NotNil(t, s.Dot)
			require.Equal(t, s.Deleted, len(s.Past) > 0)
		}
		do(del(&api.DeleteRequest{Key: key, Context: got.GetGet().Context, Level: all}))
		got = do(get(&api.GetRequest{Key: key}))
		require.Empty(t, got.GetGet().Siblings)
		require.NotEmpty(t, got.GetGet().Context)
	})
}

// TestRetried: an operation of which a try said that it was not the first is known for longer.
func TestRetried(t *testing.T) {
	ways(t, 3, Limits{}, func(t *testing.T, c *cluster, do way) {
		all := level(api.Consistency_ALL)
		for i, retried := range []bool{false, true} {
			key, id := []byte{byte('a' + i)}, make([]byte, 16)
			id[0] = 7
			writes := []func([]byte) *api.SessionRequest{
				func(had []byte) *api.SessionRequest {
					return put(&api.PutRequest{Key: key, OpId: id, Retried: retried, Context: had, Level: all})
				},
				func(had []byte) *api.SessionRequest {
					return del(&api.DeleteRequest{Key: key, OpId: id, Retried: retried, Context: had, Level: all})
				},
			}
			var had []byte
			for n, write := range writes {
				id[1] = byte(n)
				had = do(write(had)).GetPut().Context
				for range 2 * vclock.KeptOps {
					had = do(put(&api.PutRequest{Key: key, Context: had, Level: all})).GetPut().Context
				}
				want := map[bool]api.ResolveResponse_Fate{false: api.ResolveResponse_OVERTAKEN, true: api.ResolveResponse_HAPPENED}[retried]
				require.Equal(t, want, do(resolve(&api.ResolveRequest{Key: key, OpId: id})).GetResolve().Fate, "write %d", n)
			}
		}
	})
}

func TestTTL(t *testing.T) {
	ways(t, 3, Limits{}, func(t *testing.T, c *cluster, do way) {
		key := []byte("k")
		do(put(&api.PutRequest{Key: key, Value: []byte("v"), TtlMs: 1500}))
		require.Equal(t, int64(1_001_500), do(get(&api.GetRequest{Key: key})).GetGet().Siblings[0].ExpiresMs)
		c.pass(1499e6)
		require.Equal(t, []string{"v"}, values(do(get(&api.GetRequest{Key: key}))))
		c.pass(1e6)
		got := do(get(&api.GetRequest{Key: key})).GetGet()
		require.Empty(t, got.Siblings)
		require.NotEmpty(t, got.Context)
	})
}

func TestLargeValues(t *testing.T) {
	ways(t, 3, Limits{}, func(t *testing.T, _ *cluster, do way) {
		value := make([]byte, 10<<20)
		value[len(value)-1] = 1
		require.NotNil(t, do(put(&api.PutRequest{Key: []byte("k"), Value: value})).GetPut())
		require.NotNil(t, do(put(&api.PutRequest{Key: []byte("k"), Value: value})).GetPut())
		got := do(get(&api.GetRequest{Key: []byte("k")})).GetGet()
		require.Len(t, got.Siblings, 2)
		require.Equal(t, value, got.Siblings[1].Value)
	})
}

func TestScan(t *testing.T) {
	c := newCluster(t, 5, Limits{})
	var puts []*api.PutRequest
	for i := range 1000 {
		puts = append(puts, &api.PutRequest{Key: []byte{byte(i >> 8), byte(i)}, Value: []byte("v"), Level: level(api.Consistency_ALL)})
	}
	_, err := c.client.BatchPut(t.Context(), &api.BatchPutRequest{Puts: puts})
	require.NoError(t, err)
	scan := func(q *api.ScanRequest) (entries []*api.ScanEntry, pages int) {
		stream, err := c.client.Scan(t.Context(), q)
		require.NoError(t, err)
		for {
			r, err := stream.Recv()
			if err == io.EOF {
				return entries, pages
			}
			require.NoError(t, err)
			entries, pages = append(entries, r.Entries...), pages+1
		}
	}
	all, pages := scan(&api.ScanRequest{})
	require.Len(t, all, 1000)
	require.Equal(t, 4, pages)
	seen := map[string]bool{}
	for i, e := range all {
		seen[string(e.Key)] = true
		require.Equal(t, "v", string(e.Siblings[0].Value))
		require.NotEmpty(t, e.Context)
		require.True(t, i == 0 || all[i-1].Token <= e.Token)
	}
	require.Len(t, seen, 1000)

	part, pages := scan(&api.ScanRequest{After: all[99].Key, Limit: 50, KeysOnly: true})
	require.Len(t, part, 50)
	require.Equal(t, 1, pages)
	require.Equal(t, all[100].Key, part[0].Key)
	require.Empty(t, part[0].Siblings)
	part, _ = scan(&api.ScanRequest{First: all[10].Token, Last: all[19].Token, Level: level(api.Consistency_ONE)})
	require.Len(t, part, 10)

	stream, err := c.client.Scan(t.Context(), &api.ScanRequest{Level: &api.Level{Nodes: 4}})
	require.NoError(t, err)
	_, err = stream.Recv()
	f := failureOf(t, err)
	require.Equal(t, reasonInvalid, f.Reason)
	require.Equal(t, "scan: level.nodes: R is 4, want 1 to 3", f.Message)
	stream, err = c.client.Scan(t.Context(), &api.ScanRequest{Level: linear})
	require.NoError(t, err)
	_, err = stream.Recv()
	f = failureOf(t, err)
	require.Equal(t, reasonInvalid, f.Reason)
	require.Contains(t, f.Message, "scan: level.consistency is LINEARIZABLE, which a scan cannot be")
}

func TestBatch(t *testing.T) {
	c := newCluster(t, 3, Limits{})
	answer, err := c.client.BatchPut(t.Context(), &api.BatchPutRequest{Puts: []*api.PutRequest{
		{Key: []byte("a"), Value: []byte("1")}, {Value: []byte("2")}, {Key: []byte("c"), Value: []byte("3")},
	}})
	require.NoError(t, err)
	require.Len(t, answer.Results, 3)
	require.NotNil(t, answer.Results[0].GetPut())
	require.Equal(t, "put: key is empty: a key has at least one byte", answer.Results[1].GetFailure().Message)
	require.Equal(t, uint64(2), answer.Results[2].Id)
	got, err := c.client.BatchGet(t.Context(), &api.BatchGetRequest{Gets: []*api.GetRequest{{Key: []byte("c")}, {Key: []byte("a")}, {Key: []byte("b")}}})
	require.NoError(t, err)
	require.Equal(t, []string{"3"}, values(got.Results[0]))
	require.Equal(t, []string{"1"}, values(got.Results[1]))
	require.Empty(t, values(got.Results[2]))

	_, err = c.client.BatchGet(t.Context(), &api.BatchGetRequest{Gets: make([]*api.GetRequest, batchMax+1)})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
	require.ErrorContains(t, err, "gets: 4097 keys, the limit is 4096")
}

func TestBatchTooLarge(t *testing.T) {
	c := newCluster(t, 3, Limits{})
	grow := func(n int) {
		for range n {
			_, err := c.client.Put(t.Context(), &api.PutRequest{Key: []byte("k"), Value: make([]byte, 10<<20), Level: level(api.Consistency_ALL)})
			require.NoError(t, err)
		}
	}
	grow(4)
	q := &api.GetRequest{Key: []byte("k"), Level: level(api.Consistency_ONE)}
	answer, err := c.client.BatchGet(t.Context(), &api.BatchGetRequest{Gets: []*api.GetRequest{q, q, q}}) // 40 MiB each
	require.NoError(t, err)
	found := 0
	for _, r := range answer.Results {
		if r.GetGet() != nil {
			require.Len(t, r.GetGet().Siblings, 4)
			found++
			continue
		}
		require.Equal(t, reasonTooLarge, r.GetFailure().GetReason())
		require.Equal(t, uint32(codes.ResourceExhausted), r.GetFailure().Code)
		require.Equal(t, "fewer keys at once", r.GetFailure().Try)
	}
	require.Equal(t, 1, found)

	grow(3)
	answer, err = c.client.BatchGet(t.Context(), &api.BatchGetRequest{Gets: []*api.GetRequest{q}})
	require.NoError(t, err)
	require.Len(t, answer.Results[0].GetGet().GetSiblings(), 7, "one alone may be as large as it is")
}

func TestRepaired(t *testing.T) {
	ways(t, 3, Limits{}, func(t *testing.T, c *cluster, do way) {
		key := []byte("k")
		_, err := c.nodes[1].own.Put(key, replica.Put{Value: distrib.Value{Data: []byte("v")}})
		require.NoError(t, err)
		q := get(&api.GetRequest{Key: key, Level: level(api.Consistency_ALL), Repair: true})
		require.True(t, do(q).GetGet().GetRepaired(), "two nodes lacked it")
		require.False(t, do(q).GetGet().Repaired)
	})
}
