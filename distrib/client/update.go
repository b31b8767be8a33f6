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
// Where o.Level is Linearizable the put is a compare-and-swap: what change has seen is what is replaced, and nothing comes between. It
// begins anew where another writer did.
//
// Else it is eventual and not atomic: two updates at once may both be seen before they are merged, so change must make
// a value that stands for all siblings, its own earlier ones included, as a union does and a counter does not. The
// siblings are as of now: what has expired is deleted. An error of change ends the update, and is returned.
//
// The error is an ErrSiblings where the last of Tries still met another writer: then the value is stored, beside others. Linearizable it is
// an ErrMismatch, and no value was stored.
func (c *Client) Update(ctx context.Context, key []byte, change func(siblings []distrib.Sibling) ([]byte, error), o UpdateOptions) (*Put, error) {
	if o.Tries <= 0 {
		o.Tries = 10
	}
	if o.Level.Consistency == Linearizable {
		return c.updateLinearizable(ctx, key, change, o)
	}
	for try := 1; ; try++ {
		item, err := c.Get(ctx, key, GetOptions{Level: o.Level})
		if err != nil {
			return nil, fmt.Errorf("update: %w", err)
		}
		value, err := change(item.Seen())
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
		if err := rest(ctx, try); err != nil {
			return put, fmt.Errorf("update %q: %w: %d of them: %w", key, ErrSiblings, put.Siblings, err)
		}
	}
}

// rest waits after a try that met another writer: two that met would go on meeting.
func rest(ctx context.Context, try int) error {
	select {
	case <-time.After(rand.N(time.Duration(try) * 2 * time.Millisecond)):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (c *Client) updateLinearizable(ctx context.Context, key []byte, change func(siblings []distrib.Sibling) ([]byte, error), o UpdateOptions) (*Put, error) {
	item, err := c.Get(ctx, key, GetOptions{Level: o.Level})
	if err != nil {
		return nil, fmt.Errorf("update: %w", err)
	}
	for try := 1; ; try++ {
		value, err := change(item.Seen())
		if err != nil {
			return nil, err
		}
		s, err := c.CompareAndSwap(ctx, key, Expected{Context: item.Context}, value, SwapOptions{TTL: o.TTL})
		if err != nil {
			return nil, fmt.Errorf("update: %w", err)
		}
		if s.Swapped {
			put := &Put{Context: item.Context, Siblings: len(s.Current.Live()), OpID: s.OpID, Linearizable: true, Strays: s.Current.Strays}
			if now := s.Current.Siblings; len(now) == 1 && now[0].Op == s.OpID { // nobody has written since an earlier try has
				put.Context = s.Current.Context
			}
			return put, nil
		}
		item = s.Current
		if try >= o.Tries {
			return nil, fmt.Errorf("update %q: %w after %d tries", key, s.Mismatch, try)
		}
		if err := rest(ctx, try); err != nil {
			return nil, fmt.Errorf("update %q: %w: %w", key, s.Mismatch, err)
		}
	}
}
