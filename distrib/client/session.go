package client

import (
	"bytes"
	"cmp"
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
	retried bool          // it says that an earlier one may have been carried out
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
	under   int           // how many of them the writer has taken
	bytes   int           // of their bodies
	full    bool          // there was no room for some of the queue
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

// inFlightBytes is what the requests at a node hold, but for one alone: half of what it takes.
const inFlightBytes = api.SessionBytes / 2

var errFull = errors.New("requests are under way at it, the limit")

// submit gives t to the writer. With an error nothing happens any more. A session that is not open yet, or has no
// room, takes nothing unless wait is set.
func (s *session) submit(t *try, wait bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.broken != nil:
		return s.broken
	case !s.open && !wait:
		return errConnecting
	case !wait && len(s.pending) >= s.node.client.opts.InFlight:
		return fmt.Errorf("%d %w", len(s.pending), errFull)
	}
	if len(s.pending) == 0 {
		s.owing = t.begun
	}
	s.last++
	t.session, t.id, t.taken, t.answered = s, s.last, false, false
	s.pending[t.id] = t
	s.queue = append(s.queue, queued{t, t.id})
	s.wake.Signal()
	return nil
}

// withdraw takes t back: no answer comes any more. Where only waiting is set it does so only if the writer has not
// taken it. It reports whether the node may have got it.
func (t *try) withdraw(onlyWaiting bool) (taken bool) {
	s := t.session
	s.mu.Lock()
	defer s.mu.Unlock()
	if (!t.taken || !onlyWaiting) && s.pending[t.id] == t {
		s.done(t)
	}
	return t.taken
}

// waitsForRoom reports whether t was not sent yet since the node had as much as it may have.
func (t *try) waitsForRoom() bool {
	s := t.session
	s.mu.Lock()
	defer s.mu.Unlock()
	return !t.taken && s.open && s.full
}

// fits reports whether the node may be given t beside what it has. The caller holds the mutex.
func (s *session) fits(t *try) bool {
	return s.under == 0 || s.under < s.node.client.opts.InFlight && s.bytes+len(t.body) <= inFlightBytes
}

// done takes note that the node has t no more. The caller holds the mutex.
func (s *session) done(t *try) {
	delete(s.pending, t.id)
	if t.taken {
		s.under--
		s.bytes -= len(t.body)
	}
	s.wake.Signal()
}

// take waits for requests and returns a message of as many as fit into one. false: the session has ended.
func (s *session) take(frames []*frame) (outgoing, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.broken == nil {
		if frames = s.next(frames); len(frames) > 0 {
			return message(frames), true // under the mutex: who withdraws a request uses its bytes again
		}
		s.wake.Wait()
	}
	return nil, false
}

// next takes from the queue what goes in the next message. Where the node has as many bytes as it may have, shorter
// requests pass longer ones. The caller holds the mutex.
func (s *session) next(frames []*frame) []*frame {
	size, rest := 0, s.queue[:0]
	s.full = false
	for i, q := range s.queue {
		t := q.try
		if s.pending[q.id] != t {
			continue // withdrawn
		}
		s.full = s.full || !s.fits(t)
		if s.under >= s.node.client.opts.InFlight || len(frames) > 0 && (size+len(t.body) > batchBytes || len(t.body) > aloneBytes) {
			rest = append(rest, s.queue[i:]...)
			break
		}
		if !s.fits(t) {
			rest = append(rest, q)
			continue
		}
		t.taken = true
		s.under++
		s.bytes += len(t.body)
		frames = append(frames, &t.frame)
		if size += len(t.body); size > aloneBytes && len(frames) == 1 {
			rest = append(rest, s.queue[i+1:]...)
			break
		}
	}
	clear(s.queue[len(rest):])
	s.queue = rest
	return frames
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
	parts := assembly{}
	for {
		var m incoming
		if err := stream.RecvMsg(&m); err != nil {
			return err
		}
		s.heard()
		var bad error
		err := eachAnswer(m.data, func(id uint64, field protowire.Number, body []byte) {
			switch {
			case field == responsePart:
				bad = errors.Join(bad, s.part(parts, id, body))
			case m.owned != nil:
				s.deliver(id, field, bytes.Clone(body))
			default:
				s.deliver(id, field, body)
			}
		})
		m.free()
		if err = cmp.Or(err, bad); err != nil {
			return err
		}
	}
}

// part takes a part of an answer, and delivers that with its last one.
func (s *session) part(parts assembly, id uint64, part []byte) error {
	s.mu.Lock()
	t := s.pending[id]
	wanted := t != nil && t.taken
	s.mu.Unlock()
	if !wanted {
		delete(parts, id)
		return nil
	}
	whole, err := parts.add(id, part)
	if err != nil || whole == nil {
		return err
	}
	_, field, body, err := parseAnswer(whole)
	if err != nil || field == responseBatch || field == responsePart {
		return errGarbage
	}
	s.deliver(id, field, body)
	return nil
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
	s.done(t)
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
	s.broken = Plain(err)
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
