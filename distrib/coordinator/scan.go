package coordinator

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
	"github.com/cambiumdb/cambium/distrib/vclock"
)

// ScanOptions of a scan. The zero value is all of the ring.
type ScanOptions struct {
	First, Last uint64 // top halves of tokens, both included; a Last of 0 is the end of the ring
	After       []byte // go on behind this key, in the order of tokens; empty: begin at First
	R           int    // how many of each key's nodes must answer, 1 to N, or All; 0 is a majority of N
	Now         int64  // milliseconds since 1970: keys that are absent by then are left out; 0: none is
	PageKeys    int    // how many keys a node is asked for at a time; 0 is 256
}

// scanBytes bounds the values of one answer.
const scanBytes = 1 << 20

// Scan calls visit for every key of a range of tokens, each once, by token and then by key, with what R of its nodes
// hold of it. What is written meanwhile may be left out; what stands only as a hint is found once that was handed
// over. It ends at the first error of visit and returns it.
func (c *Coordinator) Scan(ctx context.Context, o ScanOptions, visit func(key []byte, r distrib.Record) error) error {
	if o.Last == 0 {
		o.Last = math.MaxUint64
	}
	if o.PageKeys == 0 {
		o.PageKeys = 256
	}
	after := entry{key: o.After, token: ring.TokenOf(o.After)}
	if len(o.After) > 0 {
		o.First = max(o.First, after.token.Hi)
	}
	last := ring.Token{Hi: o.Last, Lo: math.MaxUint64}
	slow := map[uint64]bool{}
	var of *ring.Ring // that list is the stretches of
	var list []ring.Stretch
	for next, more := (ring.Token{Hi: o.First}), true; more; {
		// A view for each page: the caller may take any time for what it is given.
		view, release := c.opts.View()
		if r := view.Reads(); r != of {
			of, list = r, r.Stretches()
		}
		i, _ := slices.BinarySearchFunc(list, next, func(s ring.Stretch, t ring.Token) int { return s.Last.Compare(t) })
		nodes, end := list[i].Nodes, least(list[i].Last, last)
		need, err := quorum(o.R, len(nodes), "R")
		if err != nil {
			release()
			return fmt.Errorf("scan: %w", err)
		}
		page, covered, err := c.page(ctx, nodes, need, &distrib.KeysRequest{First: next.Hi, Last: end.Hi, Limit: o.PageKeys, Records: true, Bytes: scanBytes}, slow)
		release()
		if err != nil {
			return fmt.Errorf("scan of tokens %016x to %016x: %w", next.Hi, end.Hi, err)
		}
		end = least(end, ring.Token{Hi: covered, Lo: math.MaxUint64})
		for _, e := range page {
			if e.token.Compare(next) < 0 || e.token.Compare(end) > 0 || len(o.After) > 0 && e.compare(after) <= 0 {
				continue
			}
			if _, live := distrib.AsOf(e.record, o.Now); o.Now != 0 && live == 0 {
				continue
			}
			if err := visit(e.key, e.record); err != nil {
				return err
			}
		}
		next, more = end.Next(), end.Compare(last) < 0
	}
	return nil
}

func least(t, u ring.Token) ring.Token {
	if t.Compare(u) <= 0 {
		return t
	}
	return u
}

// entry is a key that a scan has found.
type entry struct {
	key    []byte
	token  ring.Token
	record distrib.Record
}

// compare orders entries as a scan gives them.
func (e entry) compare(f entry) int {
	return cmp.Or(e.token.Compare(f.token), bytes.Compare(e.key, f.key))
}

// page asks need of the nodes of a stretch for the keys that come next, and merges what they hold up to the lowest token
// that all their answers reach: covered. slow are nodes that kept an earlier page waiting; they are asked after
// others.
func (c *Coordinator) page(ctx context.Context, ids []uint64, need int, q *distrib.KeysRequest, slow map[uint64]bool) (page []entry, covered uint64, err error) {
	nodes := make([]ring.Seat, len(ids))
	for i, id := range ids {
		nodes[i].Node = id
	}
	reachable := c.byLiveness(nodes)
	slices.SortStableFunc(nodes[:reachable], func(a, b ring.Seat) int {
		switch {
		case slow[a.Node] == slow[b.Node]:
			return 0
		case slow[a.Node]:
			return 1
		}
		return -1
	})
	answers, err := c.askKeys(ctx, nodes, need, q, slow)
	if err != nil {
		return nil, 0, err
	}
	covered = q.Last
	for _, list := range answers {
		size := 0
		for _, k := range list {
			size += k.Bytes()
		}
		if len(list) > 0 && q.Full(len(list), size) {
			covered = min(covered, ring.TokenOf(list[len(list)-1].Key).Hi)
		}
	}
	merged := map[string]distrib.Record{}
	for _, list := range answers {
		for _, k := range list {
			merged[string(k.Key)] = vclock.Merge(merged[string(k.Key)], k.Record)
		}
	}
	for key, record := range merged {
		e := entry{key: []byte(key), record: record}
		if e.token = ring.TokenOf(e.key); e.token.Hi <= covered {
			page = append(page, e)
		}
	}
	slices.SortFunc(page, entry.compare)
	return page, covered, nil
}

// askKeys asks nodes, the first need of them at once and another for each that fails or is slow, until need have
// answered. It adds to slow those that were.
func (c *Coordinator) askKeys(ctx context.Context, nodes []ring.Seat, need int, q *distrib.KeysRequest, slow map[uint64]bool) (answers [][]distrib.KeyDots, err error) {
	type answer struct {
		node int
		list []distrib.KeyDots
		took time.Duration
		err  error
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	came := make(chan answer, len(nodes))
	due := make([]time.Time, 0, len(nodes)) // when another is asked, of each node that was; zero: that has happened
	timer := time.NewTimer(c.opts.Patience)
	defer timer.Stop()
	ask := func() {
		i, began := len(due), time.Now()
		if i == len(nodes) {
			return
		}
		node := nodes[i].Node
		due = append(due, began.Add(patience(c.latencies.of(node).scan99.get(), 0, c.opts.Patience)))
		c.work.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, c.opts.Patience)
			defer cancel()
			list, err := c.opts.Transport.Keys(ctx, node, q)
			c.observe(node, err)
			came <- answer{i, list, time.Since(began), err}
		})
	}
	// replace asks another node in the place of i.
	replace := func(i int) {
		if !due[i].IsZero() {
			due[i] = time.Time{}
			ask()
		}
	}
	for range need {
		ask()
	}
	var causes []error
	for ended := 0; len(answers) < need; {
		if ended == len(due) { // nobody is left
			return nil, errors.Join(causes...)
		}
		next := slices.MinFunc(due, func(a, b time.Time) int { return sooner(a, b) })
		if !next.IsZero() {
			timer.Reset(time.Until(next))
		}
		select {
		case a := <-came: // each ends with its context
			ended++
			node := nodes[a.node].Node
			if a.err == nil {
				c.latencies.of(node).scan99.add(a.took, 0.99)
				answers = append(answers, a.list)
				due[a.node] = time.Time{}
				continue
			}
			causes = append(causes, fmt.Errorf("%s: %w", c.opts.Name(node), a.err))
			if ctx.Err() != nil {
				return nil, errors.Join(causes...)
			}
			if errors.Is(a.err, context.DeadlineExceeded) {
				c.silent([]uint64{node})
			}
			replace(a.node)
		case now := <-timer.C:
			for i := range due {
				if !due[i].IsZero() && !due[i].After(now) {
					slow[nodes[i].Node] = true
					replace(i)
				}
			}
		}
	}
	return answers, nil
}

// sooner orders times, the zero one last.
func sooner(a, b time.Time) int {
	if a.IsZero() || b.IsZero() {
		return cmp.Compare(b.Unix(), a.Unix())
	}
	return a.Compare(b)
}
