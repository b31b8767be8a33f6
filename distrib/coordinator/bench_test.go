package coordinator

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/register"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// instant is a transport to nodes that answer at once: the own one by itself, each other one by a goroutine that takes
// requests in their order, as the receiver of a stream does.
type instant struct {
	distrib.Transport
	counter atomic.Uint64
	peers   map[uint64]*peer
	record  distrib.Record
	owners  [4]acceptors // by node
}

// acceptors are the registers of a node.
type acceptors struct {
	mu     sync.Mutex // guards states
	states map[string]register.State
}

func (a *acceptors) step(key, request []byte) ([]byte, error) {
	r, err := register.DecodeRequest(request)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.states[string(key)].Step(0, &r, nil)
	if s.Save {
		if a.states == nil {
			a.states = map[string]register.State{}
		}
		a.states[string(key)] = s.State
	}
	return register.AppendReply(nil, &s.Reply), nil
}

// StartStep implements distrib.Registers.
func (i *instant) StartStep(_ time.Time, to uint64, key, request []byte, done func([]byte, error)) {
	step := func() { done(i.owners[to].step(key, request)) }
	if p := i.peers[to]; p != nil {
		p.send(step)
		return
	}
	go step()
}

func (i *instant) StartLearn(_ time.Time, _ uint64, _ []byte, done func([]byte, error)) {
	go done(register.AppendBehind(nil, nil), nil)
}

func (i *instant) StartOperate(time.Time, uint64, []byte, []byte, func([]byte, error)) {
	panic("node 1 comes first")
}

// peer is a node, and what waits for it.
type peer struct {
	mu     sync.Mutex
	wake   sync.Cond
	queue  []func()
	closed bool
}

func (p *peer) send(f func()) {
	p.mu.Lock()
	p.queue = append(p.queue, f)
	p.mu.Unlock()
	p.wake.Signal()
}

func (p *peer) run() {
	var batch []func()
	for {
		p.mu.Lock()
		for len(p.queue) == 0 && !p.closed {
			p.wake.Wait()
		}
		if p.closed {
			p.mu.Unlock()
			return
		}
		batch, p.queue = p.queue, batch[:0]
		p.mu.Unlock()
		for i, f := range batch {
			batch[i] = nil
			f()
		}
	}
}

func newInstant(b *testing.B, nodes uint64) *instant {
	i := &instant{peers: map[uint64]*peer{}, record: distrib.Record{{Dot: vclock.Dot{Actor: vclock.Actor{Node: 1, Birth: 1}, Counter: 1}, Value: distrib.Value{Data: make([]byte, 1<<10)}}}}
	for id := uint64(2); id <= nodes; id++ {
		p := &peer{}
		p.wake.L = &p.mu
		i.peers[id] = p
		go p.run()
		b.Cleanup(func() {
			p.mu.Lock()
			p.closed = true
			p.mu.Unlock()
			p.wake.Signal()
		})
	}
	return i
}

func (i *instant) put(node uint64, r *distrib.PutRequest) *distrib.PutReply {
	dot := vclock.Dot{Actor: vclock.Actor{Node: node, Birth: 1}, Counter: i.counter.Add(1)}
	return &distrib.PutReply{Sibling: distrib.Sibling{Dot: dot, Op: r.Op, Value: r.Value}, Siblings: 1}
}

func (i *instant) read(r *distrib.ReadRequest) *distrib.ReadReply {
	if r.Digest {
		return &distrib.ReadReply{Dots: vclock.Dots(i.record)}
	}
	return &distrib.ReadReply{Record: i.record}
}

// The methods of distrib.Transport ask the own node.

func (i *instant) Put(_ context.Context, to uint64, r *distrib.PutRequest) (*distrib.PutReply, error) {
	return i.put(to, r), nil
}

func (i *instant) Merge(context.Context, uint64, *distrib.MergeRequest) error { return nil }

func (i *instant) Read(_ context.Context, _ uint64, r *distrib.ReadRequest) (*distrib.ReadReply, error) {
	return i.read(r), nil
}

func (i *instant) StartPut(_ time.Time, to uint64, r *distrib.PutRequest, done func(*distrib.PutReply, error)) {
	i.peers[to].send(func() { done(i.put(to, r), nil) })
}

func (i *instant) StartMerge(_ time.Time, to uint64, _ *distrib.MergeRequest, done func(error)) {
	i.peers[to].send(func() { done(nil) })
}

func (i *instant) StartRead(_ time.Time, to uint64, r *distrib.ReadRequest, done func(*distrib.ReadReply, error)) {
	i.peers[to].send(func() { done(i.read(r), nil) })
}

// BenchmarkOperations puts and gets 1 KiB by 64 callers at a time, on nodes that answer at once.
func BenchmarkOperations(b *testing.B) {
	for _, nodes := range []uint64{3, 100} {
		var members []ring.Node
		for id := uint64(1); id <= nodes; id++ {
			members = append(members, ring.Node{ID: id, Name: fmt.Sprintf("n%d", id)})
		}
		r, err := ring.New(ring.Options{}, members)
		require.NoError(b, err)
		co := New(Options{Self: 1, View: func() (*ring.View, func()) { return ring.Steady(r), func() {} }, Transport: newInstant(b, nodes)})
		run := func(name string, operation func(key []byte) error) {
			b.Run(fmt.Sprintf("%s/nodes=%d", name, nodes), func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(32) // of 2 cores
				var keys, failed atomic.Uint64
				b.RunParallel(func(pb *testing.PB) {
					var key [8]byte
					for pb.Next() {
						binary.BigEndian.PutUint64(key[:], keys.Add(1))
						if operation(key[:]) != nil {
							failed.Add(1)
						}
					}
				})
				co.Wait()
				if n := failed.Load(); n > 0 {
					b.Fatalf("%d failed", n)
				}
			})
		}
		v := distrib.Value{Data: make([]byte, 1<<10)}
		run("put", func(key []byte) error { _, err := co.Put(b.Context(), key, v, WriteOptions{}); return err })
		run("get", func(key []byte) error { _, err := co.Get(b.Context(), key, ReadOptions{}); return err })
	}
}

// BenchmarkOperate writes and reads 1 KiB linearizably by 64 callers at a time, at the first owner of the keys, on nodes that answer at once:
// one key, and 4096 of which the coordinator has the proposers.
func BenchmarkOperate(b *testing.B) {
	r, err := ring.New(ring.Options{}, []ring.Node{{ID: 1, Name: "n1"}, {ID: 2, Name: "n2"}, {ID: 3, Name: "n3"}})
	require.NoError(b, err)
	nodes := newInstant(b, 3)
	co := New(Options{Self: 1, Run: 1, View: func() (*ring.View, func()) { return ring.Steady(r), func() {} }, Transport: nodes, Registers: nodes})
	var keys [][]byte
	for n := uint64(0); len(keys) < 4096; n++ {
		if key := binary.BigEndian.AppendUint64(nil, n); ring.Steady(r).Seats(ring.TokenOf(key))[0].Node == 1 {
			keys = append(keys, key)
		}
	}
	put := register.Operation{Kind: register.Put, Value: distrib.Value{Data: make([]byte, 1<<10)}}
	for _, key := range keys {
		_, err := co.Operate(b.Context(), key, put)
		require.NoError(b, err)
	}
	for _, op := range []struct {
		name string
		register.Operation
	}{{"put", put}, {"get", register.Operation{}}} {
		for _, many := range []uint64{1, uint64(len(keys))} {
			b.Run(fmt.Sprintf("%s/keys=%d", op.name, many), func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism(32) // of 2 cores
				var next, failed atomic.Uint64
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if _, err := co.Operate(b.Context(), keys[next.Add(1)%many], op.Operation); err != nil {
							failed.Add(1)
						}
					}
				})
				co.Wait()
				if n := failed.Load(); n > 0 {
					b.Fatalf("%d failed", n)
				}
			})
		}
	}
}
