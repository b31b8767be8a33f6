package transport

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/certs"
	"github.com/cambiumdb/cambium/distrib/transport/peer"
)

// ServerOptions of a Server. Self and Handler are required.
type ServerOptions struct {
	Self     func() Identity
	Handler  Handler
	Epoch    func() uint64 // of the topology that this node has; told with every message
	SawEpoch func(uint64)  // called with the epochs of others when they change
	// Admit lets a request of a node in, whose topology has epoch; release is called when it was carried out. Its error,
	// an ErrRefused, is the answer. Default: all are let in.
	Admit  func(from, epoch uint64) (release func(), err error)
	Faults *Faults
	Limits Limits
}

// Server answers the requests of other nodes.
type Server struct {
	peer.UnimplementedPeerServer
	opts       ServerOptions
	pool       *pool
	operations sync.WaitGroup // that were started

	mu      sync.Mutex // guards what follows
	links   map[*serverLink]struct{}
	closed  bool
	running sync.WaitGroup // links
}

// NewServer returns a server. Close it after the gRPC server has been told to stop, or before.
func NewServer(opts ServerOptions) *Server {
	if opts.Epoch == nil {
		opts.Epoch = func() uint64 { return 0 }
	}
	opts.Limits = opts.Limits.withDefaults()
	s := &Server{opts: opts, links: map[*serverLink]struct{}{}}
	s.pool = newPool(opts.Limits, s.carryOut)
	return s
}

// Register adds the service to a gRPC server.
func (s *Server) Register(to grpc.ServiceRegistrar) { peer.RegisterPeerServer(to, s) }

// Refused returns how many requests of other nodes were refused since too many waited.
func (s *Server) Refused() uint64 {
	s.pool.mu.Lock()
	defer s.pool.mu.Unlock()
	return s.pool.refused
}

// Close refuses new requests, waits for those under way to be answered, and ends all streams.
func (s *Server) Close() {
	s.pool.close()
	s.operations.Wait() // no worker starts one any more
	s.mu.Lock()
	s.closed = true
	for l := range s.links {
		l.sender.close(io.EOF)
	}
	s.mu.Unlock()
	s.running.Wait()
}

// serverLink is a stream of another node.
type serverLink struct {
	ctx    context.Context
	from   Identity
	stream grpc.ServerStream
	sender *sender
	epochs epochWatch
}

// Exchange implements peer.PeerServer.
func (s *Server) Exchange(stream peer.Peer_ExchangeServer) error {
	md, _ := metadata.FromIncomingContext(stream.Context())
	self := s.opts.Self()
	from, err := self.check(md)
	if err != nil {
		return status.Error(codes.FailedPrecondition, err.Error())
	}
	if role, name := certs.PeerOf(stream.Context()); role != certs.Anonymous && name != from.Name {
		return status.Errorf(codes.PermissionDenied, "who calls says to be node %q and has the certificate of %s %q", from.Name, role, name)
	}
	l := &serverLink{ctx: stream.Context(), from: from, stream: stream, epochs: epochWatch{saw: s.opts.SawEpoch}}
	l.sender = newSender(func(b *outBatch) error { return stream.SendMsg(b) }, s.opts.Epoch)
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return status.Error(codes.Unavailable, "this node is being stopped")
	}
	s.links[l] = struct{}{}
	s.running.Add(2)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.links, l)
		s.mu.Unlock()
		s.running.Done()
	}()
	if err := stream.SendHeader(self.metadata(from.Node)); err != nil {
		s.running.Done()
		return err
	}
	go func() {
		defer s.running.Done()
		l.sender.close(s.receive(l))
	}()
	if err := l.sender.run(); err != io.EOF {
		return err
	}
	return nil
}

// receive takes requests on until the stream ends, and returns why it did.
func (s *Server) receive(l *serverLink) error {
	var pieces assembly
	var tasks []task
	refuse := func(t task, err error) { l.answer(kindFailure, &t.frame, failure{err}, failure{err}.retry()) }
	for {
		var in inBatch
		if err := l.stream.RecvMsg(&in); err != nil {
			return err
		}
		deaf, now := s.opts.Faults.From(l.from.Name), time.Now()
		tasks = tasks[:0]
		err := eachFrame(in.frames, &pieces, func(f frame) error {
			switch {
			case f.kind == kindPing:
				l.answer(kindPong, &f, noAnswer{}, 0)
			case f.kind.request() && !deaf:
				tasks = append(tasks, task{frame: f, link: l, epoch: in.epoch, since: now})
			case !f.kind.request():
				return fmt.Errorf("frame of kind %d, want a request", f.kind)
			}
			return nil
		})
		if err != nil {
			return status.Error(codes.InvalidArgument, err.Error())
		}
		if !deaf {
			l.epochs.see(in.epoch)
		}
		if n := l.sender.queued(); n > s.opts.Limits.QueuedBytes {
			what := fmt.Sprintf("%d bytes of answers to node %s wait, the limit is %d", n, l.from.Name, s.opts.Limits.QueuedBytes)
			for _, t := range tasks {
				refuse(t, &distrib.Overloaded{What: what, RetryAfter: s.opts.Limits.Wait / 10})
			}
			continue
		}
		s.pool.submit(tasks, refuse)
	}
}

// answer sends an answer to f. A stream that has ended takes none: the asker knows.
func (l *serverLink) answer(k kind, f *frame, o outgoing, arg uint64) {
	_, _ = l.sender.queue(k, f.id, arg, o)
}

// carryOut is what a worker does with a request.
func (s *Server) carryOut(t task) {
	ctx := t.link.ctx
	if t.arg != 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, t.deadline())
		defer cancel()
	}
	if slow := s.opts.Faults.Slow(); slow > 0 {
		select {
		case <-time.After(slow):
		case <-ctx.Done():
		}
	}
	release, err := s.admit(ctx, &t)
	switch {
	case err != nil:
		s.tell(&t, nil, err)
	case t.kind == kindOperate:
		s.operate(&t, release)
	default:
		answer, err := s.handle(ctx, &t.frame)
		release()
		s.tell(&t, answer, err)
	}
}

// deadline is that of a request, which has one.
func (t *task) deadline() time.Time {
	return t.since.Add(time.Duration(min(t.arg, maxDeadline)) * time.Microsecond)
}

// admit lets a request in until release, or says why not.
func (s *Server) admit(ctx context.Context, t *task) (release func(), err error) {
	switch err := ctx.Err(); {
	case err != nil:
		return nil, fmt.Errorf("%s passed before it began: %w: %w", time.Since(t.since), err, distrib.ErrRefused)
	case s.opts.Admit == nil:
		return func() {}, nil
	}
	return s.opts.Admit(t.link.from.Node, t.epoch)
}

// tell answers a request.
func (s *Server) tell(t *task, answer outgoing, err error) {
	switch {
	case s.opts.Faults.To(t.link.from.Name):
	case err != nil:
		t.link.answer(kindFailure, &t.frame, failure{err}, failure{err}.retry())
	default:
		t.link.answer(kindAnswer, &t.frame, answer, 0)
	}
}

// operate starts an operation. No worker waits for it.
func (s *Server) operate(t *task, release func()) {
	r, err := decodeRegisterRequest(t.body)
	if err == nil && t.arg == 0 {
		err = errors.New("an operation without a deadline")
	}
	if err != nil {
		release()
		s.tell(t, nil, bad(err))
		return
	}
	s.operations.Add(1)
	s.opts.Handler.StartOperate(t.deadline(), r.key, r.body, func(result []byte, err error) {
		defer s.operations.Done()
		release()
		s.tell(t, registerAnswer(result), err)
	})
}

// handle decodes a request and has it carried out.
func (s *Server) handle(ctx context.Context, f *frame) (outgoing, error) {
	switch f.kind {
	case kindPut:
		r, err := decodePut(f.body)
		if err != nil {
			return nil, bad(err)
		}
		reply, err := s.opts.Handler.Put(ctx, r)
		return &putAnswer{reply, r.Value.Data}, err
	case kindMerge:
		r, err := decodeMerge(f.body)
		if err != nil {
			return nil, bad(err)
		}
		return noAnswer{}, s.opts.Handler.Merge(ctx, r)
	case kindRead:
		r, err := decodeRead(f.body)
		if err != nil {
			return nil, bad(err)
		}
		reply, err := s.opts.Handler.Read(ctx, r)
		return (*readAnswer)(reply), err
	case kindParts:
		r, err := decodeParts(f.body)
		if err != nil {
			return nil, bad(err)
		}
		parts, err := s.opts.Handler.Parts(ctx, r)
		return partsAnswer(parts), err
	case kindKeys:
		r, err := decodeKeys(f.body)
		if err != nil {
			return nil, bad(err)
		}
		keys, err := s.opts.Handler.Keys(ctx, r)
		return keysAnswer(keys), err
	case kindStep:
		r, err := decodeRegisterRequest(f.body)
		if err != nil {
			return nil, bad(err)
		}
		answer, err := s.opts.Handler.Step(ctx, r.key, r.body)
		return registerAnswer(answer), err
	case kindLearn:
		r, err := decodeRegisterRequest(f.body)
		if err != nil {
			return nil, bad(err)
		}
		answer, err := s.opts.Handler.Learn(ctx, r.body)
		return registerAnswer(answer), err
	}
	return nil, bad(errors.New("no such request"))
}

// bad is the answer to a request that cannot be read: nothing happened.
func bad(err error) error { return fmt.Errorf("%w: %w", err, distrib.ErrRefused) }

// epochWatch tells of epochs when they change. One goroutine uses it.
type epochWatch struct {
	saw  func(uint64)
	last uint64
}

func (w *epochWatch) see(epoch uint64) {
	if epoch != w.last && w.saw != nil {
		w.last = epoch
		w.saw(epoch)
	}
}
