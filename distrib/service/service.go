// Package service answers the clients of a node: api.KV over a coordinator.
//
//	s := service.New(service.Options{Self: "n1", Coordinator: coordinator, Name: name})
//	g := grpc.NewServer(service.ServerOptions()...)
//	s.Register(g)
//	defer s.Close() // before g is stopped: what is under way gets its answer
//
// A request is checked whole before anything is asked of a node: what it says of a wrong one names the field and
// the limit. Each then waits in a goroutine of its own for the coordinator; how many do, and how many bytes they
// hold, is bounded for the server and for each session. What is beyond is refused at once and told when to come again:
// nothing queues. But a read whose answer has no room beside those that its client has not taken yet is put off until
// it has: its client reads on meanwhile, and its short answers pass the long ones, which go in parts.
//
// All methods may be called by many goroutines at once.
package service

import (
	"context"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/coordinator"
	"github.com/cambiumdb/cambium/distrib/hlc"
	"github.com/cambiumdb/cambium/distrib/observe"
)

// Options of a Server. Coordinator is required.
type Options struct {
	Coordinator *coordinator.Coordinator
	Self        string                 // the name of this node
	Name        func(id uint64) string // of any node; nil: its number
	Sync        distrib.Sync           // of all writes but linearizable ones, which are always on the device first
	// Linearizable: linearizable operations are served. The coordinator must have registers that keep what they promise. Else they
	// are refused as UNIMPLEMENTED.
	Linearizable bool
	Now          func() time.Time    // of expiry; nil: time.Now
	Clock        *hlc.Clock          // gives the times of values; nil: one of its own, by Now
	Operations   *observe.Operations // counts and times operations; nil: nobody does
	Limits       Limits
}

// Limits bound what a server takes on. Zero values are the defaults.
type Limits struct {
	// Operations is how many may be under way, and Bytes what their requests and answers hold, until the answers
	// were sent. Defaults 4096 and 512 MiB. A single operation may exceed Bytes.
	Operations, Bytes int
	// SessionOperations is the same for one session, SessionBytes what its requests hold, and what its answers do.
	// Defaults 1024 and 128 MiB.
	SessionOperations, SessionBytes int
	// Timeout is that of operations whose client named none. Default 5 s.
	Timeout time.Duration
	// Grace is how long Close waits for clients to take their answers. Default 5 s.
	Grace time.Duration
}

func (l Limits) withDefaults() Limits {
	for field, value := range map[*int]int{&l.Operations: 4096, &l.Bytes: 512 << 20, &l.SessionOperations: api.SessionOperations, &l.SessionBytes: api.SessionBytes} {
		if *field == 0 {
			*field = value
		}
	}
	for field, value := range map[*time.Duration]time.Duration{&l.Timeout: 5 * time.Second, &l.Grace: 5 * time.Second} {
		if *field == 0 {
			*field = value
		}
	}
	return l
}

// retryAfter is when to come again after a refusal.
const retryAfter = 50 * time.Millisecond

// Server is an api.KVServer.
type Server struct {
	api.UnimplementedKVServer
	opts    Options
	budget  *budget // of all operations
	workers *workers

	mu      sync.Mutex // guards what follows
	closed  bool
	ending  chan struct{}  // closed when the sessions must end
	running sync.WaitGroup // readers and writers of sessions
}

// New returns a server. Close it.
func New(opts Options) *Server {
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Clock == nil {
		opts.Clock = hlc.New(opts.Now)
	}
	if opts.Name == nil {
		opts.Name = number
	}
	opts.Limits = opts.Limits.withDefaults()
	s := &Server{opts: opts, ending: make(chan struct{})}
	s.budget = newBudget("this node", opts.Limits.Operations, opts.Limits.Bytes)
	s.workers = newWorkers(s.carryOut)
	return s
}

// Register adds the service to a gRPC server.
func (s *Server) Register(to grpc.ServiceRegistrar) { api.RegisterKVServer(to, s) }

// ServerOptions are what a gRPC server needs so that the longest requests and answers pass.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.MaxRecvMsgSize(api.MaxRequestBytes), grpc.MaxSendMsgSize(api.MaxAnswerBytes)}
}

// Close refuses new operations, waits for those under way to be answered, and ends all sessions.
func (s *Server) Close() {
	s.mu.Lock()
	closed := s.closed
	s.closed = true
	s.mu.Unlock()
	if closed {
		return
	}
	s.budget.close()
	s.budget.drained(s.opts.Limits.Grace)
	close(s.ending)
	s.running.Wait()
	s.workers.close()
}

// timeout is that of an operation: its own, or else the default. 0 leaves it to the deadline of ctx.
func (s *Server) timeout(ctx context.Context, ms uint32) time.Duration {
	if ms != 0 {
		return time.Duration(ms) * time.Millisecond
	}
	if _, ok := ctx.Deadline(); ok {
		return 0
	}
	return s.opts.Limits.Timeout
}

// unary carries out one operation in the goroutine of its call.
func unary[Q proto.Message, A any](ctx context.Context, s *Server, q Q, do func(context.Context, Q) (A, *api.Failure)) (answer A, err error) {
	since, size := time.Now(), messageBytes(q)
	if err := s.budget.take(size); err != nil {
		f := s.refusal(err)
		s.count(q, f, since)
		return answer, statusOf(f)
	}
	defer s.budget.give(1, size)
	if timeout := s.timeout(ctx, 0); timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, timeout)
		defer cancel()
	}
	answer, f := do(ctx, q)
	s.count(q, worst(any(answer), f), since)
	if f != nil {
		return answer, statusOf(f)
	}
	return answer, nil
}

// Get implements api.KVServer.
func (s *Server) Get(ctx context.Context, q *api.GetRequest) (*api.GetResponse, error) {
	return unary(ctx, s, q, s.get)
}

// Put implements api.KVServer.
func (s *Server) Put(ctx context.Context, q *api.PutRequest) (*api.PutResponse, error) {
	return unary(ctx, s, q, s.put)
}

// Delete implements api.KVServer.
func (s *Server) Delete(ctx context.Context, q *api.DeleteRequest) (*api.PutResponse, error) {
	return unary(ctx, s, q, s.del)
}

// CompareAndSwap implements api.KVServer.
func (s *Server) CompareAndSwap(ctx context.Context, q *api.CompareAndSwapRequest) (*api.CompareAndSwapResponse, error) {
	return unary(ctx, s, q, s.compareAndSwap)
}

// BatchGet implements api.KVServer.
func (s *Server) BatchGet(ctx context.Context, q *api.BatchGetRequest) (*api.BatchGetResponse, error) {
	return unary(ctx, s, q, s.batchGet)
}

// BatchPut implements api.KVServer.
func (s *Server) BatchPut(ctx context.Context, q *api.BatchPutRequest) (*api.BatchPutResponse, error) {
	return unary(ctx, s, q, s.batchPut)
}

// Resolve implements api.KVServer.
func (s *Server) Resolve(ctx context.Context, q *api.ResolveRequest) (*api.ResolveResponse, error) {
	return unary(ctx, s, q, s.resolve)
}
