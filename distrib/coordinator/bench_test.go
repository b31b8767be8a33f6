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
