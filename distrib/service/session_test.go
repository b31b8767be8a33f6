package service

import (
	"context"
	"io"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cambiumdb/cambium/distrib/api"
)

// putOf is a request of a session to put key.
func putOf(id uint64, key string) *api.SessionRequest {
	q := put(&api.PutRequest{Key: []byte(key), Value: []byte("v")})
	q.Id = id
	return q
}

func several(list ...*api.SessionRequest) *api.SessionRequest {
	return &api.SessionRequest{Op: &api.SessionRequest_Batch{Batch: &api.SessionBatch{Requests: list}}}
}

// underWay waits until so many operations are.
func (c *cluster) underWay(t *testing.T, n int) {
	require.Eventually(t, func() bool {
		c.server.budget.mu.Lock()
		defer c.server.budget.mu.Unlock()
		return c.server.budget.operations == n
	}, 10*time.Second, time.Millisecond)
}

// none waits until nothing is under way and nothing is held.
func (c *cluster) none(t *testing.T) {
	c.underWay(t, 0)
	c.server.budget.mu.Lock()
	defer c.server.budget.mu.Unlock()
	require.Zero(t, c.server.budget.bytes)
}

func TestOutOfOrder(t *testing.T) {
	c := newCluster(t, 3, Limits{})
	s := c.session(t)
	release := c.hold("slow")
	require.NoError(t, s.Send(several(putOf(1, "slow"), putOf(2, "a"), putOf(3, "b"))))
	var ids []uint64
	for len(ids) < 2 {
		r := s.next(t)
		require.NotNil(t, r.GetPut())
		ids = append(ids, r.Id)
	}
	require.ElementsMatch(t, []uint64{2, 3}, ids)
	release()
	require.Equal(t, uint64(1), s.next(t).Id)
	c.none(t)
}

func TestSessionOfMany(t *testing.T) {
	c := newCluster(t, 3, Limits{SessionOperations: 5000})
	s := c.session(t)
	release := c.hold("k")
	list := make([]*api.SessionRequest, 1000)
	for i := range list {
		list[i] = putOf(uint64(i), "k")
		list[i].GetPut().OpId = []byte("0123456789abcdef")
	}
	require.NoError(t, s.Send(several(list...)))
	c.underWay(t, len(list))
	release()
	seen := map[uint64]bool{}
	for len(seen) < len(list) {
		r := s.next(t)
		require.NotNil(t, r.GetPut(), "%v", r)
		seen[r.Id] = true
	}
	require.Less(t, s.messages, len(list), "what has gathered goes together")
	c.none(t)
	require.Eventually(t, func() bool { return c.server.workers.idle.Load() <= idleMax }, 10*time.Second, time.Millisecond)
}

func TestWorkersStay(t *testing.T) {
	done := make(chan struct{})
	w := newWorkers(func(task) { done <- struct{}{} })
	for range 3 { // while the first waits to be done, others are needed
		w.start(task{})
	}
	for range 3 {
		<-done
	}
	require.Eventually(t, func() bool { return w.idle.Load() == 3 }, 10*time.Second, time.Millisecond)
	for range idleMax + 10 {
		w.start(task{})
	}
	for range idleMax + 10 {
		<-done
	}
	require.Eventually(t, func() bool { return w.idle.Load() == idleMax }, 10*time.Second, time.Millisecond)
	w.close()
	require.Zero(t, w.idle.Load())
}

func TestBadSessionRequests(t *testing.T) {
	c := newCluster(t, 3, Limits{})
	s := c.session(t)
	require.NoError(t, s.Send(&api.SessionRequest{Id: 1}))
	require.NoError(t, s.Send(several(&api.SessionRequest{Id: 2, Op: several().Op})))
	for id, want := range []string{1: "session: op is not set, or of a later version", 2: "session: batch within a batch: the limit is 1 level"} {
		if want != "" {
			r := s.next(t)
			require.Equal(t, uint64(id), r.Id)
			require.Equal(t, want, r.GetFailure().GetMessage())
			require.Equal(t, reasonInvalid, r.GetFailure().Reason)
		}
	}
	require.NoError(t, s.Send(several()))
	require.NoError(t, s.Send(putOf(3, "k")))
	require.Equal(t, uint64(3), s.next(t).Id)
}

func TestOverload(t *testing.T) {
	c := newCluster(t, 3, Limits{Operations: 3, SessionOperations: 2, SessionBytes: 4000})
	defer c.hold("k")()
	check := func(f *api.Failure, want string) {
		require.Equal(t, want, f.GetMessage())
		require.Equal(t, uint32(codes.ResourceExhausted), f.Code)
		require.Equal(t, reasonOverloaded, f.Reason)
		require.Equal(t, api.Failure_FAILED, f.Outcome)
		require.Equal(t, uint32(50), f.RetryAfterMs)
		require.Equal(t, "again in 50 ms, or another node", f.Try)
	}
	s, other := c.session(t), c.session(t)
	large := putOf(2, "k")
	large.GetPut().Value = make([]byte, 4000)
	require.NoError(t, s.Send(several(putOf(1, "k"), large)))
	r := s.next(t)
	require.Equal(t, uint64(2), r.Id)
	require.Regexp(t, `^n1: this session has operations of \d+ bytes under way, with this one \d+, the limit is 4000$`, r.GetFailure().GetMessage())
	require.NoError(t, s.Send(several(putOf(3, "k"), putOf(4, "k"))))
	r = s.next(t)
	require.Equal(t, uint64(4), r.Id)
	check(r.GetFailure(), "n1: this session has 2 operations under way, the limit")
	require.NoError(t, other.Send(several(putOf(1, "k"), putOf(2, "free"))))
	r = other.next(t)
	require.Equal(t, uint64(2), r.Id)
	check(r.GetFailure(), "n1: this node has 3 operations under way, the limit")
	_, err := c.client.Put(t.Context(), put(&api.PutRequest{Key: []byte("free")}).GetPut())
	check(failureOf(t, err), "n1: this node has 3 operations under way, the limit")
	require.Zero(t, c.stored(t))
}

// deaf is a stream whose client sends requests without an operation, and takes answers only once it hears.
type deaf struct {
	grpc.ServerStream
	requests, received, answered atomic.Int64
	hears                        chan struct{}
}

func (d *deaf) Context() context.Context { return context.Background() }

func (d *deaf) Recv() (*api.SessionRequest, error) {
	if d.received.Load() == d.requests.Load() {
		return nil, io.EOF
	}
	return &api.SessionRequest{Id: uint64(d.received.Add(1))}, nil
}

func (d *deaf) Send(r *api.SessionResponse) error {
	<-d.hears
	d.answered.Add(int64(max(1, len(r.GetBatch().GetResponses()))))
	return nil
}

func TestDeafClient(t *testing.T) {
	c := newCluster(t, 3, Limits{})
	d := &deaf{hears: make(chan struct{})}
	d.requests.Store(10 * unsentMax)
	ended := make(chan error, 1)
	go func() { ended <- c.server.Session(d) }()
	require.Eventually(t, func() bool { return d.received.Load() > unsentMax }, 10*time.Second, time.Millisecond)
	for range 1000 {
		runtime.Gosched()
	}
	require.Equal(t, int64(unsentMax+1), d.received.Load(), "no more is read than answers may wait, and one")
	close(d.hears)
	require.NoError(t, <-ended)
	require.Equal(t, d.requests.Load(), d.answered.Load())
}

func TestClientGone(t *testing.T) {
	c := newCluster(t, 3, Limits{Timeout: time.Hour})
	ctx, cancel := context.WithCancel(t.Context())
	s, err := c.client.Session(ctx)
	require.NoError(t, err)
	release := c.hold("k")
	require.NoError(t, s.Send(several(putOf(1, "k"), putOf(2, "k"))))
	c.underWay(t, 2)
	gone := make(chan error, 1)
	go func() {
		_, err := c.client.Put(ctx, putOf(0, "k").GetPut())
		gone <- err
	}()
	c.underWay(t, 3)
	cancel()
	require.Equal(t, codes.Canceled, status.Code(<-gone))
	c.none(t)
	release()
}

func TestHalfClose(t *testing.T) {
	c := newCluster(t, 3, Limits{})
	s := c.session(t)
	release := c.hold("k")
	require.NoError(t, s.Send(putOf(1, "k")))
	require.NoError(t, s.CloseSend())
	c.underWay(t, 1)
	release()
	require.NotNil(t, s.next(t).GetPut())
	_, err := s.Recv()
	require.Equal(t, io.EOF, err)
}

func TestClose(t *testing.T) {
	c := newCluster(t, 3, Limits{})
	s, idle := c.session(t), c.session(t)
	require.NoError(t, idle.Send(putOf(1, "other")))
	idle.next(t)
	release := c.hold("k")
	require.NoError(t, s.Send(putOf(1, "k")))
	c.underWay(t, 1)
	closed := make(chan struct{})
	go func() { c.server.Close(); close(closed) }()
	require.Eventually(t, func() bool {
		c.server.budget.mu.Lock()
		defer c.server.budget.mu.Unlock()
		return c.server.budget.closed
	}, 10*time.Second, time.Millisecond)

	_, err := c.client.Get(t.Context(), &api.GetRequest{Key: []byte("other")})
	f := failureOf(t, err)
	require.Equal(t, "n1 is stopping", f.Message)
	require.Equal(t, uint32(codes.Unavailable), f.Code)
	require.Equal(t, reasonUnavailable, f.Reason)
	require.Equal(t, "another node", f.Try)
	require.NoError(t, s.Send(putOf(2, "other")))
	r := s.next(t)
	require.Equal(t, uint64(2), r.Id)
	require.Equal(t, "n1 is stopping", r.GetFailure().GetMessage())
	late := c.session(t)
	_, err = late.Recv()
	require.Equal(t, "n1 is stopping", failureOf(t, err).Message)
	select {
	case <-closed:
		t.Fatal("closed before what is under way was done")
	default:
	}

	release()
	require.NotNil(t, s.next(t).GetPut(), "what was under way is answered")
	for _, s := range []*caller{s, idle} {
		_, err = s.Recv()
		require.Equal(t, "n1 is stopping", failureOf(t, err).Message)
	}
	<-closed
	c.server.Close()
}

// TestCloseDeaf is of a client that does not take the answers that Close waits for.
func TestCloseDeaf(t *testing.T) {
	c := newCluster(t, 3, Limits{Grace: 10 * time.Millisecond})
	value := make([]byte, 1<<20)
	_, err := c.client.Put(t.Context(), &api.PutRequest{Key: []byte("k"), Value: value})
	require.NoError(t, err)
	s := c.session(t)
	release := c.hold("k")
	for range 8 {
		require.NoError(t, s.Send(get(&api.GetRequest{Key: []byte("k")})))
	}
	c.underWay(t, 8)
	release()
	c.server.Close()
	c.none(t)
}
