package service

import (
	"context"
	"errors"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cambiumdb/cambium/distrib/api"
)

const (
	// gatherBytes is how much the answers of one message hold; a longer one goes alone.
	gatherBytes = 64 << 10
	// partBytes is how much of a long answer one message holds: so much is sent before a short one that comes.
	partBytes = 128 << 10
	// unsentMax is how many answers may wait for a client that does not take them, until no more of its requests
	// are read. Operations are bounded already: this is for refusals.
	unsentMax = 4096
)

// session is a stream of a client. One goroutine reads its requests, workers carry them out, and one writer sends
// the answers that have gathered while it sent those before.
type session struct {
	server *Server
	stream grpc.BidiStreamingServer[api.SessionRequest, api.SessionResponse]
	budget *budget

	deadline *deadline // of the last operation; the reader's

	mu     sync.Mutex // guards what follows
	wake   sync.Cond  // the writer
	room   sync.Cond  // the reader
	queue  []reply
	long   []reply // those that go in parts
	later  []task  // reads that were put off
	held   int     // bytes of answers, and those that are reserved for them
	unsent int     // replies of queue and long, and those that the writer has taken from them
	under  int     // operations that have no answer yet
	last   bool    // no request comes any more: the stream ends with the last answer
	ended  error   // why nothing is sent any more
}

// task is an operation of a session.
type task struct {
	session *session
	within  *deadline
	request *api.SessionRequest
	since   time.Time
	bytes   int // of the request
	answer  int // what it was put off for, and is held for its answer
}

// reply is an answer, and what the budgets have for it until it was sent.
type reply struct {
	response   *api.SessionResponse
	operations int  // 1, or 0 for a refusal
	request    int  // bytes
	answer     int  // bytes
	parts      bool // it may go in parts
}

// Session implements api.KVServer.
func (s *Server) Session(stream grpc.BidiStreamingServer[api.SessionRequest, api.SessionResponse]) error {
	return s.newSession(stream).run()
}

func (s *Server) newSession(stream grpc.BidiStreamingServer[api.SessionRequest, api.SessionResponse]) *session {
	ss := &session{server: s, stream: stream, budget: newBudget("this session", s.opts.Limits.SessionOperations, s.opts.Limits.SessionBytes)}
	ss.wake.L, ss.room.L = &ss.mu, &ss.mu
	return ss
}

// run reads and writes until the session ends, and returns the stream's status.
func (ss *session) run() error {
	s := ss.server
	written := make(chan error, 1)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return statusOf(s.refusal(errStopping))
	}
	s.running.Go(ss.read)
	s.running.Go(func() { written <- ss.write() })
	s.mu.Unlock()
	select {
	case err := <-written:
		return err
	case <-s.ending: // the writer may be waiting for a client that takes nothing: it ends with the stream
		err := statusOf(s.refusal(errStopping))
		ss.end(err)
		return err
	}
}

// read begins operations until no more come.
func (ss *session) read() {
	defer func() { ss.deadline.drop() }()
	for {
		q, err := ss.stream.Recv()
		if err == io.EOF {
			ss.mu.Lock()
			ss.last = true
			ss.wake.Signal()
			ss.mu.Unlock()
			return
		}
		if err != nil {
			ss.end(err)
			return
		}
		requests, now := []*api.SessionRequest{q}, time.Now()
		if batch := q.GetBatch(); batch != nil {
			requests = batch.GetRequests()
		}
		for _, q := range requests {
			if !ss.awaitRoom() {
				return
			}
			ss.begin(q, now)
		}
	}
}

// awaitRoom waits until the client has taken what it was sent, but for some. It is false once the session has ended.
func (ss *session) awaitRoom() bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for ss.unsent >= unsentMax && ss.ended == nil {
		ss.room.Wait()
	}
	return ss.ended == nil
}

// begin has an operation carried out, or refuses it.
func (ss *session) begin(q *api.SessionRequest, now time.Time) {
	s := ss.server
	refuse := func(f *api.Failure) {
		r := &api.SessionResponse{Id: q.GetId()}
		setFailure(r, f)
		ss.answer(reply{response: r})
	}
	switch q.GetOp().(type) {
	case nil:
		refuse(s.failure(ss.stream.Context(), attempt{op: "session"}, invalid("op is not set, or of a later version")))
		return
	case *api.SessionRequest_Batch:
		refuse(s.failure(ss.stream.Context(), attempt{op: "session"}, invalid("batch within a batch: the limit is 1 level")))
		return
	}
	size := messageBytes(q)
	if err := ss.take(size); err != nil {
		f := s.refusal(err)
		s.count(q, f, now)
		refuse(f)
		return
	}
	ss.mu.Lock()
	ss.under++
	ss.mu.Unlock()
	ss.deadline = ss.deadline.next(ss.stream.Context(), s.timeout(ss.stream.Context(), q.GetTimeoutMs()), now)
	ss.deadline.users.Add(1)
	s.workers.start(task{session: ss, within: ss.deadline, request: q, since: now, bytes: size})
}

// carryOut is what a worker does with an operation.
func (s *Server) carryOut(t task) {
	ctx, r := t.within.ctx, &api.SessionResponse{Id: t.request.GetId()}
	if ctx.Err() != nil {
		setFailure(r, s.failure(ctx, attempt{op: "session"}, errors.New("the deadline passed before it began")))
	} else {
		s.perform(ctx, t.request, r)
	}
	size := messageBytes(r)
	if !t.session.hold(t, size) {
		return // it is put off
	}
	t.within.drop()
	s.count(t.request, r.GetFailure(), t.since)
	t.session.answer(reply{r, 1, t.bytes, size, t.request.GetParts()})
}

// perform carries out what q asks for and sets the result of r.
func (s *Server) perform(ctx context.Context, q *api.SessionRequest, r *api.SessionResponse) {
	switch op := q.GetOp().(type) {
	case *api.SessionRequest_Get:
		get, f := s.get(ctx, op.Get)
		setGet(r, get, f)
	case *api.SessionRequest_Put:
		put, f := s.put(ctx, op.Put)
		setPut(r, put, f)
	case *api.SessionRequest_Delete:
		put, f := s.del(ctx, op.Delete)
		setPut(r, put, f)
	case *api.SessionRequest_Resolve:
		resolve, f := s.resolve(ctx, op.Resolve)
		setResolve(r, resolve, f)
	case *api.SessionRequest_CompareAndSwap:
		swap, f := s.compareAndSwap(ctx, op.CompareAndSwap)
		setSwap(r, swap, f)
	}
}

// answer gives a reply to the writer.
func (ss *session) answer(r reply) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.under -= r.operations
	if ss.ended != nil {
		ss.give(r)
		return
	}
	if r.parts && r.answer > partBytes {
		ss.long = append(ss.long, r)
	} else {
		ss.queue = append(ss.queue, r)
	}
	ss.unsent++
	ss.wake.Signal()
}

// take begins an operation that holds so many bytes.
func (ss *session) take(bytes int) error {
	if err := ss.budget.take(bytes); err != nil {
		return err
	}
	err := ss.server.budget.take(bytes)
	if err != nil {
		ss.budget.give(1, bytes)
	}
	return err
}

// give ends operations whose answers were sent, or will not be. The caller holds mu.
func (ss *session) give(list ...reply) {
	operations, requests, answers := 0, 0, 0
	for _, r := range list {
		operations += r.operations
		requests += r.request
		answers += r.answer
	}
	ss.held -= answers
	ss.budget.give(operations, requests)
	ss.server.budget.give(operations, requests+answers)
}

// write sends answers until the session ends, and returns the stream's status. Of a long answer it sends a part, then
// what has gathered of others.
func (ss *session) write() error {
	var taken []reply
	var long parts
	for {
		ss.mu.Lock()
		for len(ss.queue) == 0 && len(ss.long) == 0 && !long.left() && ss.ended == nil && !(ss.last && ss.under == 0) {
			ss.wake.Wait()
		}
		if err := ss.ended; err != nil || len(ss.queue) == 0 && len(ss.long) == 0 && !long.left() {
			ss.give(long.reply)
			ss.mu.Unlock()
			return err
		}
		ss.mu.Unlock()
		runtime.Gosched() // what other workers are about to answer goes with it
		ss.mu.Lock()
		taken, ss.queue = ss.queue, taken[:0]
		if !long.left() && len(ss.long) > 0 {
			long.reply = ss.long[0]
			ss.long = slices.Delete(ss.long, 0, 1)
		}
		ss.mu.Unlock()
		for rest := taken; len(rest) > 0; {
			n := together(rest)
			ss.sent(ss.send(rest[:n]), rest[:n]...)
			rest = rest[n:]
		}
		clear(taken)
		if long.operations > 0 {
			if err := long.send(ss.stream); err != nil || !long.left() {
				ss.sent(err, long.reply)
				long = parts{}
			}
		}
	}
}

// together is how many of the first replies go in one message.
func together(list []reply) (n int) {
	for bytes := 0; n < len(list) && (n == 0 || bytes+list[n].answer <= gatherBytes); n++ {
		bytes += list[n].answer
	}
	return n
}

func (ss *session) send(list []reply) error {
	if len(list) == 1 {
		return ss.stream.Send(list[0].response)
	}
	responses := make([]*api.SessionResponse, len(list))
	for i, r := range list {
		responses[i] = r.response
	}
	return ss.stream.Send(&api.SessionResponse{Result: &api.SessionResponse_Batch{Batch: &api.SessionResponses{Responses: responses}}})
}

// sent ends what was sent, or with an error the session, and lets those go on that wait for room: the reader, and what
// was put off.
func (ss *session) sent(err error, list ...reply) {
	if err != nil {
		ss.end(err)
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.unsent -= len(list)
	ss.give(list...)
	ss.room.Signal()
	ss.resume()
}

// end ends the session with err, unless it has ended already.
func (ss *session) end(err error) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.ended != nil {
		return
	}
	if _, ok := status.FromError(err); !ok {
		err = status.Error(codes.Unknown, err.Error())
	}
	ss.ended = err
	ss.give(ss.queue...)
	ss.give(ss.long...)
	for _, t := range ss.later {
		ss.drop(t)
	}
	ss.queue, ss.long, ss.later = nil, nil, nil
	ss.wake.Signal()
	ss.room.Signal()
}
