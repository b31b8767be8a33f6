// Package client is how programs in Go use a Cambium cluster.
//
//	c, err := client.Open(ctx, client.Options{Endpoints: []string{"10.0.0.1:7400"}})
//	item, err := c.Get(ctx, key, client.GetOptions{})
//	value, err := item.Value() // one live value; distrib.ErrNotFound, ErrSiblings
//	put, err := c.Put(ctx, key, value, client.PutOptions{Context: item.Context})
//	swap, err := c.CompareAndSwap(ctx, key, client.Expected{Value: old}, value, client.SwapOptions{})
//	_, err = c.Update(ctx, key, func(siblings []distrib.Sibling) ([]byte, error) { ... }, client.UpdateOptions{})
//
// A Client may be used by any number of goroutines at once. Keys, values and contexts that it is given are read until
// the call returns and not kept; what it returns is the caller's.
//
// # How a request travels
//
// The client holds the ring and asks a node that holds the key, over one stream to each node. What waits for a
// stream's writer goes as one message; answers come in any order, and the goroutine that asked takes its own.
//
// Of what is longer than 128 KiB a node sends parts, and other answers between them. What it does not take yet, for
// it has as many requests of this client as it may, or as many bytes, waits here.
//
// A request that could not be sent goes to the next node at once. One that was sent and is not answered within the
// patience with its node (four times what 99 of 100 answers take, 20 ms to 1 s) is sent to the next one as well, and
// the first good answer wins; so is one whose node says nothing at all to anybody, for four times as long as it is
// ever silent. Such tries, and those after an overload, are bounded to a tenth of all operations. All tries of a
// write have one op id, so they never make a second sibling. A node that let a request wait is suspect: it is
// asked after all others, and with one read in 100 ms, for which nobody waits, until it answers one.
//
// # What an error says
//
// An error of an operation is an *Error. FAILED says that nothing happened: no try was sent, or each that was said so
// itself. UNKNOWN says that it may have happened, or may still; Resolve tells later. A read that fails is FAILED.
//
// A linearizable write of which a try was not done, since what is there was not as expected, is FAILED, or not swapped, once no
// other try can be done any more: each try after the first says so, and where it is not done none is.
package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cambiumdb/cambium/distrib/api"
)

// Options of a Client.
type Options struct {
	// Endpoints are nodes of the cluster, host:port. One that answers is enough: it names the others.
	Endpoints []string
	// Credentials of TLS. nil: in the clear.
	Credentials credentials.TransportCredentials
	// Timeout bounds an operation, also where its context would allow more. Default 5 s.
	Timeout time.Duration
	// InFlight bounds the requests at one node; where there are more the next node is asked, and where all have as many
	// they wait here. Default 1000, at most 1024: what a node takes of one session.
	InFlight int
}

func (o Options) withDefaults() (Options, error) {
	if len(o.Endpoints) == 0 {
		return o, errors.New("client: no endpoints: want host:port of at least one node")
	}
	if o.Timeout < 0 || o.InFlight < 0 {
		return o, fmt.Errorf("client: timeout %s, in flight %d: want 0, the default, or more", o.Timeout, o.InFlight)
	}
	if o.InFlight > api.SessionOperations {
		return o, fmt.Errorf("client: in flight %d: the limit is %d, what a node takes of one session: more wait in the client", o.InFlight, api.SessionOperations)
	}
	o.Timeout = cmp.Or(o.Timeout, 5*time.Second)
	o.InFlight = cmp.Or(o.InFlight, 1000)
	if o.Credentials == nil {
		o.Credentials = insecure.NewCredentials()
	}
	return o, nil
}

// Client is a connection to a cluster.
type Client struct {
	opts     Options
	start    time.Time // what times of nodes count from
	budget   budget
	view     atomic.Pointer[view]
	suspects atomic.Int32  // how many nodes are
	turn     atomic.Uint32 // of the nodes, where there is no ring
	kick     chan struct{} // asks for a refresh at once

	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	work   sync.WaitGroup // goroutines

	mu    sync.Mutex // guards what follows
	nodes map[string]*node
}

var errClosed = errors.New("the client is closed")

// Open finds the cluster. It returns when one of the endpoints has told the ring. Where none does, the error says of
// each why.
func Open(ctx context.Context, o Options) (*Client, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	c := &Client{opts: o, start: time.Now(), kick: make(chan struct{}, 1), nodes: map[string]*node{}}
	c.budget.millis.Store(budgetMost)
	c.ctx, c.cancel = context.WithCancel(context.Background())
	if err := c.find(ctx); err != nil {
		c.Close()
		return nil, err
	}
	c.work.Go(c.refresh)
	return c, nil
}

// Close ends all operations and connections. It returns when nothing of the client is left.
func (c *Client) Close() {
	c.cancel()
	c.mu.Lock()
	nodes := c.nodes
	c.nodes = nil
	c.mu.Unlock()
	for _, n := range nodes {
		n.close()
	}
	c.work.Wait()
}

// now is the time since the client began, by the monotonic clock.
func (c *Client) now() time.Duration { return time.Since(c.start) }
