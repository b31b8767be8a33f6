package client

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cambiumdb/cambium/distrib/api"
)

const (
	refreshEvery = time.Second
	refreshLeast = 100 * time.Millisecond // between two of them
	askMax       = time.Second            // for the ring of one node
)

// find asks all endpoints for the ring and takes the first that is told.
func (c *Client) find(ctx context.Context) error {
	type told struct {
		by   *node
		ring *api.RingResponse
		err  error
	}
	ctx, cancel := context.WithTimeout(ctx, c.opts.Timeout)
	defer cancel()
	answers := make(chan told, len(c.opts.Endpoints))
	for _, addr := range c.opts.Endpoints {
		n := c.node(addr, "")
		c.work.Go(func() {
			m, err := n.askRing(ctx, 0)
			answers <- told{n, m, err}
		})
	}
	var failed []string
	served := true
	for range c.opts.Endpoints {
		a := <-answers
		if a.err == nil {
			v, err := c.viewOf(a.ring)
			if err == nil {
				c.show(v)
				return nil
			}
			a.err = err
		}
		served = served && status.Code(a.err) != codes.Unimplemented
		failed = append(failed, a.by.addr+": "+Plain(a.err).Error())
	}
	if !served {
		c.view.Store(c.endpointsOnly())
		return nil
	}
	return fmt.Errorf("client: no endpoint tells the ring: %s", strings.Join(failed, "; "))
}

// endpointsOnly is the view where nodes do not serve the ring.
func (c *Client) endpointsOnly() *view {
	v := &view{}
	for _, addr := range c.opts.Endpoints {
		v.nodes = append(v.nodes, c.node(addr, ""))
	}
	return v
}

func (n *node) askRing(ctx context.Context, known uint64) (*api.RingResponse, error) {
	client, err := n.clusterClient()
	if err != nil {
		return nil, err
	}
	return client.Ring(ctx, &api.RingRequest{KnownEpoch: known})
}

// refreshSoon has the ring asked for without waiting for its turn.
func (c *Client) refreshSoon() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// refresh keeps the view up to date until the client is closed.
func (c *Client) refresh() {
	tick := time.NewTicker(refreshEvery)
	defer tick.Stop()
	for turn := 0; ; turn++ {
		select {
		case <-tick.C:
		case <-c.kick:
			select {
			case <-time.After(refreshLeast):
			case <-c.ctx.Done():
				return
			}
		case <-c.ctx.Done():
			return
		}
		c.refreshOnce(turn)
	}
}

// refreshOnce asks the nodes in turn, those that seem to answer first, until one tells a ring that is not older.
func (c *Client) refreshOnce(turn int) {
	v := c.view.Load()
	for _, healthy := range []bool{true, false} {
		for i := range v.nodes {
			n := v.nodes[(turn+i)%len(v.nodes)]
			if c.ctx.Err() != nil {
				return
			}
			if healthy != (n.state.Load() != stateDown && !n.suspect.Load()) {
				continue
			}
			if c.refreshFrom(n, v) {
				return
			}
		}
	}
}

// refreshFrom reports whether n told a ring that is not older than v.
func (c *Client) refreshFrom(n *node, v *view) bool {
	ctx, cancel := context.WithTimeout(c.ctx, askMax)
	defer cancel()
	m, err := n.askRing(ctx, v.epoch)
	switch {
	case err != nil:
		return status.Code(err) == codes.Unimplemented && v.ring == nil
	case v.cluster != "" && m.GetClusterId() != v.cluster, m.GetEpoch() < v.epoch:
		return false // another cluster at an old address, or a node that has not heard of the last change
	case m.GetEpoch() == v.epoch && v.ring != nil:
		return true
	}
	next, err := c.viewOf(m)
	if err != nil {
		return false
	}
	c.show(next)
	return true
}
