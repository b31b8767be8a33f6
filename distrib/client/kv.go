package client

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/cambiumdb/cambium/distrib"
)

// GetOptions of a get.
type GetOptions struct {
	Level  Level
	Repair bool // nodes that lack something must have it before the answer is given
}

// PutOptions of a put.
type PutOptions struct {
	Level Level
	// Context is of what the writer has read; empty: the value becomes a sibling of what is there. Linearizable: what is there must
	// have been read, else it fails with ErrMismatch; empty: the value replaces whatever is there.
	Context []byte
	TTL     time.Duration // how long the value lives, 0: for ever; what is left of a millisecond counts as one
	Op      distrib.OpID  // names the operation; zero: it is given a name
	Retried bool          // an earlier put of that name may have been stored
}

// DeleteOptions of a delete.
type DeleteOptions struct {
	Level   Level
	Context []byte
	Op      distrib.OpID
	Retried bool
}

// Put is a write that has succeeded.
type Put struct {
	Context      []byte  // for the writer's next put of the key
	Siblings     int     // how many values the key has now; more than 1: concurrent to others
	Acknowledged []Place // none: a majority of the key's own nodes, as its register decides
	OpID         distrib.OpID
	Linearizable bool // the key is: its register has ordered the write
	Strays       int  // as of an Item
}

// Fate is what became of an operation.
type Fate uint8

// The fates.
const (
	NotSeen     Fate = iota // no node that answered knows it; it may still come
	Happened                // it is there, or a write that has seen it is
	Overtaken               // too much has been written since to tell
	NotHappened             // it is not there, and never will be: the key's register has seen to it
)

// String is the fate's name.
func (f Fate) String() string {
	return [...]string{"NOT_SEEN", "HAPPENED", "OVERTAKEN", "NOT_HAPPENED"}[f]
}

// Get reads a key. That it is absent is no error: see Item.Found.
func (c *Client) Get(ctx context.Context, key []byte, o GetOptions) (*Item, error) {
	op, err := c.getOperation(key, o)
	if err != nil {
		return nil, err
	}
	defer op.free()
	return op.item(op.finish(ctx, op.begin(ctx)))
}

func (c *Client) getOperation(key []byte, o GetOptions) (*operation, error) {
	if err := errors.Join(distrib.CheckKey(key), o.Level.check()); err != nil {
		return nil, invalid("get", key, err)
	}
	op := c.newOperation("get", key, requestGet, responseGet)
	op.read, op.linearizable = true, o.Level.Consistency == Linearizable
	op.body = appendGet(op.body, key, o)
	return op, nil
}

func (o *operation) item(body []byte, err error) (*Item, error) {
	if err != nil {
		return nil, err
	}
	item, err := o.decoder().item(bytes.Clone(o.key), body)
	if err != nil {
		return nil, o.garbage(err)
	}
	item.decided = o.linearizable
	return item, nil
}

func (o *operation) decoder() decoder { return decoder{o.client.view.Load().names} }

// Put stores a value.
func (c *Client) Put(ctx context.Context, key, value []byte, o PutOptions) (*Put, error) {
	op, err := c.putOperation(key, value, o)
	if err != nil {
		return nil, err
	}
	defer op.free()
	return op.put(op.finish(ctx, op.begin(ctx)))
}

func (c *Client) putOperation(key, value []byte, o PutOptions) (*operation, error) {
	err := errors.Join(distrib.CheckKey(key), distrib.CheckValue(value), o.Level.check())
	if err == nil && o.TTL < 0 {
		err = fmt.Errorf("ttl %s: want 0, for ever, or more", o.TTL)
	}
	if err != nil {
		return nil, invalid("put", key, err)
	}
	o.Op = named(o.Op)
	op := c.newOperation("put", key, requestPut, responsePut)
	op.op, op.linearizable = o.Op, o.Level.Consistency == Linearizable
	op.mayBeRetried(putRetried, o.Retried)
	op.body = appendPut(op.body, key, value, o)
	return op, nil
}

// Delete removes a key: it writes that the key is deleted. Without context that becomes a sibling of what is there.
func (c *Client) Delete(ctx context.Context, key []byte, o DeleteOptions) (*Put, error) {
	if err := errors.Join(distrib.CheckKey(key), o.Level.check()); err != nil {
		return nil, invalid("delete", key, err)
	}
	o.Op = named(o.Op)
	op := c.newOperation("delete", key, requestDelete, responsePut)
	defer op.free()
	op.op, op.linearizable = o.Op, o.Level.Consistency == Linearizable
	op.mayBeRetried(deleteRetried, o.Retried)
	op.body = appendDelete(op.body, key, o)
	return op.put(op.finish(ctx, op.begin(ctx)))
}

func (o *operation) put(body []byte, err error) (*Put, error) {
	if err != nil {
		return nil, err
	}
	put, err := o.decoder().put(body, o.op)
	if err != nil {
		return nil, o.garbage(err)
	}
	return put, nil
}

// ResolveOptions of a Resolve.
type ResolveOptions struct {
	Linearizable bool // the operation was: the key's register tells, and where it did not happen sees to it that it never will
}

// Resolve finds out what became of an operation whose outcome was unknown.
func (c *Client) Resolve(ctx context.Context, key []byte, id distrib.OpID, o ResolveOptions) (Fate, []Place, error) {
	err := distrib.CheckKey(key)
	if err == nil && id == (distrib.OpID{}) {
		err = errors.New("the operation has no name")
	}
	if err != nil {
		return NotSeen, nil, invalid("resolve", key, err)
	}
	op := c.newOperation("resolve", key, requestResolve, responseResolve)
	defer op.free()
	op.read = true
	op.body = appendBytes(appendBytes(op.body, 1, key), 2, id[:])
	if o.Linearizable {
		op.body = appendUint(op.body, 3, 1)
	}
	body, err := op.finish(ctx, op.begin(ctx))
	if err != nil {
		return NotSeen, nil, err
	}
	fate, answered, err := op.decoder().fate(body)
	if err != nil {
		return NotSeen, nil, op.garbage(err)
	}
	return fate, answered, nil
}

// garbage is the error of an answer that is none: of the kind that was asked for, but not readable.
func (o *operation) garbage(err error) *Error {
	e := &Error{Op: o.name, Key: bytes.Clone(o.key), Outcome: Unknown, Reason: reasonUnavailable, OpID: o.op, Linearizable: o.linearizable, Cause: err}
	if o.read {
		e.Outcome = Failed
	}
	e.Message = fmt.Sprintf("%s %q: %s: the answer is not readable: %s", o.name, o.key, e.Outcome, err)
	return e
}

// named returns id, or where it is zero a new one.
func named(id distrib.OpID) distrib.OpID {
	if id == (distrib.OpID{}) {
		binary.LittleEndian.PutUint64(id[:8], rand.Uint64())
		binary.LittleEndian.PutUint64(id[8:], rand.Uint64())
	}
	return id
}
