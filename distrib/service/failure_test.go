package service

import (
	"bytes"
	"context"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

func TestLimits(t *testing.T) {
	key, long := []byte("k"), make([]byte, distrib.MaxKeyBytes+1)
	of := distrib.EncodeContext([]byte("other"), vclock.SeenOf(vclock.Clock{}.With(vclock.Dot{Actor: vclock.Actor{Node: 1, Birth: 1}, Counter: 1})))
	tests := []struct {
		name, want string
		request    *api.SessionRequest
	}{
		{"no key", "get: key is empty: a key has at least one byte", get(&api.GetRequest{})},
		{"no key to put", "put: key is empty: a key has at least one byte", put(&api.PutRequest{})},
		{"no key to delete", "delete: key is empty: a key has at least one byte", del(&api.DeleteRequest{})},
		{"long key", "get: key of 1025 bytes, the limit is 1024", get(&api.GetRequest{Key: long})},
		{"long key to put", "put: key of 1025 bytes, the limit is 1024", put(&api.PutRequest{Key: long})},
		{"long key to resolve", "resolve: key of 1025 bytes, the limit is 1024", resolve(&api.ResolveRequest{Key: long})},
		{"large value", "put: value of 10485761 bytes, the limit is 10485760", put(&api.PutRequest{Key: key, Value: make([]byte, distrib.MaxValueBytes+1)})},
		{"R", "get: level.nodes: R is 4, want 1 to 3", get(&api.GetRequest{Key: key, Level: &api.Level{Nodes: 4}})},
		{"largest R", "get: level.nodes: R is 4294967295, want 1 to 3", get(&api.GetRequest{Key: key, Level: &api.Level{Nodes: math.MaxUint32}})},
		{"W", "put: level.nodes: W is 4, want 1 to 3", put(&api.PutRequest{Key: key, Level: &api.Level{Nodes: 4}})},
		{"W of a delete", "delete: level.nodes: W is 4, want 1 to 3", del(&api.DeleteRequest{Key: key, Level: &api.Level{Nodes: 4}})},
		{"consistency", "put: level.consistency is 9, want 0 to 4", put(&api.PutRequest{Key: key, Level: level(9)})},
		{"context", "put: context of 3 bytes is none: it must be what a read gave, as it was given", put(&api.PutRequest{Key: key, Context: []byte("abc")})},
		{"context of another key", `delete: context of another key than "k": it must be what a read of this key gave`, del(&api.DeleteRequest{Key: key, Context: of})},
		{"long context", "put: context of 65537 bytes, the limit is 65536", put(&api.PutRequest{Key: key, Context: make([]byte, distrib.MaxContextBytes+1)})},
		{"op_id", "put: op_id of 15 bytes, want 16", put(&api.PutRequest{Key: key, OpId: make([]byte, 15)})},
		{"op_id of zeros", "delete: op_id of 16 zeros names no operation", del(&api.DeleteRequest{Key: key, OpId: make([]byte, 16)})},
		{"op_id to resolve", "resolve: op_id of 0 bytes, want 16", resolve(&api.ResolveRequest{Key: key})},
		{"nodes", "put: level.nodes is 2 beside LINEARIZABLE, which a majority of the key's own nodes decides: want 0",
			put(&api.PutRequest{Key: key, Level: &api.Level{Consistency: api.Consistency_LINEARIZABLE, Nodes: 2}})},
		{"no key to swap", "compare and swap: key is empty: a key has at least one byte", swap(&api.CompareAndSwapRequest{})},
		{"nothing expected", "compare and swap: nothing is expected: want expect_value, expect_context or expect_absent", swap(&api.CompareAndSwapRequest{Key: key})},
		{"absence is not expected", "compare and swap: nothing is expected: want expect_value, expect_context or expect_absent",
			swap(&api.CompareAndSwapRequest{Key: key, Expect: &api.CompareAndSwapRequest_ExpectAbsent{}})},
		{"context expected", "compare and swap: context of 3 bytes is none: it must be what a read gave, as it was given",
			swap(&api.CompareAndSwapRequest{Key: key, Expect: &api.CompareAndSwapRequest_ExpectContext{ExpectContext: []byte("abc")}})},
		{"delete and a value", "compare and swap: delete beside a value of 1 bytes and ttl_ms 0: want one of them", swap(&api.CompareAndSwapRequest{Key: key, Value: key, Delete: true})},
		{"op_id to swap", "compare and swap: op_id of 15 bytes, want 16", swap(&api.CompareAndSwapRequest{Key: key, OpId: make([]byte, 15)})},
		{"large value to swap", "compare and swap: value of 10485761 bytes, the limit is 10485760", swap(&api.CompareAndSwapRequest{Key: key, Value: make([]byte, distrib.MaxValueBytes+1)})},
		{"ttl", "put: ttl_ms is 18446744073709551615, the limit is 9223372036853775807", put(&api.PutRequest{Key: key, TtlMs: math.MaxUint64})},
	}
	ways(t, 3, Limits{}, func(t *testing.T, c *cluster, do way) {
		for _, test := range tests {
			f := do(test.request).GetFailure()
			require.NotNil(t, f, test.name)
			require.Equal(t, test.want, f.Message, test.name)
			require.Equal(t, uint32(codes.InvalidArgument), f.Code, test.name)
			require.Equal(t, reasonInvalid, f.Reason, test.name)
			require.Equal(t, api.Failure_FAILED, f.Outcome, test.name)
		}
		require.Zero(t, c.stored(t), "nothing is written")
		require.NotNil(t, do(put(&api.PutRequest{Key: long[:distrib.MaxKeyBytes], TtlMs: math.MaxInt64 - 1_000_000})).GetPut(), "what is at the limit")
	})
}

func TestFailures(t *testing.T) {
	ways(t, 3, Limits{}, func(t *testing.T, c *cluster, do way) {
		key := []byte("user:1")
		c.set(c.down, 2, 3)
		f := do(put(&api.PutRequest{Key: key, Value: []byte("v"), Level: &api.Level{Strict: true}})).GetFailure()
		require.Equal(t, api.Failure_UNKNOWN, f.Outcome)
		require.Equal(t, reasonUnavailable, f.Reason)
		require.Equal(t, uint32(codes.Unavailable), f.Code)
		require.Regexp(t, `^put "user:1": needs 2 of replicas n1 n[23] n[23]; 1 acked in 0s \(n[23] no answer: connection reset, n[23] no answer: connection reset\); outcome UNKNOWN$`, f.Message)
		require.Regexp(t, `^kvctl resolve user:1 --op [0-9a-f]{32}, or --consistency one, or without --strict$`, f.Try)
		require.Len(t, f.Replicas, 3)
		require.Equal(t, "n1", f.Replicas[0].Node)
		require.Equal(t, "acknowledged", f.Replicas[0].State)
		require.Equal(t, "connection reset", f.Replicas[1].Cause)
		require.Equal(t, api.ResolveResponse_HAPPENED, do(resolve(&api.ResolveRequest{Key: key, OpId: f.OpId})).GetResolve().Fate)

		f = do(get(&api.GetRequest{Key: key})).GetFailure()
		require.Equal(t, api.Failure_FAILED, f.Outcome)
		require.Equal(t, "--consistency one", f.Try)

		c.set(c.gone, 2, 3)
		f = do(put(&api.PutRequest{Key: key})).GetFailure()
		require.Equal(t, api.Failure_FAILED, f.GetOutcome())
		require.Equal(t, "--consistency one", f.Try)
		require.Regexp(t, `: needs 2 of replicas n1 n[23] n[23]; 0 acked in 0s \(n[23] down, n[23] down\); outcome FAILED$`, f.Message)
		c.set(c.down, 1)
		f = do(get(&api.GetRequest{Key: key, Level: level(api.Consistency_ONE)})).GetFailure()
		require.Equal(t, reasonUnavailable, f.GetReason())
		require.Equal(t, "kvctl cluster status", f.Try)
	})
}

func TestNodesOverloaded(t *testing.T) {
	ways(t, 3, Limits{}, func(t *testing.T, c *cluster, do way) {
		c.set(c.busy, 1, 2, 3)
		f := do(put(&api.PutRequest{Key: []byte("k")})).GetFailure()
		require.Equal(t, uint32(codes.ResourceExhausted), f.Code)
		require.Equal(t, reasonOverloaded, f.Reason)
		require.Equal(t, api.Failure_FAILED, f.Outcome)
		require.Equal(t, uint32(70), f.RetryAfterMs)
		require.Equal(t, "again in 70 ms", f.Try)
	})
}

func TestTooManySiblings(t *testing.T) {
	ways(t, 3, Limits{}, func(t *testing.T, c *cluster, do way) {
		for i := range distrib.SiblingsMax {
			require.Equal(t, uint32(i+1), do(put(&api.PutRequest{Key: []byte("a b"), Level: level(api.Consistency_ALL)})).GetPut().GetSiblings())
		}
		f := do(put(&api.PutRequest{Key: []byte("a b")})).GetFailure()
		require.Equal(t, uint32(codes.FailedPrecondition), f.GetCode())
		require.Equal(t, reasonSiblings, f.Reason)
		require.Equal(t, `kvctl get "a b", then kvctl put "a b" VALUE with the context that it gave`, f.Try)
	})
}

func TestDeadlines(t *testing.T) {
	key := []byte("k")
	check := func(t *testing.T, f *api.Failure, code codes.Code, reason string) {
		require.NotNil(t, f)
		require.Equal(t, api.Failure_UNKNOWN, f.Outcome)
		require.Equal(t, uint32(code), f.Code)
		require.Equal(t, reason, f.Reason)
		require.Regexp(t, "^kvctl resolve k --op [0-9a-f]{32}", f.Try)
		require.Len(t, f.OpId, 16)
	}
	t.Run("default", func(t *testing.T) {
		ways(t, 3, Limits{Timeout: 20 * time.Millisecond}, func(t *testing.T, c *cluster, do way) {
			defer c.hold("k")()
			check(t, do(put(&api.PutRequest{Key: key})).GetFailure(), codes.DeadlineExceeded, reasonTimeout)
			f := do(get(&api.GetRequest{Key: key})).GetFailure()
			require.Equal(t, api.Failure_FAILED, f.GetOutcome(), "a get that failed did nothing")
			require.Equal(t, reasonTimeout, f.Reason)
		})
	})
	t.Run("of a request", func(t *testing.T) {
		c := newCluster(t, 3, Limits{Timeout: time.Hour})
		defer c.hold("k")()
		s, q := c.session(t), put(&api.PutRequest{Key: key})
		q.TimeoutMs = 20
		require.NoError(t, s.Send(q))
		check(t, s.next(t).GetFailure(), codes.DeadlineExceeded, reasonTimeout)
	})
	t.Run("passed before it began", func(t *testing.T) {
		c := newCluster(t, 3, Limits{})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		ss := &session{server: c.server, budget: newBudget("", 1, 1), stream: stream{ctx: ctx}}
		require.NoError(t, ss.budget.take(0))
		require.NoError(t, c.server.budget.take(0))
		c.server.carryOut(task{session: ss, within: newDeadline(ctx, time.Now().Add(time.Hour)), request: put(&api.PutRequest{Key: key})})
		f := ss.queue[0].response.GetFailure()
		require.Equal(t, api.Failure_FAILED, f.GetOutcome())
		require.Equal(t, uint32(codes.Canceled), f.Code)
		require.Zero(t, c.stored(t))
		ss.end(ctx.Err())
	})
}

func TestDeadline(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	now := time.Now()
	var none *deadline
	first := none.next(ctx, 64*time.Second, now)
	require.Equal(t, now.Add(65*time.Second), first.at)
	require.Same(t, first, first.next(ctx, 64*time.Second, now.Add(time.Second)))
	first.users.Add(1) // an operation

	second := first.next(ctx, 64*time.Second, now.Add(1001*time.Millisecond))
	require.NotSame(t, first, second, "it would end too early")
	require.NoError(t, first.ctx.Err())
	first.drop()
	require.Error(t, first.ctx.Err(), "its last operation is done")

	third := second.next(ctx, 62*time.Second, now.Add(time.Second))
	require.NotSame(t, second, third, "it would end too late")
	require.Error(t, second.ctx.Err())
	limited, stop := context.WithDeadline(ctx, now.Add(time.Second))
	defer stop()
	fourth := third.next(limited, 0, now)
	at, _ := fourth.ctx.Deadline()
	require.Equal(t, now.Add(time.Second), at, "that of the stream")
	fourth.drop()
	require.Error(t, fourth.ctx.Err())
}

// stream is one that has ended.
type stream struct {
	api.KV_SessionServer
	ctx context.Context
}

func (s stream) Context() context.Context { return s.ctx }

func TestKeyWord(t *testing.T) {
	for key, want := range map[string]string{"user:1": "user:1", "a b": `"a b"`, "\x00": `"\x00"`, "$x": `"$x"`, "": ""} {
		require.Equal(t, want, keyWord([]byte(key)))
	}
	require.Equal(t, `"`, keyWord(bytes.Repeat([]byte{'"'}, 1))[:1])
}
