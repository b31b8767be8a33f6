package cluster

import (
	"context"
	"errors"
	"strings"

	"github.com/cambiumdb/cambium/distrib/client"
)

// OwnTargets are the engines of this module.
func OwnTargets() Targets { return Targets{Own: openCambium} }

// cambium puts as a program does that takes care: with the context of what it has read, or of its own last
// put. Where others wrote too, or it does not know what became of its put, it reads anew. A linearizable put replaces
// what is there.
type cambium struct {
	client *client.Client
	level  client.Level
	keys   []known
	hot    []*client.Item // by client: what it has met last of the key that all change; nil: nothing is known
}

// known is what the writer of a key knows of it.
type known struct {
	context []byte
	behind  bool // it must be read before the next put
}

func openCambium(ctx context.Context, job Job) (Target, error) {
	consistency, err := client.ParseConsistency(job.Consistency)
	if err != nil {
		return nil, err
	}
	c, err := client.Open(ctx, client.Options{Endpoints: job.Endpoints, Timeout: job.Timeout})
	if err != nil {
		return nil, err
	}
	return &cambium{client: c, level: client.Level{Consistency: consistency}, keys: make([]known, job.Keys), hot: make([]*client.Item, job.Clients)}, nil
}

func (c *cambium) Put(ctx context.Context, index int64, key, value []byte) (int, error) {
	if c.level.Consistency == client.Linearizable {
		put, err := c.client.Put(ctx, key, value, client.PutOptions{Level: c.level})
		if err != nil {
			return 0, opError(err)
		}
		return put.Siblings, nil
	}
	k := &c.keys[index]
	if k.behind {
		item, err := c.client.Get(ctx, key, client.GetOptions{Level: c.level})
		if err != nil {
			return 0, opError(err)
		}
		k.context, k.behind = item.Context, false
	}
	put, err := c.client.Put(ctx, key, value, client.PutOptions{Level: c.level, Context: k.context})
	if err != nil {
		k.behind = true
		return 0, opError(err)
	}
	k.context, k.behind = put.Context, put.Siblings > 1
	return put.Siblings, nil
}

// Update implements Swapper: a context says what was met.
func (c *cambium) Update(ctx context.Context, number int, key []byte, change func(old []byte) []byte) (tries int, err error) {
	at := &c.hot[number]
	if *at == nil {
		if *at, err = c.client.Get(ctx, key, client.GetOptions{Level: c.level}); err != nil {
			return 0, opError(err)
		}
	}
	for {
		var old []byte
		if live := (*at).Live(); len(live) > 0 {
			old = live[0].Data
		}
		tries++
		swap, err := c.client.CompareAndSwap(ctx, key, client.Expected{Context: (*at).Context}, change(old), client.SwapOptions{})
		if err != nil {
			*at = nil
			return tries, opError(err)
		}
		if *at = swap.Current; swap.Swapped {
			return tries, nil
		}
	}
}

func (c *cambium) Get(ctx context.Context, key []byte, visit func(value []byte)) error {
	item, err := c.client.Get(ctx, key, client.GetOptions{Level: c.level})
	if err != nil {
		return opError(err)
	}
	for _, v := range item.Live() {
		visit(v.Data)
	}
	return nil
}

func (c *cambium) Close() error {
	c.client.Close()
	return nil
}

func opError(err error) error {
	var e *client.Error
	if !errors.As(err, &e) {
		return err
	}
	return &OpError{Unknown: e.Outcome == client.Unknown, Reason: strings.ToLower(e.Reason), Err: err}
}
