// Package antientropy finds and mends what replicas hold differently.
//
//	dirty, err := antientropy.OpenDirty(store)   // what may differ, kept through restarts
//	dirty.Mark(token)
//	report, err := antientropy.Exchange(ctx, transport, nodes, first, last, antientropy.Options{})
//
// Exchange divides a range of tokens until the parts that differ are small, lists the keys of these, and has
// every node merge what any of them holds. It changes no version and needs no clock: a key that is written
// meanwhile is compared as it is found. Once it has ended without an error, each node has all versions that any of them
// held when it began, or such as have seen them.
package antientropy

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

const (
	// fanOut is into how many parts a range is divided at a time.
	fanOut = 64
	// leafKeys is of how many keys the parts are whose keys are listed.
	leafKeys = 128
	// abreast is how many keys are given to nodes at the same time.
	abreast = 16
)

// Options of an exchange. The zero value knows no limits, and what nodes get is durable before the next is sent.
type Options struct {
	Sync distrib.Sync // of what nodes get
	// Pace is called before so many bytes of keys and values are sent to a node, and may wait; its error ends the
	// exchange. It may be called by several goroutines at once, as Sent. nil: nothing waits.
	Pace func(ctx context.Context, bytes int) error
	// Sent hears what a node got. nil: nobody listens.
	Sent func(node uint64, bytes int)
}

// Report is what an exchange did.
type Report struct {
	Compared int   // parts
	Listed   int   // keys
	Sent     int   // records, each to a node that lacked something of it
	Bytes    int64 // of these, keys and values
}

// Exchange makes nodes, which hold a range of tokens, hold the same of it. first and last are top halves of
// tokens, both included. All nodes must answer; else it ends with an error, and what was sent stands.
func Exchange(ctx context.Context, t distrib.Transport, nodes []uint64, first, last uint64, o Options) (Report, error) {
	if o.Pace == nil {
		o.Pace = func(context.Context, int) error { return nil }
	}
	if o.Sent == nil {
		o.Sent = func(uint64, int) {}
	}
	x := &exchange{t: t, nodes: nodes, opts: o}
	err := x.compare(ctx, first, last)
	if err != nil {
		err = fmt.Errorf("compare tokens %016x to %016x: %w", first, last, err)
	}
	return x.report, err
}

type exchange struct {
	t     distrib.Transport
	nodes []uint64
	opts  Options

	mu     sync.Mutex // guards report where keys are given side by side
	report Report
}

// compare divides a range and goes on with the parts that differ.
func (x *exchange) compare(ctx context.Context, first, last uint64) error {
	all := make([][]distrib.Part, len(x.nodes))
	if err := x.each(ctx, func(ctx context.Context, i int, node uint64) (err error) {
		all[i], err = x.t.Parts(ctx, node, &distrib.PartsRequest{First: first, Last: last, Parts: fanOut})
		return err
	}); err != nil {
		return err
	}
	var differ []differing
	total := 0
	for p, part := range all[0] {
		x.report.Compared++
		keys, same := 0, true
		for i, parts := range all {
			if len(parts) != len(all[0]) || parts[p].First != part.First || parts[p].Last != part.Last {
				return fmt.Errorf("node %d divides the range in another way than node %d", x.nodes[i], x.nodes[0])
			}
			keys = max(keys, parts[p].Keys)
			same = same && parts[p].Keys == part.Keys && parts[p].Sum == part.Sum
		}
		if total += keys; !same {
			differ = append(differ, differing{part.First, part.Last, keys})
		}
	}
	if len(differ) > 1 && total <= leafKeys { // all at once
		differ = []differing{{first, last, total}}
	}
	for _, d := range differ {
		next := x.compare
		if d.keys <= leafKeys || d.first == d.last {
			next = x.mend
		}
		if err := next(ctx, d.first, d.last); err != nil {
			return err
		}
	}
	return nil
}

// differing is a part that is not the same everywhere, of which a node has so many keys at most.
type differing struct {
	first, last uint64
	keys        int
}

// each calls f for every node, side by side.
func (x *exchange) each(ctx context.Context, f func(ctx context.Context, i int, node uint64) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for i, node := range x.nodes {
		g.Go(func() error {
			if err := f(ctx, i, node); err != nil {
				return fmt.Errorf("node %d: %w", node, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// mend lists the keys of a small range and merges those that differ.
func (x *exchange) mend(ctx context.Context, first, last uint64) error {
	lists := make([][]distrib.KeyDots, len(x.nodes))
	if err := x.each(ctx, func(ctx context.Context, i int, node uint64) (err error) {
		lists[i], err = x.list(ctx, node, first, last)
		return err
	}); err != nil {
		return err
	}
	held := map[string][][]vclock.Dot{} // by key, what each node holds
	var keys []string
	for i, list := range lists {
		for _, k := range list {
			dots := held[string(k.Key)]
			if dots == nil {
				dots = make([][]vclock.Dot, len(x.nodes))
				keys = append(keys, string(k.Key))
			}
			dots[i] = k.Dots
			held[string(k.Key)] = dots
		}
	}
	x.report.Listed += len(keys)
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(abreast)
	for _, key := range keys {
		dots := held[key]
		if !slices.ContainsFunc(dots, func(d []vclock.Dot) bool { return !slices.Equal(d, dots[0]) }) {
			continue
		}
		g.Go(func() error {
			if err := x.merge(ctx, []byte(key), dots); err != nil {
				return fmt.Errorf("key %q: %w", key, err)
			}
			return nil
		})
	}
	return g.Wait()
}

// list is what a node holds of a range, which may have grown since it was counted.
func (x *exchange) list(ctx context.Context, node, first, last uint64) (all []distrib.KeyDots, err error) {
	q := &distrib.KeysRequest{First: first, Last: last, Limit: 16 * leafKeys}
	for {
		list, err := x.t.Keys(ctx, node, q)
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
		if len(list) < q.Limit {
			return all, nil
		}
		if q.First = ring.TokenOf(list[len(list)-1].Key).Hi + 1; q.First == 0 || q.First > last {
			return all, nil
		}
	}
}

// merge gives every node what it lacks of a key, of which they hold dots. Of those that hold the same one is asked for
// the record.
func (x *exchange) merge(ctx context.Context, key []byte, dots [][]vclock.Dot) error {
	records := make([]distrib.Record, len(x.nodes))
	if err := x.each(ctx, func(ctx context.Context, i int, node uint64) error {
		if len(dots[i]) == 0 || slices.ContainsFunc(dots[:i], func(d []vclock.Dot) bool { return slices.Equal(d, dots[i]) }) {
			return nil
		}
		reply, err := x.t.Read(ctx, node, &distrib.ReadRequest{Key: key, Partial: true})
		if err == nil {
			records[i] = reply.Record
		}
		return err
	}); err != nil {
		return err
	}
	var all distrib.Record
	for _, r := range records {
		all = vclock.Merge(all, r)
	}
	bytes := distrib.KeyDots{Key: key, Record: all}.Bytes()
	return x.each(ctx, func(ctx context.Context, i int, node uint64) error {
		if slices.Equal(dots[i], vclock.Dots(all)) {
			return nil
		}
		err := x.opts.Pace(ctx, bytes)
		if err == nil {
			err = x.t.Merge(ctx, node, &distrib.MergeRequest{Key: key, Record: all, Sync: x.opts.Sync})
		}
		if err != nil {
			return err
		}
		x.opts.Sent(node, bytes)
		x.mu.Lock()
		defer x.mu.Unlock()
		x.report.Sent++
		x.report.Bytes += int64(bytes)
		return nil
	})
}
