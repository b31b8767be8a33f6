package service

import (
	"bytes"
	"context"
	"io"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/cambiumdb/cambium/distrib/api"
)

// script is a stream whose client sends and takes messages one by one, as a test tells it.
type script struct {
	grpc.ServerStream
	ctx      context.Context
	cancel   context.CancelFunc
	session  *session
	requests chan *api.SessionRequest
	answers  chan *api.SessionResponse
	parts    map[uint64][]byte
	ended    chan error
}

func newScript(t *testing.T, c *cluster) *script {
	ctx, cancel := context.WithCancel(context.Background())
	s := &script{ctx: ctx, cancel: cancel, requests: make(chan *api.SessionRequest, 100), answers: make(chan *api.SessionResponse), parts: map[uint64][]byte{}, ended: make(chan error, 1)}
	s.session = c.server.newSession(s)
	go func() { s.ended <- s.session.run() }()
	t.Cleanup(cancel)
	return s
}

func (s *script) Context() context.Context { return s.ctx }

func (s *script) Recv() (*api.SessionRequest, error) {
	select {
	case q, ok := <-s.requests:
		if !ok {
			return nil, io.EOF
		}
		return q, nil
	case <-s.ctx.Done():
		return nil, s.ctx.Err()
	}
}

func (s *script) Send(r *api.SessionResponse) error {
	select {
	case s.answers <- r:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

// take takes the next message. whole is an answer, after its last part.
func (s *script) take(t *testing.T) (m, whole *api.SessionResponse) {
	select {
	case m = <-s.answers:
	case <-time.After(time.Minute):
		t.Fatal("no answer")
	}
	part := m.GetPart()
	if part == nil {
		return m, m
	}
	got := append(s.parts[m.GetId()], part.GetData()...)
	if s.parts[m.GetId()] = got; part.GetRest() > 0 {
		return m, nil
	}
	return m, s.got(t, m.GetId())
}

// got is an answer that has come in parts.
func (s *script) got(t *testing.T, id uint64) *api.SessionResponse {
	whole := &api.SessionResponse{}
	require.NoError(t, proto.Unmarshal(s.parts[id], whole))
	require.Equal(t, id, whole.GetId())
	return whole
}

func (c *cluster) putLong(t *testing.T, key string, size int) []byte {
	value := bytes.Repeat([]byte(key), size/len(key))
	_, err := c.client.Put(t.Context(), &api.PutRequest{Key: []byte(key), Value: value})
	require.NoError(t, err)
	return value
}

func getOf(id uint64, key string) *api.SessionRequest {
	q := get(&api.GetRequest{Key: []byte(key)})
	q.Id, q.Parts = id, true
	return q
}

// eventually waits for what the session, which is locked, says.
func (s *script) eventually(t *testing.T, is func(ss *session) bool) {
	require.Eventually(t, func() bool {
		s.session.mu.Lock()
		defer s.session.mu.Unlock()
		return is(s.session)
	}, 10*time.Second, time.Millisecond)
}

func TestShortAnswersPassLongOnes(t *testing.T) {
	c := newCluster(t, 3, Limits{})
	value := c.putLong(t, "long", 8*partBytes)
	s := newScript(t, c)
	s.requests <- getOf(1, "long")
	m, _ := s.take(t)
	require.Len(t, m.GetPart().GetData(), partBytes)
	for id := uint64(2); id < 6; id++ { // each goes before all parts but that which is under way
		s.requests <- getOf(id, "short")
		s.eventually(t, func(ss *session) bool { return ss.unsent == 2 })
		if m, _ = s.take(t); m.GetPart() != nil {
			m, _ = s.take(t)
		}
		require.Equal(t, id, m.GetId())
		s.eventually(t, func(ss *session) bool { return ss.unsent == 1 })
	}
	for m, whole := s.take(t); whole == nil; m, whole = s.take(t) {
		require.Equal(t, uint64(1), m.GetId())
	}
	require.Equal(t, value, s.got(t, 1).GetGet().GetSiblings()[0].GetValue())
	s.requests <- get(&api.GetRequest{Key: []byte("long")}) // of a client that does not know parts
	_, whole := s.take(t)
	require.Equal(t, value, whole.GetGet().GetSiblings()[0].GetValue())
	close(s.requests)
	require.NoError(t, <-s.ended)
	c.none(t)
}

// TestAnswersAreBounded is of a client that asks for more than it takes: what waits for it stays within the limit, and
// it gets everything once it goes on.
func TestAnswersAreBounded(t *testing.T) {
	const limit, reads = 4 * partBytes, 20
	for _, limits := range []Limits{{SessionBytes: limit}, {Bytes: limit}} {
		c := newCluster(t, 3, limits)
		value := c.putLong(t, "long", 3*partBytes/2)
		s := newScript(t, c)
		for id := range uint64(reads) {
			s.requests <- getOf(id, "long")
		}
		settled := func(ss *session) bool { return ss.unsent+len(ss.later) == reads }
		s.eventually(t, settled)
		s.eventually(t, func(ss *session) bool { return ss.held <= limit && len(ss.later) >= reads-3 })
		s.requests <- putOf(reads, "short") // it is let in, and answered
		s.eventually(t, func(ss *session) bool { return ss.unsent+len(ss.later) == reads+1 })
		close(s.requests)
		seen := map[uint64]bool{}
		for len(seen) < reads+1 {
			m, whole := s.take(t)
			s.eventually(t, func(ss *session) bool { return ss.held <= limit })
			if whole == nil {
				continue
			}
			require.False(t, seen[m.GetId()])
			if seen[m.GetId()] = true; m.GetId() == reads {
				require.NotNil(t, whole.GetPut(), "%v", whole)
			} else {
				require.Equal(t, value, whole.GetGet().GetSiblings()[0].GetValue())
			}
		}
		require.NoError(t, <-s.ended)
		c.none(t)
	}
}

// TestPutOffAndGone is of a client that goes while reads of it wait for room.
func TestPutOffAndGone(t *testing.T) {
	c := newCluster(t, 3, Limits{SessionBytes: 2 * partBytes})
	c.putLong(t, "long", 3*partBytes/2)
	s := newScript(t, c)
	for id := range uint64(5) {
		s.requests <- getOf(id, "long")
	}
	s.eventually(t, func(ss *session) bool { return len(ss.later) == 4 })
	s.cancel()
	require.Error(t, <-s.ended)
	s.eventually(t, func(ss *session) bool { return ss.held == 0 && len(ss.later) == 0 })
	c.none(t)
}
