package client

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
)

// Expected is what a compare-and-swap wants to find: a value, or that there is none, or else that nobody has written since a read.
type Expected struct {
	Value   []byte // there is one value, and it is this; an empty one is one, nil is none
	Absent  bool   // there is no value
	Context []byte // what a read gave has seen all that is there; of a key that was never written it is empty
}

// SwapOptions of a compare-and-swap.
type SwapOptions struct {
	TTL     time.Duration // of the value, as in PutOptions
	Op      distrib.OpID  // names the operation; zero: it is given a name
	Retried bool          // an earlier one of that name may have been carried out
}

// Swap is a compare-and-swap that was carried out, or found something else than it expected.
type Swap struct {
	Swapped  bool
	Mismatch error // why not: ErrMismatch, or ErrSiblings where a value was expected and there are several
	Current  *Item // what is there now
	OpID     distrib.OpID
}

// CompareAndSwap changes a key to value if it is as expected. It is linearizable. That it is not as expected is no error: see
// Swap. One that ended UNKNOWN can be tried again with its Op and Retried, and is done once; or Resolve tells.
func (c *Client) CompareAndSwap(ctx context.Context, key []byte, expected Expected, value []byte, o SwapOptions) (*Swap, error) {
	return c.swap(ctx, "compare-and-swap", &api.CompareAndSwapRequest{Key: key, Value: value}, expected, o)
}

// PutIfAbsent stores value if the key has none. Otherwise it is as CompareAndSwap.
func (c *Client) PutIfAbsent(ctx context.Context, key, value []byte, o SwapOptions) (*Swap, error) {
	return c.swap(ctx, "put-if-absent", &api.CompareAndSwapRequest{Key: key, Value: value}, Expected{Absent: true}, o)
}

// DeleteIf removes a key if it is as expected. Otherwise it is as CompareAndSwap; a TTL it cannot have.
func (c *Client) DeleteIf(ctx context.Context, key []byte, expected Expected, o SwapOptions) (*Swap, error) {
	return c.swap(ctx, "delete-if", &api.CompareAndSwapRequest{Key: key, Delete: true}, expected, o)
}

func (c *Client) swap(ctx context.Context, name string, r *api.CompareAndSwapRequest, expected Expected, o SwapOptions) (*Swap, error) {
	err := errors.Join(distrib.CheckKey(r.Key), distrib.CheckValue(r.Value))
	switch {
	case err != nil:
	case o.TTL < 0:
		err = fmt.Errorf("ttl %s: want 0, for ever, or more", o.TTL)
	case o.TTL > 0 && r.Delete:
		err = fmt.Errorf("ttl %s of a delete: want 0", o.TTL)
	}
	if err != nil {
		return nil, invalid(name, r.Key, err)
	}
	o.Op = named(o.Op)
	r.OpId, r.TtlMs = o.Op[:], milliseconds(o.TTL)
	switch {
	case expected.Value != nil:
		r.Expect = &api.CompareAndSwapRequest_ExpectValue{ExpectValue: expected.Value}
	case expected.Absent:
		r.Expect = &api.CompareAndSwapRequest_ExpectAbsent{ExpectAbsent: true}
	default:
		r.Expect = &api.CompareAndSwapRequest_ExpectContext{ExpectContext: expected.Context}
	}
	op := c.newOperation(name, r.Key, requestSwap, responseSwap)
	defer op.free()
	op.op, op.linearizable = o.Op, true
	op.mayBeRetried(swapRetried, o.Retried)
	if op.body, err = (proto.MarshalOptions{}).MarshalAppend(op.body, r); err != nil {
		return nil, invalid(name, r.Key, err)
	}
	body, err := op.finish(ctx, op.begin(ctx))
	if err != nil {
		return nil, err
	}
	swap, err := op.decoder().swap(bytes.Clone(r.Key), body, o.Op)
	if err != nil {
		return nil, op.garbage(err)
	}
	return swap, nil
}
