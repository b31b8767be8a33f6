package transport

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cambiumdb/cambium/distrib"
)

// ClientOptions of a Client. Self, Local and Addr are required.
type ClientOptions struct {
	Self     func() Identity
	Local    Handler                          // of the node itself
	Addr     func(node uint64) (string, bool) // host:port
	Name     func(node uint64) string         // for errors and faults; default: the number
	Epoch    func() uint64                    // as in ServerOptions
	SawEpoch func(uint64)
	Faults   *Faults
	// Credentials of the connections. Default: none, in the clear.
	Credentials credentials.TransportCredentials
}

// Client is a distrib.Transport: it asks the nodes of a cluster.
type Client struct {
	opts    ClientOptions
	ctx     context.Context
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu     sync.Mutex // guards what follows
	routes map[uint64]*route
	closed bool
}

var _ distrib.Transport = (*Client)(nil)

// route is the way to a node: a link, or an attempt at one.
type route struct {
	link    *link
	opening chan struct{} // closed when the attempt is over; nil: there is none
	failed  error         // of the last attempt
	again   time.Time     // when to try after it
}

// NewClient returns a client. It connects when it is asked to send something.
func NewClient(opts ClientOptions) *Client {
	if opts.Name == nil {
		opts.Name = func(node uint64) string { return strconv.FormatUint(node, 10) }
	}
	if opts.Epoch == nil {
		opts.Epoch = func() uint64 { return 0 }
	}
	if opts.Credentials == nil {
		opts.Credentials = insecure.NewCredentials()
	}
	c := &Client{opts: opts, routes: map[uint64]*route{}}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	return c
}

var errClosed = errors.New("the client is closed")

// Close ends all connections. Calls under way fail.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	var links []*link
	for _, r := range c.routes {
		if r.link != nil {
			links = append(links, r.link)
		}
	}
	c.mu.Unlock()
	c.cancel()
	for _, l := range links {
		l.end(errClosed)
	}
	c.running.Wait()
}

// link returns an open link to a node. Where there is none it waits for one attempt. Its errors are ErrRefused.
func (c *Client) link(ctx context.Context, to uint64) (*link, error) {
	c.mu.Lock()
	r := c.routes[to]
	if r == nil {
		r = &route{}
		c.routes[to] = r
	}
	if r.link != nil && r.link.alive() {
		defer c.mu.Unlock()
		return r.link, nil
	}
	if err := c.begin(to, r); err != nil {
		defer c.mu.Unlock()
		return nil, err
	}
	opening := r.opening
	c.mu.Unlock()
	select {
	case <-opening:
	case <-ctx.Done():
		return nil, fmt.Errorf("node %s: not connected: %w: %w", c.opts.Name(to), ctx.Err(), distrib.ErrUnreachable)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.link != nil {
		return r.link, nil
	}
	return nil, r.failed
}

// begin starts an attempt at a link, unless one is under way.
func (c *Client) begin(to uint64, r *route) error {
	switch {
	case c.closed:
		return fmt.Errorf("%w: %w", errClosed, distrib.ErrRefused)
	case r.opening != nil:
		return nil
	case time.Now().Before(r.again):
		return r.failed
	}
	addr, ok := c.opts.Addr(to)
	if !ok {
		return fmt.Errorf("node %d has no address: it is none of this topology: %w", to, distrib.ErrUnreachable)
	}
	opening := make(chan struct{})
	r.link, r.opening = nil, opening
	c.running.Go(func() {
		l, err := c.open(to, c.opts.Name(to), addr)
		c.mu.Lock()
		defer c.mu.Unlock()
		if r.link, r.failed, r.opening = l, err, nil; err != nil {
			r.again = time.Now().Add(againAfter)
		} else if c.closed {
			defer l.end(errClosed)
		}
		close(opening)
	})
	return nil
}

// ask sends a request to another node and returns the answer's body.
func (c *Client) ask(ctx context.Context, to uint64, k kind, o outgoing) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("node %s: not asked: %w: %w", c.opts.Name(to), err, distrib.ErrRefused)
	}
	if name := c.opts.Name(to); c.opts.Faults.To(name) {
		err := errClosed
		select {
		case <-ctx.Done():
			err = ctx.Err()
		case <-c.ctx.Done():
		}
		return nil, fmt.Errorf("node %s: it may have been carried out: %w", name, err)
	}
	l, err := c.link(ctx, to)
	if err != nil {
		return nil, err
	}
	f, err := l.call(ctx, k, o)
	return f.body, err
}

func (c *Client) local(to uint64) bool { return to == c.opts.Self().Node }

// Put implements distrib.Transport.
func (c *Client) Put(ctx context.Context, to uint64, r *distrib.PutRequest) (*distrib.PutReply, error) {
	if c.local(to) {
		return c.opts.Local.Put(ctx, r)
	}
	body, err := c.ask(ctx, to, kindPut, (*putRequest)(r))
	if err != nil {
		return nil, err
	}
	return decodePutAnswer(body, r.Value.Data)
}

// Merge implements distrib.Transport.
func (c *Client) Merge(ctx context.Context, to uint64, r *distrib.MergeRequest) error {
	if c.local(to) {
		return c.opts.Local.Merge(ctx, r)
	}
	_, err := c.ask(ctx, to, kindMerge, (*mergeRequest)(r))
	return err
}

// Read implements distrib.Transport.
func (c *Client) Read(ctx context.Context, to uint64, r *distrib.ReadRequest) (*distrib.ReadReply, error) {
	if c.local(to) {
		return c.opts.Local.Read(ctx, r)
	}
	body, err := c.ask(ctx, to, kindRead, (*readRequest)(r))
	if err != nil {
		return nil, err
	}
	return decodeReadAnswer(body)
}

// Parts implements distrib.Transport.
func (c *Client) Parts(ctx context.Context, to uint64, r *distrib.PartsRequest) ([]distrib.Part, error) {
	if c.local(to) {
		return c.opts.Local.Parts(ctx, r)
	}
	body, err := c.ask(ctx, to, kindParts, (*partsRequest)(r))
	if err != nil {
		return nil, err
	}
	return decodePartsAnswer(body)
}

// Keys implements distrib.Transport.
func (c *Client) Keys(ctx context.Context, to uint64, r *distrib.KeysRequest) ([]distrib.KeyDots, error) {
	if c.local(to) {
		return c.opts.Local.Keys(ctx, r)
	}
	body, err := c.ask(ctx, to, kindKeys, (*keysRequest)(r))
	if err != nil {
		return nil, err
	}
	return decodeKeysAnswer(body)
}
