// Package coordinator carries out the operations of clients on the nodes that hold a key: N, R and W (DeCandia
// et al., "Dynamo", SOSP 2007, sections 4.4 to 4.6).
//
//	c := coordinator.New(coordinator.Options{Self: 1, View: view, Transport: transport, Liveness: gossip.Liveness})
//	put, err := c.Put(ctx, key, value, coordinator.WriteOptions{W: 2, Context: context})
//	get, err := c.Get(ctx, key, coordinator.ReadOptions{R: 2})
//
// Whom to ask next, and what is known, decide write and read: values that step from answer to answer. The methods
// send what they say and feed them what comes back. All methods may be called by many goroutines at once.
//
// # What an error says
//
// An *Error says whether the operation FAILED, and nothing happened, or is UNKNOWN, and may have happened or may
// still. A write that is UNKNOWN can be tried again with the same op id without being done twice at one node. Where
// too few nodes are not thought to be down, those that are get a probe, which changes nothing, and count if they answer;
// else it fails before anything is sent.
package coordinator

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/hlc"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// Options of a Coordinator. Self, View and Transport are required.
type Options struct {
	Self uint64 // the node on which it runs
	// View returns where keys lie. An operation keeps to one view from its begin to its end, which it tells by calling
	// release.
	View      func() (v *ring.View, release func())
	Transport distrib.Transport
	// Registers are asked for linearizable operations. nil: there are none.
	Registers distrib.Registers
	// Run is the number of this start of the node: of the ballots of its proposers.
	Run uint64
	// Liveness is this node's opinion of others: suspects are asked last, who is down is passed over. nil: all are up.
	Liveness func(node uint64) distrib.Liveness
	// Observe hears what became of each request to another node: nil where it answered, be it to refuse;
	// distrib.ErrUnreachable; else why there was no answer. nil: nobody listens.
	Observe func(node uint64, err error)
	// Name is what errors call a node. nil: "node 7".
	Name func(node uint64) string
	// Settle makes durable what this node has stored before it was called. Where it is set, a write that this node
	// stores first goes to the others while it is made durable here. nil: it waits for that.
	Settle func() error
	// Patience is how long a node is waited for at most. The next one is asked in its place when it takes four
	// times as long as it mostly does, at least 20 ms. 0 is 2 s.
	Patience time.Duration
	// After is how long requests go on though nobody waits for them: what is answered late still counts. 0 is 10 s.
	After time.Duration
	// Unfinished hears of keys that a write which may have happened did not reach all of their nodes, or of nodes
	// in their place: their replicas may differ until they are compared. nil: nobody listens.
	Unfinished func(key []byte)
	Limits     Limits
	// Clock is the time that puts and gets go by; scans go by the real one. nil: the real one.
	Clock Clock
	// Hybrid gives the times of ballots. nil: one of its own, by Clock.
	Hybrid *hlc.Clock
	// Go has a function called beside the caller: what goes on behind answers, requests to this node that nobody waits
	// for, and the ends of what StartPut and StartGet start. It must not call it itself. nil: a goroutine for each.
	Go func(f func())
}

// Coordinator carries out operations.
type Coordinator struct {
	opts      Options
	transport distrib.AsyncTransport
	latencies latencies
	hedges    budget
	hedged    atomic.Int64
	underWay  load // operations that callers wait for
	behind    load // puts that go on
	repairs   load
	probes    probes
	proposers proposers
	// selfSlow is that this node is slow to answer itself: then requests to it get goroutines, and callers do not
	// hang with it.
	selfSlow atomic.Bool
	work     sync.WaitGroup // operations, and what goes on behind them

	serving sync.Mutex // guards closed, and work against operations of other nodes
	closed  bool
}

// New returns a coordinator.
func New(opts Options) *Coordinator {
	if opts.Liveness == nil {
		opts.Liveness = func(uint64) distrib.Liveness { return distrib.Up }
	}
	if opts.Observe == nil {
		opts.Observe = func(uint64, error) {}
	}
	if opts.Name == nil {
		opts.Name = func(node uint64) string { return "node " + strconv.FormatUint(node, 10) }
	}
	if opts.Patience == 0 {
		opts.Patience = 2 * time.Second
	}
	if opts.After == 0 {
		opts.After = 10 * time.Second
	}
	if opts.Unfinished == nil {
		opts.Unfinished = func([]byte) {}
	}
	if opts.Clock == nil {
		opts.Clock = realClock{}
	}
	if opts.Hybrid == nil {
		opts.Hybrid = hlc.New(opts.Clock.Now)
	}
	if opts.Go == nil {
		opts.Go = goroutine
	}
	opts.Limits = opts.Limits.withDefaults()
	return &Coordinator{opts: opts, transport: asyncTransport(opts.Transport), proposers: newProposers(opts.Self, opts.Run)}
}

// Wait returns when nothing goes on behind the answers that were given. No operation may begin meanwhile.
func (c *Coordinator) Wait() { c.work.Wait() }

// Close refuses the operations that other nodes hand in from now on, and returns when nothing goes on any more. No other
// operation may begin meanwhile.
func (c *Coordinator) Close() {
	c.serving.Lock()
	c.closed = true
	c.serving.Unlock()
	c.Wait()
}

// handedIn counts an operation of another node, unless the coordinator is closed.
func (c *Coordinator) handedIn() bool {
	c.serving.Lock()
	defer c.serving.Unlock()
	if !c.closed {
		c.work.Add(1)
	}
	return !c.closed
}

// observe tells what became of a request. That a deadline has passed says nothing: silent tells of patience.
func (c *Coordinator) observe(node uint64, err error) {
	switch {
	case node == c.opts.Self:
		return
	case answered(err):
		err = nil
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled):
		return
	}
	c.opts.Observe(node, err)
}

var errSilent = errors.New("it does not answer")

// silent tells that nodes were given up.
func (c *Coordinator) silent(nodes []uint64) {
	for _, node := range nodes {
		if node != c.opts.Self {
			c.opts.Observe(node, errSilent)
		}
	}
}

// unfinished tells of a key whose replicas may differ.
func (c *Coordinator) unfinished(key []byte) {
	c.behindIt(func() { c.opts.Unfinished(key) })
}

// All as W or R asks for all N.
const All = math.MaxInt

// QuorumError is a W or R that no operation can have.
type QuorumError struct {
	What    string // "W" or "R"
	Want, N int
}

// Error names the limit.
func (e *QuorumError) Error() string {
	return fmt.Sprintf("%s is %d, want 1 to %d", e.What, e.Want, e.N)
}

// quorum is how many of n nodes must answer; 0 asks for a majority.
func quorum(want, n int, what string) (int, error) {
	switch {
	case want == 0:
		return n/2 + 1, nil
	case want == All:
		return n, nil
	case want < 1 || want > n:
		return 0, &QuorumError{what, want, n}
	}
	return want, nil
}

// quorums are how many of the owners at each end of a key, of which there are n, must store a write. Where one end has
// fewer owners than W, all of them must.
func quorums(w int, n counts) (need counts, err error) {
	if _, err := quorum(w, max(n[0], n[1]), "W"); err != nil {
		return need, err
	}
	for i := range n {
		if n[i] > 0 {
			need[i], _ = quorum(min(w, n[i]), n[i], "W") // 0 or 1 to n[i]
		}
	}
	return need, nil
}
