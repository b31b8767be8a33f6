package client

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cambiumdb/cambium/distrib"
)

// UpdateOptions of an update.
type UpdateOptions struct {
	Level Level         // of the reads and the writes
	TTL   time.Duration // of what is written
	Tries int           // how often it is read and written at most. Default 10
}

// Update reads a key, has change make a value of its siblings, and puts that with their context. Where the put met
// another writer, so that there are several siblings again, it begins anew, with siblings that hold its own last
// value.
//
// It is eventual and not atomic: two updates at once may both be seen before they are merged, so change must make
// a value that stands for all siblings, its own earlier ones included, as a union does and a counter does not. The
// siblings are as of now: what has expired is deleted. An error of change ends the update, and is returned.
//
// The error is an ErrSiblings where the last of Tries still met another writer: then the value is stored, beside others.
func (c *Client) Update(ctx context.Context, key []byte, change func(siblings []distrib.Sibling) ([]byte, error), o UpdateOptions) (*Put, error) {
	if o.Tries <= 0 {
		o.Tries = 10
	}
	for try := 1; ; try++ {
		item, err := c.Get(ctx, key, GetOptions{Level: o.Level})
		if err != nil {
			return nil, fmt.Errorf("update: %w", err)
		}
		siblings, _ := distrib.AsOf(item.Siblings, time.Now().UnixMilli())
		value, err := change(siblings)
		if err != nil {
			return nil, err
		}
		put, err := c.Put(ctx, key, value, PutOptions{Level: o.Level, Context: item.Context, TTL: o.TTL})
		if err != nil {
			return nil, fmt.Errorf("update: %w", err)
		}
		if put.Siblings <= 1 {
			return put, nil
		}
		if try >= o.Tries {
			return put, fmt.Errorf("update %q: %w: %d of them after %d tries", key, ErrSiblings, put.Siblings, try)
		}
		select { // two that met would go on meeting
		case <-time.After(rand.N(time.Duration(try) * 2 * time.Millisecond)):
		case <-ctx.Done():
			return put, fmt.Errorf("update %q: %w: %d of them: %w", key, ErrSiblings, put.Siblings, ctx.Err())
		}
	}
}
