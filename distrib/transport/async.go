package transport

import (
	"context"
	"fmt"
	"time"

	"github.com/cambiumdb/cambium/distrib"
)

var (
	_ distrib.AsyncTransport = (*Client)(nil)
	_ distrib.Registers      = (*Client)(nil)
)

// StartPut implements distrib.AsyncTransport.
func (c *Client) StartPut(deadline time.Time, to uint64, r *distrib.PutRequest, done func(*distrib.PutReply, error)) {
	c.start(deadline, to, kindPut, (*putRequest)(r), func(body []byte, err error) {
		if err != nil {
			done(nil, err)
			return
		}
		done(decodePutAnswer(body, r.Value.Data))
	})
}

// StartMerge implements distrib.AsyncTransport.
func (c *Client) StartMerge(deadline time.Time, to uint64, r *distrib.MergeRequest, done func(error)) {
	c.start(deadline, to, kindMerge, (*mergeRequest)(r), func(_ []byte, err error) { done(err) })
}

// StartRead implements distrib.AsyncTransport.
func (c *Client) StartRead(deadline time.Time, to uint64, r *distrib.ReadRequest, done func(*distrib.ReadReply, error)) {
	c.start(deadline, to, kindRead, (*readRequest)(r), func(body []byte, err error) {
		if err != nil {
			done(nil, err)
			return
		}
		done(decodeReadAnswer(body))
	})
}

// StartStep implements distrib.Registers.
func (c *Client) StartStep(deadline time.Time, to uint64, key, request []byte, done func([]byte, error)) {
	if !c.local(to) {
		c.start(deadline, to, kindStep, registerRequest{key, request}, done)
		return
	}
	c.behind(done, func() { // it waits for the device
		ctx, cancel := context.WithDeadline(c.ctx, deadline)
		defer cancel()
		done(c.opts.Local.Step(ctx, key, request))
	})
}

// StartLearn implements distrib.Registers.
func (c *Client) StartLearn(deadline time.Time, to uint64, decisions []byte, done func([]byte, error)) {
	if !c.local(to) {
		c.start(deadline, to, kindLearn, registerRequest{body: decisions}, done)
		return
	}
	c.behind(done, func() {
		ctx, cancel := context.WithDeadline(c.ctx, deadline)
		defer cancel()
		done(c.opts.Local.Learn(ctx, decisions))
	})
}

// StartOperate implements distrib.Registers.
func (c *Client) StartOperate(deadline time.Time, to uint64, key, operation []byte, done func([]byte, error)) {
	if !c.local(to) {
		c.start(deadline, to, kindOperate, registerRequest{key, operation}, done)
		return
	}
	c.opts.Local.StartOperate(deadline, key, operation, done)
}

// behind runs f in a goroutine, unless the client is closed.
func (c *Client) behind(done func(body []byte, err error), f func()) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		done(nil, fmt.Errorf("%w: %w", errClosed, distrib.ErrUnreachable))
		return
	}
	c.running.Go(f)
	c.mu.Unlock()
}

// start sends a request at once where a link is open. Else a goroutine waits for one, as it does for the end of a
// fault.
func (c *Client) start(deadline time.Time, to uint64, k kind, o outgoing, done func(body []byte, err error)) {
	if l := c.openLink(to); l != nil {
		l.start(deadline, k, o, func(f frame, err error) { done(f.body, err) })
		return
	}
	c.behind(done, func() {
		ctx, cancel := context.WithDeadline(c.ctx, deadline)
		defer cancel()
		done(c.ask(ctx, to, k, o))
	})
}

// openLink returns the link to a node where one is open that takes what is sent.
func (c *Client) openLink(to uint64) *link {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r := c.routes[to]; r != nil && r.link != nil && r.link.alive() && !c.opts.Faults.To(r.link.name) {
		return r.link
	}
	return nil
}
