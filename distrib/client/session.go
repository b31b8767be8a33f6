package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cambiumdb/cambium/distrib/api"
)

// try is a request at one node.
type try struct {
	frame
	node    *node
	session *session
	begun   time.Duration // by Client.now
	answers chan answer   // has room for all that come; nil: nobody waits, it is a probe

	// The session's mutex guards what follows.
	taken    bool // by the writer: it may reach the node
	answered bool
}

// queued is a try under the id that it was given: one that was withdrawn may be another by now.
type queued struct {
	*try
	id uint64
}

// answer is what came of a try: a result, or the loss of the stream.
type answer struct {
	try   *try
	field protowire.Number
	body  []byte
	at    time.Duration // when it came, by Client.now
	err   error
	taken bool // of an err: the node may have got the request
}

// session is a stream to a node. Its goroutines end when it breaks; then all that it held has failed, and it is not
// used again.
type session struct {
	node   *node
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex // guards what follows
	wake    sync.Cond  // of the writer
	open    bool       // there is a connection
	useful  bool       // it has answered something
	queue   []queued   // not taken by the writer yet; those withdrawn are not in pending
	pending map[uint64]*try
	owing   time.Duration // since when pending is not empty, by Client.now
	last    uint64        // id
	broken  error
}

func newSession(n *node) *session {
	s := &session{node: n, pending: map[uint64]*try{}}
	s.wake.L = &s.mu
	s.ctx, s.cancel = context.WithCancel(n.client.ctx)
	return s
}

// submit gives t to the writer. With an error nothing happens any more. A session that is not open yet takes nothing
// unless wait is set.
func (s *session) submit(t *try, wait bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.broken != nil:
		return s.broken
	case !s.open && !wait:
		return errConnecting
	case len(s.pending) >= s.node.client.opts.InFlight:
		return fmt.Errorf("%d requests are under way at it, the limit", len(s.pending))
	}
	if len(s.pending) == 0 {
		s.owing = t.begun
	}
	s.last++
	t.session, t.id, t.taken, t.answered = s, s.last, false, false
	s.pending[t.id] = t
	s.queue = append(s.queue, queued{t, t.id})
	if len(s.queue) == 1 {
		s.wake.Signal()
	}
	return nil
}

// withdraw takes t back: no answer comes any more. Where only waiting is set it does so only if the writer has not
// taken it. It reports whether the node may have got it.
func (t *try) withdraw(onlyWaiting bool) (taken bool) {
	s := t.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if !t.taken || !onlyWaiting {
		delete(s.pending, t.id)
	}
	return t.taken
}

// take waits for requests and returns a message of as many as fit into one. false: the session has ended.
func (s *session) take(frames []*frame) (outgoing, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.broken == nil {
		size, i := 0, 0
		for ; i < len(s.queue); i++ {
			t := s.queue[i].try
			if s.pending[s.queue[i].id] != t {
				continue // withdrawn
			}
			if size += len(t.body); len(frames) > 0 && (size > batchBytes || len(t.body) > aloneBytes) {
				break
			}
			t.taken = true
			frames = append(frames, &t.frame)
			if len(t.body) > aloneBytes {
				i++
				break
			}
		}
		rest := copy(s.queue, s.queue[i:])
		clear(s.queue[rest:])
		s.queue = s.queue[:rest]
		if len(frames) > 0 {
			return message(frames), true // under the mutex: who withdraws a request uses its bytes again
		}
		s.wake.Wait()
	}
	return nil, false
}

var sessionDesc = grpc.StreamDesc{StreamName: "Session", ServerStreams: true, ClientStreams: true}

// run opens the stream and writes what is submitted. Another goroutine reads.
func (s *session) run(conn *grpc.ClientConn) {
	defer s.cancel()
	stream, err := conn.NewStream(s.ctx, &sessionDesc, api.KV_Session_FullMethodName, grpc.ForceCodecV2(codec{}))
	if err != nil {
		s.end(err)
		return
	}
	s.node.client.work.Go(func() { s.end(s.read(stream)) })
	s.mu.Lock()
	if s.open = s.broken == nil; s.open {
		s.node.opened()
	}
	s.mu.Unlock()
	var room [64]*frame
	frames := room[:0]
	for {
		m, ok := s.take(frames[:0])
		if !ok {
			return
		}
		if err := stream.SendMsg(m); err != nil && !errors.Is(err, io.EOF) {
			s.end(err)
			return
		} // of an io.EOF the reader gets the cause
	}
}

func (s *session) read(stream grpc.ClientStream) error {
	for {
		var m incoming
		if err := stream.RecvMsg(&m); err != nil {
			return err
		}
		s.heard()
		err := eachAnswer(m.data, func(id uint64, field protowire.Number, body []byte) {
			if m.owned != nil {
				body = bytes.Clone(body)
			}
			s.deliver(id, field, body)
		})
		m.free()
		if err != nil {
			return err
		}
	}
}

// heard takes note of a message, and of how long there was none while the node owed answers.
func (s *session) heard() {
	s.mu.Lock()
	owing, since := len(s.pending) > 0, s.owing
	s.mu.Unlock()
	before := time.Duration(s.node.heard.Load())
	if s.node.hear(); owing {
		s.node.quiet.record(time.Duration(s.node.heard.Load()) - max(before, since))
	}
}

func (s *session) deliver(id uint64, field protowire.Number, body []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t, ok := s.pending[id]
	if !ok || !t.taken {
		return // withdrawn
	}
	delete(s.pending, id)
	s.useful, t.answered = true, true
	if t.answers == nil {
		t.node.probeAnswered(t, field, body)
		return
	}
	t.answers <- answer{try: t, field: field, body: body, at: time.Duration(t.node.heard.Load())}
}

// end breaks the session and tells all that wait.
func (s *session) end(err error) {
	if errors.Is(err, io.EOF) {
		err = errors.New("the node ended the session")
	}
	if s.node.client.ctx.Err() != nil {
		err = errClosed
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return
	}
	s.broken = plain(err)
	s.node.lost(s, s.broken, s.useful)
	s.cancel()
	s.wake.Signal()
	for _, t := range s.pending {
		if t.answered = true; t.answers != nil {
			t.answers <- answer{try: t, err: s.broken, taken: t.taken}
		}
	}
	clear(s.pending)
	s.queue = nil
}

// answeredOrBroken reports whether the try has its answer, or lost its stream.
func (t *try) answeredOrBroken() bool {
	t.session.mu.Lock()
	defer t.session.mu.Unlock()
	return t.answered
}
