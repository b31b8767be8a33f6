package service

import (
	"bytes"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

var linear = level(api.Consistency_LINEARIZABLE)

func TestLinearizable(t *testing.T) {
	ways(t, 5, Limits{}, func(t *testing.T, c *cluster, do way) {
		key := []byte("user:1")
		got := do(get(&api.GetRequest{Key: key, Level: linear})).GetGet()
		require.Empty(t, got.GetSiblings())
		require.True(t, got.Linearizable)
		require.Empty(t, got.Context, "reading what was never written writes nothing")

		first := do(put(&api.PutRequest{Key: key, Value: []byte("red"), Level: linear})).GetPut()
		require.Equal(t, uint32(1), first.GetSiblings())
		require.True(t, first.Linearizable)
		require.Len(t, first.OpId, 16)
		got = do(get(&api.GetRequest{Key: key, Level: linear})).GetGet()
		require.Equal(t, "red", string(got.Siblings[0].Value))
		require.Equal(t, first.OpId, got.Siblings[0].OpId)
		require.Equal(t, first.Context, got.Context)

		second := do(put(&api.PutRequest{Key: key, Value: []byte("blue"), Context: got.Context, Level: linear})).GetPut()
		require.Equal(t, uint32(1), second.GetSiblings(), "it replaces what was read")
		for _, q := range []*api.SessionRequest{
			put(&api.PutRequest{Key: key, Value: []byte("green"), Context: got.Context, Level: linear}),
			del(&api.DeleteRequest{Key: key, Context: got.Context, Level: linear}),
		} {
			f := do(q).GetFailure()
			require.Equal(t, reasonMismatch, f.GetReason())
			require.Equal(t, uint32(codes.Aborted), f.Code)
			require.Equal(t, api.Failure_FAILED, f.Outcome)
			require.Equal(t, "blue", string(f.Current.Siblings[0].Value))
			require.Equal(t, second.Context, f.Current.Context)
			require.Contains(t, f.Message, "user:1: others have written since its context was read")
			require.Equal(t, "kvctl get user:1, then again with the context that it gave", f.Try)
		}
		require.NotNil(t, do(put(&api.PutRequest{Key: key, Value: []byte("white"), Level: linear})).GetPut(), "without a context it replaces whatever is there")
		require.Equal(t, []string{"white"}, values(do(get(&api.GetRequest{Key: key, Level: linear}))))

		require.Zero(t, do(del(&api.DeleteRequest{Key: key, Level: linear})).GetPut().GetSiblings())
		got = do(get(&api.GetRequest{Key: key, Level: linear})).GetGet()
		require.Empty(t, got.GetSiblings())
		require.NotEmpty(t, got.Context)
	})
}

// TestLinearizableRetried: another try with the op id is done once, and its answer has no context of what others have written.
func TestLinearizableRetried(t *testing.T) {
	ways(t, 3, Limits{}, func(t *testing.T, _ *cluster, do way) {
		key, id := []byte("k"), bytes.Repeat([]byte{7}, 16)
		q := &api.PutRequest{Key: key, Value: []byte("red"), OpId: id, Level: linear}
		first := do(put(q)).GetPut()
		q.Retried = true
		require.Equal(t, first.GetContext(), do(put(q)).GetPut().GetContext())
		require.NotNil(t, do(put(&api.PutRequest{Key: key, Value: []byte("blue"), Level: linear})).GetPut())
		require.Empty(t, do(put(q)).GetPut().GetContext())
		require.Equal(t, []string{"blue"}, values(do(get(&api.GetRequest{Key: key, Level: linear}))))
	})
}

// TestMismatchTooLong: what is there goes with the answer, but not in a status.
func TestMismatchTooLong(t *testing.T) {
	ways(t, 3, Limits{}, func(t *testing.T, _ *cluster, do way) {
		key := []byte("k")
		had := do(put(&api.PutRequest{Key: key, Level: linear})).GetPut().GetContext()
		require.NotNil(t, do(put(&api.PutRequest{Key: key, Value: make([]byte, statusBytes), Level: linear})).GetPut())
		f := do(put(&api.PutRequest{Key: key, Context: had, Level: linear})).GetFailure()
		require.Equal(t, reasonMismatch, f.GetReason())
		require.Equal(t, t.Name() == "TestMismatchTooLong/session", f.Current != nil)
	})
}

// swapped carries a compare-and-swap out and returns what came of it, and the values that are there then.
func swapped(t *testing.T, do way, q *api.CompareAndSwapRequest) (mismatch api.CompareAndSwapResponse_Mismatch, after []string) {
	r := do(swap(q))
	require.Nil(t, r.GetFailure())
	a := r.GetCompareAndSwap()
	require.Equal(t, a.Mismatch == api.CompareAndSwapResponse_NONE, a.Swapped)
	require.True(t, a.Current.Linearizable)
	require.Len(t, a.OpId, 16)
	for _, s := range a.Current.Siblings {
		after = append(after, string(s.Value))
	}
	return a.Mismatch, after
}

func TestCompareAndSwap(t *testing.T) {
	const none, mismatch, siblings = api.CompareAndSwapResponse_NONE, api.CompareAndSwapResponse_MISMATCH, api.CompareAndSwapResponse_SIBLINGS
	ways(t, 3, Limits{}, func(t *testing.T, c *cluster, do way) {
		key := []byte("k")
		absent, of := &api.CompareAndSwapRequest_ExpectAbsent{ExpectAbsent: true}, func(v string) *api.CompareAndSwapRequest_ExpectValue {
			return &api.CompareAndSwapRequest_ExpectValue{ExpectValue: []byte(v)}
		}
		context := func() *api.CompareAndSwapRequest_ExpectContext {
			return &api.CompareAndSwapRequest_ExpectContext{ExpectContext: do(get(&api.GetRequest{Key: key, Level: linear})).GetGet().GetContext()}
		}
		check := func(q *api.CompareAndSwapRequest, want api.CompareAndSwapResponse_Mismatch, after ...string) {
			t.Helper()
			q.Key = key
			got, values := swapped(t, do, q)
			require.Equal(t, want, got)
			require.ElementsMatch(t, after, values)
		}
		never := context()
		check(&api.CompareAndSwapRequest{Value: []byte("1"), Expect: of("0")}, mismatch)
		check(&api.CompareAndSwapRequest{Value: []byte("1"), Expect: absent}, none, "1")
		check(&api.CompareAndSwapRequest{Value: []byte("2"), Expect: absent}, mismatch, "1")
		check(&api.CompareAndSwapRequest{Value: []byte("2"), Expect: never}, mismatch, "1")
		check(&api.CompareAndSwapRequest{Value: []byte("2"), Expect: of("1")}, none, "2")
		check(&api.CompareAndSwapRequest{Value: []byte("3"), Expect: of("1")}, mismatch, "2")
		old := context()
		check(&api.CompareAndSwapRequest{Value: nil, Expect: old}, none, "")
		check(&api.CompareAndSwapRequest{Value: []byte("4"), Expect: old}, mismatch, "")
		check(&api.CompareAndSwapRequest{Value: []byte("4"), Expect: of("")}, none, "4")
		check(&api.CompareAndSwapRequest{Delete: true, Expect: of("3")}, mismatch, "4")
		check(&api.CompareAndSwapRequest{Delete: true, Expect: of("4")}, none)
		check(&api.CompareAndSwapRequest{Value: []byte("5"), Expect: absent}, none, "5")

		// Another try is done once, and shows what is there now.
		q := &api.CompareAndSwapRequest{Value: []byte("6"), Expect: of("5"), OpId: bytes.Repeat([]byte{7}, 16)}
		check(q, none, "6")
		check(&api.CompareAndSwapRequest{Value: []byte("7"), Expect: of("6")}, none, "7")
		q.Retried = true
		check(q, none, "7")

		// What was written while the key was eventual: all of it is there, and none of it is the value.
		key = []byte("siblings")
		for _, v := range []string{"red", "blue"} {
			require.NotNil(t, do(put(&api.PutRequest{Key: key, Value: []byte(v), Level: level(api.Consistency_ALL)})).GetPut())
		}
		check(&api.CompareAndSwapRequest{Value: []byte("green"), Expect: of("red")}, siblings, "red", "blue")
		check(&api.CompareAndSwapRequest{Value: []byte("green"), Expect: absent}, mismatch, "red", "blue")
		check(&api.CompareAndSwapRequest{Value: []byte("green"), Expect: context()}, none, "green")
	})
}

// TestStrays: what a node had stored that did not know the key to be linearizable comes to light, once.
func TestStrays(t *testing.T) {
	ways(t, 3, Limits{}, func(t *testing.T, c *cluster, do way) {
		key := []byte("k")
		require.NotNil(t, do(put(&api.PutRequest{Key: key, Value: []byte("red"), Level: linear})).GetPut())
		stray := distrib.Record{{Dot: vclock.Dot{Actor: vclock.Actor{Node: 2, Birth: 1}, Counter: 1}, Value: distrib.Value{Data: []byte("blue")}}}
		for _, n := range c.nodes {
			_, err := n.own.Merge(key, stray, distrib.SyncNow)
			require.NoError(t, err)
		}
		r := do(get(&api.GetRequest{Key: key, Level: linear}))
		require.ElementsMatch(t, []string{"red", "blue"}, values(r))
		require.Equal(t, uint32(1), r.GetGet().Strays)
		require.True(t, do(get(&api.GetRequest{Key: key})).GetGet().GetLinearizable(), "an eventual read says that it may be older")
		r = do(get(&api.GetRequest{Key: key, Level: linear}))
		require.ElementsMatch(t, []string{"red", "blue"}, values(r))
		require.Zero(t, r.GetGet().Strays)
	})
}

// TestLinearizableTTL: whether a value has expired is said by the register, whose clocks are the coordinators', and not by the clock of
// the node that was asked.
func TestLinearizableTTL(t *testing.T) {
	ways(t, 3, Limits{}, func(t *testing.T, c *cluster, do way) {
		ttl := uint64(time.Since(c.now()).Milliseconds())
		require.NotNil(t, do(put(&api.PutRequest{Key: []byte("over"), Value: []byte("v"), TtlMs: ttl - 1, Level: linear})).GetPut())
		require.NotNil(t, do(put(&api.PutRequest{Key: []byte("lives"), Value: []byte("v"), TtlMs: ttl + 3_600_000, Level: linear})).GetPut())
		require.Empty(t, values(do(get(&api.GetRequest{Key: []byte("over"), Level: linear}))))
		c.pass(time.Duration(ttl+7_200_000) * time.Millisecond)
		require.Equal(t, []string{"v"}, values(do(get(&api.GetRequest{Key: []byte("lives"), Level: linear}))))
		mismatch, after := swapped(t, do, &api.CompareAndSwapRequest{Key: []byte("over"), Value: []byte("w"), TtlMs: 1, Expect: &api.CompareAndSwapRequest_ExpectAbsent{ExpectAbsent: true}})
		require.Equal(t, api.CompareAndSwapResponse_NONE, mismatch)
		require.Equal(t, []string{"w"}, after)
	})
}

// TestLinearizableInMinority: it fails at once, and says who can be reached.
func TestLinearizableInMinority(t *testing.T) {
	ways(t, 3, Limits{}, func(t *testing.T, c *cluster, do way) {
		c.set(c.gone, 2, 3)
		f := do(put(&api.PutRequest{Key: []byte("k"), Level: linear})).GetFailure()
		require.Equal(t, api.Failure_FAILED, f.GetOutcome())
		require.Equal(t, reasonUnavailable, f.Reason)
		require.Regexp(t, `^put "k": needs 2 of replicas n\d n\d n\d; 0 acked in 0s \((n1 reachable(, )?|n[23] down(, )?){3}\): only n1 can be reached, which is no majority; outcome FAILED$`, f.Message)
		require.Equal(t, "kvctl cluster status", f.Try)
		f = do(get(&api.GetRequest{Key: []byte("k"), Level: linear})).GetFailure()
		require.Equal(t, "--consistency one, which may give an older value", f.GetTry())
		f = do(swap(&api.CompareAndSwapRequest{Key: []byte("k"), Expect: &api.CompareAndSwapRequest_ExpectAbsent{ExpectAbsent: true}})).GetFailure()
		require.Regexp(t, `^compare and swap "k": needs 2 .* only n1 can be reached`, f.GetMessage())
	})
}

// TestLinearizableUnknown: what was proposed and not answered may happen; the register tells.
func TestLinearizableUnknown(t *testing.T) {
	ways(t, 3, Limits{Timeout: 50 * time.Millisecond}, func(t *testing.T, c *cluster, do way) {
		key := []byte("k")
		require.NotNil(t, do(put(&api.PutRequest{Key: key, Value: []byte("red"), Level: linear})).GetPut())
		release := c.hold("k")
		defer release()
		f := do(put(&api.PutRequest{Key: key, Value: []byte("blue"), Level: linear})).GetFailure()
		require.Equal(t, api.Failure_UNKNOWN, f.GetOutcome())
		require.Equal(t, reasonTimeout, f.Reason)
		require.Regexp(t, `^kvctl resolve k --op [0-9a-f]{32} --consistency linearizable$`, f.Try)
		release()
		c.server.opts.Limits.Timeout = time.Minute
		fate := do(resolve(&api.ResolveRequest{Key: key, OpId: f.OpId, Linearizable: true})).GetResolve().GetFate()
		want := map[api.ResolveResponse_Fate][]string{api.ResolveResponse_HAPPENED: {"blue"}, api.ResolveResponse_NOT_HAPPENED: {"red"}}
		require.Equal(t, want[fate], values(do(get(&api.GetRequest{Key: key, Level: linear}))), "%s", fate)
	})
}

// TestNotHappened: once somebody was told that a write did not happen, it does not.
func TestNotHappened(t *testing.T) {
	ways(t, 3, Limits{}, func(t *testing.T, c *cluster, do way) {
		key, id := []byte("k"), bytes.Repeat([]byte{7}, 16)
		require.Equal(t, api.ResolveResponse_NOT_HAPPENED, do(resolve(&api.ResolveRequest{Key: key, OpId: id, Linearizable: true})).GetResolve().GetFate())
		f := do(put(&api.PutRequest{Key: key, OpId: id, Retried: true, Level: linear})).GetFailure()
		require.Equal(t, reasonNotHappened, f.GetReason())
		require.Equal(t, api.Failure_FAILED, f.Outcome)
		require.Equal(t, "kvctl get k", f.Try)
		require.Empty(t, values(do(get(&api.GetRequest{Key: key, Level: linear}))))

		require.NotNil(t, do(put(&api.PutRequest{Key: key, Level: linear})).GetPut())
		require.NotNil(t, do(get(&api.GetRequest{Key: key, Level: linear})).GetGet(), "and so the nodes know that the key is linearizable")
		id[0]++
		require.Equal(t, api.ResolveResponse_NOT_HAPPENED, do(resolve(&api.ResolveRequest{Key: key, OpId: id})).GetResolve().GetFate())
	})
}

// TestOvertaken: a try that comes when its operation would be forgotten tells nothing.
func TestOvertaken(t *testing.T) {
	ways(t, 3, Limits{}, func(t *testing.T, c *cluster, do way) {
		key, id := []byte("k"), bytes.Repeat([]byte{7}, 16)
		for range register.MaxChanges + 1 {
			require.NotNil(t, do(put(&api.PutRequest{Key: key, Level: linear})).GetPut())
		}
		f := do(put(&api.PutRequest{Key: key, Value: []byte("late"), OpId: id, Retried: true, Level: linear})).GetFailure()
		require.Equal(t, reasonOvertaken, f.GetReason())
		require.Equal(t, api.Failure_UNKNOWN, f.Outcome)
		require.Equal(t, "kvctl get k", f.Try)
		require.Equal(t, api.ResolveResponse_OVERTAKEN, do(resolve(&api.ResolveRequest{Key: key, OpId: id, Linearizable: true})).GetResolve().GetFate())
		require.Equal(t, []string{""}, values(do(get(&api.GetRequest{Key: key, Level: linear}))))
	})
}

// TestLinearizableBatch: keys of a batch may be linearizable, each for itself.
func TestLinearizableBatch(t *testing.T) {
	c := newCluster(t, 3, Limits{})
	var puts []*api.PutRequest
	for range 100 {
		puts = append(puts, &api.PutRequest{Key: []byte("k"), Value: []byte("v"), Level: linear})
	}
	answer, err := c.client.BatchPut(t.Context(), &api.BatchPutRequest{Puts: puts})
	require.NoError(t, err)
	for _, r := range answer.Results {
		require.Equal(t, uint32(1), r.GetPut().GetSiblings())
	}
	got, err := c.client.BatchGet(t.Context(), &api.BatchGetRequest{Gets: []*api.GetRequest{{Key: []byte("k"), Level: linear}, {Key: []byte("k"), Level: level(api.Consistency_ALL)}}})
	require.NoError(t, err)
	require.Equal(t, []string{"v"}, values(got.Results[0]))
	require.Equal(t, []string{"v"}, values(got.Results[1]))
	_, err = c.client.BatchPut(t.Context(), &api.BatchPutRequest{Puts: []*api.PutRequest{{Key: []byte("k"), Level: linear, Context: got.Results[1].GetGet().GetContext()}}})
	require.NoError(t, err)
}

func TestNotServed(t *testing.T) {
	ways(t, 3, Limits{}, func(t *testing.T, c *cluster, do way) {
		c.server.opts.Linearizable = false
		key := []byte("k")
		for _, q := range []*api.SessionRequest{
			get(&api.GetRequest{Key: key, Level: linear}), put(&api.PutRequest{Key: key, Level: linear}), del(&api.DeleteRequest{Key: key, Level: linear}),
			swap(&api.CompareAndSwapRequest{Key: key, Expect: &api.CompareAndSwapRequest_ExpectAbsent{ExpectAbsent: true}}),
			resolve(&api.ResolveRequest{Key: key, OpId: bytes.Repeat([]byte{7}, 16), Linearizable: true}),
		} {
			f := do(q).GetFailure()
			require.Contains(t, f.GetMessage(), "this node serves no linearizable operations")
			require.Equal(t, uint32(codes.Unimplemented), f.Code)
			require.Equal(t, reasonUnimplemented, f.Reason)
			require.Equal(t, api.Failure_FAILED, f.Outcome)
		}
		require.Zero(t, c.stored(t))
	})
}

// TestBadPast: a context that counts to the end was made up.
func TestBadPast(t *testing.T) {
	ways(t, 3, Limits{}, func(t *testing.T, c *cluster, do way) {
		key := []byte("k")
		require.NotNil(t, do(put(&api.PutRequest{Key: key, Level: linear})).GetPut())
		dot := do(get(&api.GetRequest{Key: key, Level: linear})).GetGet().GetSiblings()[0].GetDot()
		end := vclock.Of(func(yield func(vclock.Actor, vclock.Span) bool) {
			yield(vclock.Actor{Node: dot.Node, Birth: dot.Birth}, vclock.Span{Last: math.MaxUint64})
		})
		context := distrib.EncodeContext(key, vclock.SeenOf(end))
		for op, q := range map[string]*api.SessionRequest{
			"put":              put(&api.PutRequest{Key: key, Level: linear, Context: context}),
			"compare and swap": swap(&api.CompareAndSwapRequest{Key: key, Expect: &api.CompareAndSwapRequest_ExpectContext{ExpectContext: context}}),
		} {
			f := do(q).GetFailure()
			require.Equal(t, reasonInvalid, f.GetReason())
			require.Equal(t, op+": context: no version can follow what it says it has seen", f.Message)
		}
	})
}

// TestEventualWrite: an eventual write of a linearizable key is carried out by its register, and refused where that cannot be.
func TestEventualWrite(t *testing.T) {
	ways(t, 3, Limits{}, func(t *testing.T, c *cluster, do way) {
		key, one := []byte("k"), level(api.Consistency_ONE)
		had := do(put(&api.PutRequest{Key: key, Value: []byte("red"), Level: linear})).GetPut().GetContext()
		require.NotNil(t, do(get(&api.GetRequest{Key: key, Level: linear})).GetGet(), "and so the nodes know that the key is linearizable")
		for _, v := range []string{"blue", "green"} {
			r := do(put(&api.PutRequest{Key: key, Value: []byte(v), Context: had, Level: one})).GetPut()
			require.True(t, r.GetLinearizable())
			require.Empty(t, r.Acknowledged)
		}
		require.ElementsMatch(t, []string{"blue", "green"}, values(do(get(&api.GetRequest{Key: key, Level: linear}))), "the second had not seen the first")
		require.NotNil(t, do(put(&api.PutRequest{Key: key, Value: []byte("white"), Level: one})).GetPut())
		require.Equal(t, []string{"white"}, values(do(get(&api.GetRequest{Key: key, Level: linear}))), "who has seen nothing replaces everything")

		c.set(c.gone, 2, 3)
		f := do(put(&api.PutRequest{Key: key, Level: one})).GetFailure()
		require.Equal(t, reasonLinearizable, f.GetReason())
		require.Equal(t, uint32(codes.Unavailable), f.Code)
		require.Equal(t, api.Failure_FAILED, f.Outcome)
		require.Contains(t, f.Message, "only n1 can be reached, which is no majority")
		require.Equal(t, "kvctl cluster status", f.Try)
	})
}
