package transport

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// echo answers with what it was asked, or with what do says.
type echo struct {
	do func(context.Context, []byte) error
}

func dot(n uint64) vclock.Dot { return vclock.Dot{Actor: vclock.Actor{Node: n, Birth: 1}, Counter: n} }

func (e *echo) run(ctx context.Context, key []byte) error {
	if e.do == nil {
		return nil
	}
	return e.do(ctx, key)
}

func (e *echo) Put(ctx context.Context, r *distrib.PutRequest) (*distrib.PutReply, error) {
	return &distrib.PutReply{Sibling: distrib.Sibling{Dot: dot(r.For + 1), Past: r.Past, Op: r.Op, Value: r.Value}, Siblings: 3}, e.run(ctx, r.Key)
}

func (e *echo) Merge(ctx context.Context, r *distrib.MergeRequest) error { return e.run(ctx, r.Key) }

func (e *echo) Read(ctx context.Context, r *distrib.ReadRequest) (*distrib.ReadReply, error) {
	if r.Digest {
		return &distrib.ReadReply{Dots: []vclock.Dot{dot(1), dot(2)}}, nil
	}
	return &distrib.ReadReply{Record: distrib.Record{{Dot: dot(1), Value: distrib.Value{Data: r.Key}}}}, e.run(ctx, r.Key)
}

func (e *echo) Parts(_ context.Context, r *distrib.PartsRequest) ([]distrib.Part, error) {
	return []distrib.Part{{First: r.First, Last: r.Last, Keys: r.Parts, Bytes: 1 << 40, Sum: 7}}, nil
}

func (e *echo) Keys(_ context.Context, r *distrib.KeysRequest) ([]distrib.KeyDots, error) {
	k := distrib.KeyDots{Key: []byte("k"), Dots: []vclock.Dot{dot(r.First)}}
	if r.Records {
		k.Record = distrib.Record{{Dot: dot(1), Value: distrib.Value{Data: make([]byte, r.Bytes)}}}
	}
	if r.Registers {
		k.Register = []byte("state")
	}
	return []distrib.KeyDots{k, {Key: []byte("l"), Dots: []vclock.Dot{}}}, nil
}

func (e *echo) Step(ctx context.Context, key, request []byte) ([]byte, error) {
	return append(bytes.Clone(request), "/step"...), e.run(ctx, key)
}

func (e *echo) Learn(ctx context.Context, decisions []byte) ([]byte, error) {
	return append(bytes.Clone(decisions), "/learn"...), e.run(ctx, nil)
}

func (e *echo) StartOperate(deadline time.Time, key, operation []byte, done func([]byte, error)) {
	answer := append(bytes.Clone(operation), "/operate"...)
	if e.do == nil {
		done(answer, nil)
		return
	}
	go func() {
		ctx, cancel := context.WithDeadline(context.Background(), deadline)
		defer cancel()
		done(answer, e.do(ctx, key))
	}()
}

// pair is node 1, which asks, and node 2, which answers.
type pair struct {
	t      *testing.T
	addr   string
	server *Server
	grpc   *grpc.Server
	opts   ServerOptions
	client *Client
	faults [2]Faults // of nodes 1 and 2
}

func newPair(t *testing.T, e *echo, change func(*ClientOptions, *ServerOptions)) *pair {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	p := &pair{t: t, addr: "127.0.0.1:0"}
	p.opts = ServerOptions{Self: func() Identity { return Identity{"c", 2, "n2"} }, Handler: e, Faults: &p.faults[1]}
	co := ClientOptions{Self: func() Identity { return Identity{"c", 1, "n1"} }, Local: &echo{}, Faults: &p.faults[0],
		Addr: func(n uint64) (string, bool) { return p.addr, n == 2 }, Name: func(n uint64) string { return fmt.Sprintf("n%d", n) }}
	if change != nil {
		change(&co, &p.opts)
	}
	p.start()
	p.client = NewClient(co)
	t.Cleanup(func() { p.client.Close(); p.kill() })
	return p
}

func (p *pair) start() {
	listener, err := net.Listen("tcp", p.addr)
	require.NoError(p.t, err)
	p.addr = listener.Addr().String()
	p.server, p.grpc = NewServer(p.opts), grpc.NewServer()
	p.server.Register(p.grpc)
	go p.grpc.Serve(listener)
}

func (p *pair) kill() { p.grpc.Stop(); p.server.Close() }

func (p *pair) put(ctx context.Context, key, value string) (*distrib.PutReply, error) {
	return p.client.Put(ctx, 2, &distrib.PutRequest{Key: []byte(key), Value: distrib.Value{Data: []byte(value)}})
}

func TestAllRequests(t *testing.T) {
	p, ctx := newPair(t, &echo{}, nil), t.Context()
	reply, err := p.client.Put(ctx, 2, &distrib.PutRequest{Key: []byte("k"), Op: distrib.OpID{1}, For: 4, Sync: distrib.SyncNow,
		Value: distrib.Value{Data: []byte("v"), Expires: 5, Time: 6}})
	require.NoError(t, err)
	require.Equal(t, &distrib.PutReply{Siblings: 3, Sibling: distrib.Sibling{Dot: dot(5), Op: distrib.OpID{1}, Value: distrib.Value{Data: []byte("v"), Expires: 5, Time: 6}}}, reply)
	require.NoError(t, p.client.Merge(ctx, 2, &distrib.MergeRequest{Key: []byte("k"), Record: reply2record(reply)}))
	read, err := p.client.Read(ctx, 2, &distrib.ReadRequest{Key: []byte("k")})
	require.NoError(t, err)
	require.Equal(t, []byte("k"), read.Record[0].Value.Data)
	read, err = p.client.Read(ctx, 2, &distrib.ReadRequest{Key: []byte("k"), Digest: true})
	require.NoError(t, err)
	require.Equal(t, []vclock.Dot{dot(1), dot(2)}, read.Dots)
	parts, err := p.client.Parts(ctx, 2, &distrib.PartsRequest{First: 1, Last: 9, Parts: 4})
	require.NoError(t, err)
	require.Equal(t, []distrib.Part{{First: 1, Last: 9, Keys: 4, Bytes: 1 << 40, Sum: 7}}, parts)
	for _, records := range []bool{false, true} {
		q := &distrib.KeysRequest{First: 3, Last: 9, Limit: 4, Records: records, Registers: !records, Bytes: 100_000}
		want, err := (&echo{}).Keys(ctx, q)
		require.NoError(t, err)
		got, err := p.client.Keys(ctx, 2, q)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func reply2record(r *distrib.PutReply) distrib.Record { return distrib.Record{r.Sibling} }

func TestMixedSizesAtOnce(t *testing.T) {
	p := newPair(t, &echo{}, nil)
	var all sync.WaitGroup
	for i := range 200 {
		all.Go(func() {
			size := []int{0, 10, 1000, 64 << 10, 65<<10 + i, 300_000}[i%6]
			if i == 7 {
				size = distrib.MaxValueBytes
			}
			key := bytes.Repeat([]byte{byte(i)}, size+1)
			r, err := p.client.Read(t.Context(), 2, &distrib.ReadRequest{Key: key})
			if err != nil || !bytes.Equal(r.Record[0].Value.Data, key) {
				t.Errorf("read of %d bytes: %v, or other bytes", size, err)
			}
		})
	}
	all.Wait()
}

func TestErrorsKeepWhatTheyAre(t *testing.T) {
	errs := map[string]error{
		"plain":    errors.New("boom"),
		"siblings": fmt.Errorf("put: %w", distrib.ErrTooManySiblings),
		"refused":  fmt.Errorf("not mine: %w", distrib.ErrRefused),
		"overload": &distrib.Overloaded{What: "4 of 4", RetryAfter: 70 * time.Millisecond},
	}
	p := newPair(t, &echo{func(_ context.Context, key []byte) error { return errs[string(key)] }}, nil)
	for key, want := range errs {
		_, err := p.put(t.Context(), key, "")
		require.ErrorContains(t, err, want.Error())
		for _, known := range known {
			require.Equal(t, errors.Is(want, known), errors.Is(err, known), "%s is %v", key, known)
		}
	}
	_, err := p.put(t.Context(), "overload", "")
	var o *distrib.Overloaded
	require.ErrorAs(t, err, &o)
	require.Equal(t, 70*time.Millisecond, o.RetryAfter)
	_, err = p.client.Read(t.Context(), 3, &distrib.ReadRequest{Key: []byte("k")})
	require.ErrorIs(t, err, distrib.ErrRefused)
	require.ErrorContains(t, err, "no address")
}

func TestKilledAndRestarted(t *testing.T) {
	began := make(chan struct{})
	e := &echo{}
	e.do = func(ctx context.Context, key []byte) error {
		if string(key) == "hang" {
			close(began)
			<-ctx.Done()
		}
		return nil
	}
	p := newPair(t, e, nil)
	lost := make(chan error)
	go func() {
		_, err := p.put(t.Context(), "hang", "v")
		lost <- err
	}()
	<-began
	p.kill()
	err := <-lost
	require.Error(t, err)
	require.NotErrorIs(t, err, distrib.ErrRefused)
	_, err = p.put(t.Context(), "k", "v")
	require.ErrorIs(t, err, distrib.ErrRefused) // without a deadline: a refused connection fails at once
	p.start()
	require.Eventually(t, func() bool { _, err := p.put(t.Context(), "k", "v"); return err == nil }, 5*time.Second, time.Millisecond)
}

func TestDeadlineTravels(t *testing.T) {
	ended := make(chan bool, 1)
	p := newPair(t, &echo{func(ctx context.Context, _ []byte) error {
		_, ok := ctx.Deadline()
		<-ctx.Done()
		ended <- ok
		return ctx.Err()
	}}, nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err := p.put(ctx, "k", "v")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, distrib.ErrRefused)
	require.True(t, <-ended)
}

func TestHandshakeRefuses(t *testing.T) {
	for want, self := range map[string]Identity{
		`is of cluster "d"`:   {"d", 1, "n1"},
		`has the number "0"`:  {"c", 0, "n1"},
		`this is node 5 (n2)`: {"c", 1, "n1"},
	} {
		t.Run(want, func(t *testing.T) {
			p := newPair(t, &echo{}, func(c *ClientOptions, s *ServerOptions) {
				c.Self = func() Identity { return self }
				if self.ClusterID == "c" && self.Node == 1 {
					s.Self = func() Identity { return Identity{"c", 5, "n2"} }
				}
			})
			_, err := p.put(t.Context(), "k", "v")
			require.ErrorIs(t, err, distrib.ErrRefused)
			require.ErrorContains(t, err, want)
		})
	}
	_, err := Identity{"c", 2, "n2"}.check(nil)
	require.ErrorContains(t, err, "protocol")
}

func TestCutLinksAreSilent(t *testing.T) {
	for name, cut := range map[string]func(*pair){
		"requests, by who asks":    func(p *pair) { p.faults[0].Set([]string{"n2"}, nil, 0) },
		"answers, by who asks":     func(p *pair) { p.faults[0].Set(nil, []string{"n2"}, 0) },
		"answers, by who answers":  func(p *pair) { p.faults[1].Set([]string{"n1"}, nil, 0) },
		"requests, by who answers": func(p *pair) { p.faults[1].Set(nil, []string{"n1"}, 0) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t, &echo{}, nil)
			cut(p)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			_, err := p.put(ctx, "k", "v")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			for i := range p.faults {
				_, err = (&FaultsService{Faults: &p.faults[i]}).Set(t.Context(), &api.FaultsRequest{})
				require.NoError(t, err)
			}
			_, err = p.put(t.Context(), "k", "v")
			require.NoError(t, err)
		})
	}
}

func TestFullQueueRefuses(t *testing.T) {
	release, began := make(chan struct{}), make(chan struct{}, 2)
	p := newPair(t, &echo{func(context.Context, []byte) error { began <- struct{}{}; <-release; return nil }},
		func(_ *ClientOptions, s *ServerOptions) { s.Limits = Limits{Workers: 1, Queued: 1, Wait: time.Hour} })
	errs := make(chan error, 3)
	ask := func() { _, err := p.put(t.Context(), "k", "v"); errs <- err }
	go ask()
	<-began // one is under way; of the next two, one waits
	go ask()
	go ask()
	require.ErrorIs(t, <-errs, distrib.ErrOverloaded)
	require.Equal(t, uint64(1), p.server.Refused())
	close(release)
	require.NoError(t, <-errs)
	require.NoError(t, <-errs)
}

func TestEpochsTravel(t *testing.T) {
	seen := make(chan uint64, 2)
	p := newPair(t, &echo{}, func(c *ClientOptions, s *ServerOptions) {
		c.Epoch, s.Epoch = func() uint64 { return 3 }, func() uint64 { return 4 }
		c.SawEpoch, s.SawEpoch = func(e uint64) { seen <- e }, func(e uint64) { seen <- e }
	})
	_, err := p.put(t.Context(), "k", "v")
	require.NoError(t, err)
	require.ElementsMatch(t, []uint64{3, 4}, []uint64{<-seen, <-seen})
}

func TestLocalGoesStraight(t *testing.T) {
	p := newPair(t, &echo{}, nil)
	data := []byte("v")
	r, err := p.client.Put(t.Context(), 1, &distrib.PutRequest{Key: []byte("k"), Value: distrib.Value{Data: data}})
	require.NoError(t, err)
	require.Same(t, &data[0], &r.Sibling.Value.Data[0])
}

// FuzzFrames feeds what a broken node could send.
func FuzzFrames(f *testing.F) {
	f.Add(appendFrame(nil, kindPut, 1, 2, &putRequest{Key: []byte("k"), Value: distrib.Value{Data: []byte("v")}}))
	f.Add(appendFrame(nil, kindKeys, 1, 0, &keysRequest{Limit: 3}))
	f.Add(appendFrame(nil, kindAnswer, 1, 0, keysAnswer{{Key: []byte("k"), Dots: []vclock.Dot{dot(1)}}}))
	f.Add(append(appendPieceHead(nil, 5, 5), 0, 0, 0, 1, 9))
	s := NewServer(ServerOptions{Handler: &echo{}})
	f.Fuzz(func(t *testing.T, b []byte) {
		var in inBatch
		_ = in.decode(b)
		_ = eachFrame(b, &assembly{}, func(f frame) error {
			_, _ = s.handle(t.Context(), &f)
			_, _ = decodePutAnswer(f.body, nil)
			_, _ = decodeReadAnswer(f.body)
			_, _ = decodePartsAnswer(f.body)
			_, _ = decodeKeysAnswer(f.body)
			_ = decodeFailure(f, "n")
			return nil
		})
	})
}

// TestAdmit: a request is carried out only where it is let in, and is under way until it was.
func TestAdmit(t *testing.T) {
	var under, most atomic.Int64
	var epoch atomic.Uint64
	epoch.Store(5)
	p := newPair(t, &echo{}, func(c *ClientOptions, s *ServerOptions) {
		c.Epoch = epoch.Load
		s.Admit = func(from, epoch uint64) (func(), error) {
			if from != 1 || epoch > 5 {
				return nil, fmt.Errorf("node %d in epoch %d: %w", from, epoch, distrib.ErrRefused)
			}
			most.Store(under.Add(1))
			return func() { under.Add(-1) }, nil
		}
	})
	_, err := p.put(t.Context(), "k", "v")
	require.NoError(t, err)
	require.Equal(t, int64(1), most.Load())
	require.Eventually(t, func() bool { return under.Load() == 0 }, 10*time.Second, time.Millisecond)
	epoch.Store(6)
	_, err = p.put(t.Context(), "k", "v")
	require.ErrorContains(t, err, "node 1 in epoch 6")
	require.ErrorIs(t, err, distrib.ErrRefused)
}

// TestRegisters: steps and operations reach another node and the own one, and errors keep what they are.
func TestRegisters(t *testing.T) {
	p := newPair(t, &echo{do: func(_ context.Context, key []byte) error {
		if string(key) == "bad" {
			return fmt.Errorf("it is not: %w", distrib.ErrLinearizable)
		}
		return nil
	}}, nil)
	type answer struct {
		body string
		err  error
	}
	ask := func(start func(time.Time, uint64, []byte, []byte, func([]byte, error)), to uint64, key string) answer {
		got := make(chan answer, 1)
		start(time.Now().Add(10*time.Second), to, []byte(key), []byte("body"), func(body []byte, err error) { got <- answer{string(body), err} })
		return <-got
	}
	for to := uint64(1); to <= 2; to++ {
		require.Equal(t, answer{"body/step", nil}, ask(p.client.StartStep, to, "key"))
		require.Equal(t, answer{"body/operate", nil}, ask(p.client.StartOperate, to, "key"))
		learn := func(deadline time.Time, to uint64, _, decisions []byte, done func([]byte, error)) {
			p.client.StartLearn(deadline, to, decisions, done)
		}
		require.Equal(t, answer{"body/learn", nil}, ask(learn, to, ""))
	}
	a := ask(p.client.StartStep, 2, "bad")
	require.ErrorIs(t, a.err, distrib.ErrLinearizable)
	require.ErrorIs(t, a.err, distrib.ErrRefused)
}

// stepper ends an operation with the step that it needs.
type stepper struct {
	echo
	ends chan func([]byte, error)
}

func (s *stepper) StartOperate(_ time.Time, _, _ []byte, done func([]byte, error)) { s.ends <- done }

func (s *stepper) Step(context.Context, []byte, []byte) ([]byte, error) {
	end := <-s.ends
	end([]byte("done"), nil)
	return nil, nil
}

// TestOperationsTakeNoWorker: with all workers' worth of operations under way the steps that these wait for are carried out, and
// admission lasts until an operation has ended.
func TestOperationsTakeNoWorker(t *testing.T) {
	const operations = 4
	var admitted atomic.Int64
	p := newPair(t, nil, func(_ *ClientOptions, s *ServerOptions) {
		s.Handler, s.Limits = &stepper{ends: make(chan func([]byte, error), operations)}, Limits{Workers: 1}
		s.Admit = func(uint64, uint64) (func(), error) {
			admitted.Add(1)
			return func() { admitted.Add(-1) }, nil
		}
	})
	answers, stepped := make(chan error, operations), make(chan error, operations)
	deadline := time.Now().Add(time.Minute)
	for range operations {
		p.client.StartOperate(deadline, 2, []byte("k"), []byte("o"), func(body []byte, err error) {
			if err == nil && string(body) != "done" {
				err = fmt.Errorf("answered %q", body)
			}
			answers <- err
		})
	}
	require.Eventually(t, func() bool { return admitted.Load() == operations }, 10*time.Second, time.Millisecond)
	for range operations {
		p.client.StartStep(deadline, 2, []byte("k"), []byte("s"), func(_ []byte, err error) { stepped <- err })
	}
	for range operations {
		require.NoError(t, <-stepped)
		require.NoError(t, <-answers)
	}
	require.Eventually(t, func() bool { return admitted.Load() == 0 }, 10*time.Second, time.Millisecond)
}
