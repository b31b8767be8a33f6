// Package hint keeps records for nodes that cannot be reached, until they can: hinted handoff (DeCandia et al.,
// "Dynamo", SOSP 2007, section 4.6).
//
//	h, err := hint.Open(hint.Options{Store: store, Node: 1, Births: births, MaxBytes: 1 << 30})
//	reply, err := h.Put(&distrib.PutRequest{For: 3, ...})      // as node 3 would, were it there
//	sent, err := h.Drain(ctx, 3, func(key []byte, record distrib.Record) error { ... })
//
// Hints are records like any other, each target's behind a prefix of its own, so what is kept of one key for
// one target is one record, whatever happens to it meanwhile, and to hand it over is to merge it. They survive
// restarts. They are bounded when they come: what does not fit is refused, and the coordinator asks the next
// node; what was taken is kept until its target has it.
//
// All methods may be called by many goroutines at once.
package hint

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/replica"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// Options of Hints. All but MaxBytes are required.
type Options struct {
	Store  distrib.Store
	Node   uint64 // the node that keeps them
	Births *replica.Births
	// MaxBytes bounds keys and values kept for one target; 0 is 1 GiB.
	MaxBytes int64
}

// Hints are what a node keeps for others.
type Hints struct {
	opts Options

	mu      sync.Mutex // guards targets, not what is in them
	targets map[uint64]*target
}

// target is what is kept for one node.
type target struct {
	*replica.Replica
	opened int64 // bytes that were there when it was opened
	drain  sync.Mutex
}

func (t *target) bytes() int64 { return t.opened + t.Grown() }

// Open finds what a node keeps.
func Open(opts Options) (*Hints, error) {
	if opts.MaxBytes == 0 {
		opts.MaxBytes = 1 << 30
	}
	h := &Hints{opts: opts, targets: map[uint64]*target{}}
	end := []byte{byte(distrib.SpaceHint) + 1}
	for from := []byte{byte(distrib.SpaceHint)}; from != nil; {
		id, err := firstTarget(opts.Store, from, end)
		if err != nil || id == 0 {
			return h, err
		}
		t := h.target(id)
		if err := t.Scan(0, 1<<64-1, func(key []byte, head distrib.Head) error {
			t.opened += t.SizeOf(key, head)
			return nil
		}); err != nil {
			return nil, fmt.Errorf("hints for node %d: %w", id, err)
		}
		if from = nil; id+1 != 0 {
			from = distrib.HintPrefix(id + 1)
		}
	}
	return h, nil
}

// firstTarget is the lowest node for which there is a hint at or behind from; 0 if there is none.
func firstTarget(s distrib.Store, from, end []byte) (id uint64, err error) {
	found := errors.New("found")
	err = s.Scan(from, end, func(key, _ []byte) error {
		if len(key) < 9 {
			return fmt.Errorf("store key %x is none of a hint", key)
		}
		id = binary.BigEndian.Uint64(key[1:])
		return found
	})
	if errors.Is(err, found) {
		err = nil
	}
	return id, err
}

func (h *Hints) target(id uint64) *target {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.targets[id]
	if t == nil {
		t = &target{Replica: replica.New(replica.Options{Store: h.opts.Store, Prefix: distrib.HintPrefix(id), Node: h.opts.Node, Births: h.opts.Births})}
		h.targets[id] = t
	}
	return t
}

// admit refuses bytes that do not fit beside what is kept for a target.
func (h *Hints) admit(t *target, id uint64, bytes int) error {
	if have := t.bytes(); have+int64(bytes) > h.opts.MaxBytes {
		return fmt.Errorf("hints for node %d hold %d bytes, %d more exceed the limit of %d: %w", id, have, bytes, h.opts.MaxBytes, distrib.ErrRefused)
	}
	return nil
}

// Put stores a write first, for node r.For.
func (h *Hints) Put(r *distrib.PutRequest) (*distrib.PutReply, error) {
	t := h.target(r.For)
	if err := h.admit(t, r.For, len(r.Key)+len(r.Value.Data)); err != nil {
		return nil, err
	}
	w, err := t.Put(r.Key, replica.Put{Op: r.Op, Past: r.Past, Value: r.Value, Sync: r.Sync})
	if err != nil {
		return nil, err
	}
	return &distrib.PutReply{Sibling: w.Sibling, Siblings: w.Siblings}, nil
}

// Merge adds versions to what is kept for node r.For.
func (h *Hints) Merge(r *distrib.MergeRequest) error {
	t := h.target(r.For)
	bytes := 0
	for _, s := range r.Record {
		bytes += len(r.Key) + len(s.Value.Data)
	}
	if err := h.admit(t, r.For, bytes); err != nil {
		return err
	}
	_, err := t.Merge(r.Key, r.Record, r.Sync)
	return err
}

// Read returns what is kept of a key for node r.For.
func (h *Hints) Read(r *distrib.ReadRequest) (distrib.Record, error) {
	return h.target(r.For).Read(r.Key)
}

// Kept is what is kept for one node.
type Kept struct {
	Target uint64
	Bytes  int64 // of keys and values
}

// Kept returns for whom something is kept, by target.
func (h *Hints) Kept() (list []Kept) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, t := range h.targets {
		if n := t.bytes(); n > 0 {
			list = append(list, Kept{id, n})
		}
	}
	slices.SortFunc(list, func(a, b Kept) int {
		if a.Target < b.Target {
			return -1
		}
		return 1
	})
	return list
}

// Drain hands what is kept for a node to send, by token, and forgets each record once send has returned nil, unless
// it has changed meanwhile. It ends at the first error, or with ctx; another call goes on from there, since
// what was handed over is gone. One drain of a target runs at a time.
func (h *Hints) Drain(ctx context.Context, id uint64, send func(key []byte, record distrib.Record) error) (sent int, err error) {
	t := h.target(id)
	t.drain.Lock()
	defer t.drain.Unlock()
	for first, more := uint64(0), true; more; {
		// A few keys at a time: a scan that waits for the target would hold what the store has overwritten since.
		list, err := t.Keys(&distrib.KeysRequest{First: first, Last: 1<<64 - 1, Limit: drainKeys})
		if err != nil {
			return sent, err
		}
		for _, k := range list {
			if err := t.hand(ctx, id, k.Key, send); err != nil {
				return sent, err
			}
			sent++
			first = ring.TokenOf(k.Key).Hi + 1
		}
		more = len(list) == drainKeys && first > 0
	}
	return sent, nil
}

// drainKeys is how many keys a drain lists at a time.
const drainKeys = 256

// hand hands one record over and forgets it.
func (t *target) hand(ctx context.Context, id uint64, key []byte, send func(key []byte, record distrib.Record) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	record, err := t.Read(key)
	if err != nil {
		return err
	}
	if err := send(key, record); err != nil {
		return fmt.Errorf("hint of %q for node %d: %w", key, id, err)
	}
	_, err = t.Remove(key, vclock.Dots(record), distrib.SyncLater)
	return err
}
