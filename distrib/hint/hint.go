// Package hint keeps records for nodes that cannot be reached, until they can: hinted handoff (DeCandia et al.,
// "Dynamo", SOSP 2007, section 4.6).
//
//	h, err := hint.Open(hint.Options{Store: store, Node: 1, Births: births, MaxBytes: 1 << 30})
//	reply, err := h.Put(&distrib.PutRequest{For: 3, ...})      // as node 3 would, were it there
//	sent, err := h.Drain(ctx, 3, func(key []byte, record distrib.Record) error { ... })
//
// Hints are records like any other, each target's behind a prefix of its own, so what is kept of one key for
// one target is one record, whatever happens to it meanwhile, and to hand it over is to merge it. They survive
// restarts. They are bounded when they come, by bytes and age: what does not fit is refused, and the coordinator asks
// the next node; what was taken is kept until its target has it.
//
// All methods may be called by many goroutines at once.
package hint

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/replica"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// Options of Hints. Store, Node and Births are required.
type Options struct {
	Store  distrib.Store
	Node   uint64 // the node that keeps them
	Births *replica.Births
	// MaxBytes bounds keys and values kept for one target; 0 is 1 GiB.
	MaxBytes int64
	// MaxAge is for how long hints are taken for a target that has not got the first of them. 0 is 7 days: a broken
	// machine is repaired or replaced by then, and comparing its ranges, which what is refused leads to, costs less than
	// handing over all that was written since.
	MaxAge time.Duration
	// Pace is called before so many bytes of keys and values are handed over, and may wait; its error ends the drain.
	// nil: as fast as it goes.
	Pace func(ctx context.Context, bytes int) error
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
	users  int   // guarded by Hints.mu: who uses it holds it
	drain  sync.Mutex
	// since is when the oldest of what is kept came, or earlier, in milliseconds since 1970. It says something where
	// something is kept.
	since atomic.Int64
	stats counters
}

func (t *target) bytes() int64 { return t.opened + t.Grown() }

// counters count records since the start.
type counters struct{ kept, handedOver, refused atomic.Int64 }

// Open finds what a node keeps.
func Open(opts Options) (*Hints, error) {
	if opts.MaxBytes == 0 {
		opts.MaxBytes = 1 << 30
	}
	if opts.MaxAge == 0 {
		opts.MaxAge = 7 * 24 * time.Hour
	}
	if opts.Pace == nil {
		opts.Pace = func(context.Context, int) error { return nil }
	}
	h := &Hints{opts: opts, targets: map[uint64]*target{}}
	end := []byte{byte(distrib.SpaceHint) + 1}
	for from := []byte{byte(distrib.SpaceHint)}; from != nil; {
		id, err := firstTarget(opts.Store, from, end)
		if err != nil || id == 0 {
			return h, err
		}
		t := h.take(id)
		defer h.give(t)
		if err := t.Scan(0, 1<<64-1, func(key []byte, head distrib.Head) error {
			t.opened += t.SizeOf(key, head)
			if ms := writtenAt(head.Record); t.since.Load() == 0 || ms < t.since.Load() {
				t.since.Store(ms)
			}
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

// take is what is kept for a node. It is not forgotten until give.
func (h *Hints) take(id uint64) *target {
	h.mu.Lock()
	defer h.mu.Unlock()
	t := h.targets[id]
	if t == nil {
		t = &target{Replica: replica.New(replica.Options{Store: h.opts.Store, Prefix: distrib.HintPrefix(id), Node: h.opts.Node, Births: h.opts.Births})}
		h.targets[id] = t
	}
	t.users++
	return t
}

func (h *Hints) give(t *target) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t.users--
}

// Forget drops the nodes that are gone and for which nothing is kept any more.
func (h *Hints) Forget(gone func(node uint64) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, t := range h.targets {
		if t.users == 0 && t.bytes() <= 0 && gone(id) {
			delete(h.targets, id)
		}
	}
}

// writtenAt is when the first version of a record was written, by the clock of its coordinator: when it came is not
// kept. Where no version says it is now.
func writtenAt(r distrib.Record) int64 {
	first := time.Now().UnixMilli()
	for i := range r {
		if ms := int64(r[i].Value.Time >> 16); ms > 0 {
			first = min(first, ms)
		}
	}
	return first
}

// admit refuses bytes that do not fit beside what is kept for a target, and all where that has waited for too long.
func (h *Hints) admit(t *target, id uint64, bytes int) error {
	now, have := time.Now(), t.bytes()
	if have <= 0 {
		t.since.Store(now.UnixMilli())
	}
	var err error
	switch age := now.Sub(time.UnixMilli(t.since.Load())); {
	case have+int64(bytes) > h.opts.MaxBytes:
		err = fmt.Errorf("hints for node %d hold %d bytes, %d more exceed the limit of %d: %w", id, have, bytes, h.opts.MaxBytes, distrib.ErrRefused)
	case age > h.opts.MaxAge:
		err = fmt.Errorf("hints for node %d have waited for %s, the limit is %s: replace it, or compare its ranges when it is back: %w", id, age.Round(time.Minute), h.opts.MaxAge, distrib.ErrRefused)
	default:
		return nil
	}
	t.stats.refused.Add(1)
	return err
}

// Put stores a write first, for node r.For.
func (h *Hints) Put(r *distrib.PutRequest) (*distrib.PutReply, error) {
	t := h.take(r.For)
	defer h.give(t)
	if err := h.admit(t, r.For, len(r.Key)+len(r.Value.Data)); err != nil {
		return nil, err
	}
	w, err := t.Put(r.Key, replica.Put{Op: r.Op, Past: r.Past, Value: r.Value, Sync: r.Sync, Retried: r.Retried})
	if err != nil {
		return nil, err
	}
	t.stats.kept.Add(1)
	return &distrib.PutReply{Sibling: w.Sibling, Siblings: w.Siblings}, nil
}

// Merge adds versions to what is kept for node r.For.
func (h *Hints) Merge(r *distrib.MergeRequest) error {
	t := h.take(r.For)
	defer h.give(t)
	bytes := 0
	for _, s := range r.Record {
		bytes += len(r.Key) + len(s.Value.Data)
	}
	if err := h.admit(t, r.For, bytes); err != nil {
		return err
	}
	changed, err := t.Merge(r.Key, r.Record, r.Sync)
	if changed {
		t.stats.kept.Add(1)
	}
	return err
}

// Read returns what is kept of a key for node r.For.
func (h *Hints) Read(r *distrib.ReadRequest) (distrib.Record, error) {
	t := h.take(r.For)
	defer h.give(t)
	return t.Read(r.Key)
}

// Kept is what is kept for one node.
type Kept struct {
	Target uint64
	Bytes  int64     // of keys and values
	Oldest time.Time // when the oldest came, or after a restart was written
}

// Kept returns for whom something is kept, by target.
func (h *Hints) Kept() (list []Kept) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, t := range h.targets {
		if n := t.bytes(); n > 0 {
			list = append(list, Kept{id, n, time.UnixMilli(t.since.Load())})
		}
	}
	slices.SortFunc(list, func(a, b Kept) int { return cmp.Compare(a.Target, b.Target) })
	return list
}

// Counts are of records, since the start, for one node.
type Counts struct {
	Target                    uint64
	Kept, HandedOver, Refused int64
}

// Counts returns what was done for each node, by target.
func (h *Hints) Counts() (list []Counts) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, t := range h.targets {
		list = append(list, Counts{id, t.stats.kept.Load(), t.stats.handedOver.Load(), t.stats.refused.Load()})
	}
	slices.SortFunc(list, func(a, b Counts) int { return cmp.Compare(a.Target, b.Target) })
	return list
}

// Drain hands what is kept for a node to send, by token, and forgets each record once send has returned nil, unless
// it has changed meanwhile. It ends at the first error, or with ctx; another call goes on from there, since
// what was handed over is gone. One drain of a target runs at a time.
func (h *Hints) Drain(ctx context.Context, id uint64, send func(key []byte, record distrib.Record) error) (sent int, err error) {
	t := h.take(id)
	defer h.give(t)
	t.drain.Lock()
	defer t.drain.Unlock()
	began := time.Now().UnixMilli() // what is left at the end has come since
	for first, more := uint64(0), true; more; {
		// A few keys at a time: a scan that waits for the target would hold what the store has overwritten since.
		list, err := t.Keys(&distrib.KeysRequest{First: first, Last: 1<<64 - 1, Limit: drainKeys})
		if err != nil {
			return sent, err
		}
		for _, k := range list {
			if err := h.hand(ctx, t, id, k.Key, send); err != nil {
				return sent, err
			}
			sent++
			first = ring.TokenOf(k.Key).Hi + 1
		}
		more = len(list) == drainKeys && first > 0
	}
	t.since.Store(max(began, t.since.Load()))
	return sent, nil
}

// drainKeys is how many keys a drain lists at a time.
const drainKeys = 256

// hand hands one record over and forgets it.
func (h *Hints) hand(ctx context.Context, t *target, id uint64, key []byte, send func(key []byte, record distrib.Record) error) error {
	record, err := t.Read(key)
	if err != nil {
		return err
	}
	bytes := len(key)
	for i := range record {
		bytes += len(record[i].Value.Data)
	}
	if err = ctx.Err(); err == nil {
		err = h.opts.Pace(ctx, bytes)
	}
	if err != nil {
		return err
	}
	if err := send(key, record); err != nil {
		return fmt.Errorf("hint of %q for node %d: %w", key, id, err)
	}
	t.stats.handedOver.Add(1)
	_, err = t.Remove(key, vclock.Dots(record), distrib.SyncLater)
	return err
}
