package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
)

// until asks what is missing again and again, until nothing is. The error of ctx says what still was.
func until(ctx context.Context, missing func(context.Context) []string) error {
	for {
		what := missing(ctx)
		if len(what) == 0 {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w: %s", context.Cause(ctx), strings.Join(what, "; "))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// recovered says what keeps the cluster from bearing the next fault: all must see each other, and all reads count.
func (c *cluster) recovered(ctx context.Context) (missing []string) {
	for _, n := range c.nodes {
		status, err := n.status(ctx)
		if err != nil {
			missing = append(missing, fmt.Sprintf("%s: %v", n.name, err))
			continue
		}
		if len(status.Members) != len(c.nodes) {
			missing = append(missing, fmt.Sprintf("%s knows %d members, want %d", n.name, len(status.Members), len(c.nodes)))
		}
		for _, m := range status.Members {
			if m.State != "up" || m.Member.Name == n.name && m.Reason != "" {
				missing = append(missing, fmt.Sprintf("%s says that %s is %s: %s", n.name, m.Member.Name, m.State, m.Reason))
			}
		}
	}
	return missing
}

// healed says what nodes still owe each other.
func (c *cluster) healed(ctx context.Context) []string {
	missing := c.recovered(ctx)
	for _, n := range c.nodes {
		status, err := n.status(ctx)
		if err != nil {
			return append(missing, fmt.Sprintf("%s: %v", n.name, err))
		}
		if status.DirtySlots > 0 {
			missing = append(missing, fmt.Sprintf("%s has %d dirty slots", n.name, status.DirtySlots))
		}
		for _, k := range status.Hints {
			missing = append(missing, fmt.Sprintf("%s keeps %d bytes for %s, %s", k.Node, k.Bytes, k.Target, k.State))
		}
	}
	return missing
}

// final reads each key from each of its nodes alone, and then from all together. It returns what they have, and where
// they do not have the same.
func (c *cluster) final(ctx context.Context, keys int) (final Final, different []string, err error) {
	final = Final{}
	first := api.NewClusterClient(c.nodes[0].conn)
	for i := range keys {
		key := fmt.Sprintf("key%d", i)
		where, err := first.Where(ctx, &api.WhereRequest{Key: []byte(key)})
		if err != nil {
			return nil, nil, err
		}
		var held []string
		for _, owner := range where.Owners {
			at := slices.IndexFunc(c.nodes, func(n *node) bool { return n.name == owner.Name })
			siblings, err := c.nodes[at].read(ctx, key, &api.Level{Nodes: 1, Strict: true})
			if err != nil {
				return nil, nil, err
			}
			held = append(held, owner.Name+" "+describe(siblings))
		}
		siblings, err := c.nodes[0].read(ctx, key, &api.Level{Consistency: api.Consistency_ALL, Strict: true})
		if err != nil {
			return nil, nil, err
		}
		for _, s := range siblings {
			final[key] = append(final[key], distrib.OpID(s.OpId))
		}
		held = append(held, "all "+describe(siblings))
		if slices.ContainsFunc(held, func(s string) bool { return after(s) != after(held[0]) }) {
			different = append(different, key+": "+strings.Join(held, ", "))
		}
	}
	return final, different, nil
}

func after(s string) string {
	_, rest, _ := strings.Cut(s, " ")
	return rest
}

func (n *node) read(ctx context.Context, key string, level *api.Level) ([]*api.Sibling, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	r, err := api.NewKVClient(n.conn).Get(ctx, &api.GetRequest{Key: []byte(key), Level: level}, grpc.WaitForReady(true))
	if err != nil {
		return nil, fmt.Errorf("read %s at %s: %w", key, n.name, err)
	}
	for _, s := range r.Siblings {
		if len(s.OpId) != len(distrib.OpID{}) {
			return nil, errors.Join(err, fmt.Errorf("read %s at %s: a sibling names no operation", key, n.name))
		}
	}
	return r.Siblings, nil
}

// describe names versions by their dots.
func describe(siblings []*api.Sibling) string {
	var dots []string
	for _, s := range siblings {
		dots = append(dots, fmt.Sprintf("%d.%d:%d", s.Dot.GetNode(), s.Dot.GetBirth(), s.Dot.GetCounter()))
	}
	slices.Sort(dots)
	return "{" + strings.Join(dots, " ") + "}"
}

// watch notes when a node first says that another is suspect, and that one is down, until ctx ends: of a fault.
func (c *cluster) watch(ctx context.Context, f Fault, began time.Time) (suspect, down time.Duration) {
	for ctx.Err() == nil && down == 0 {
		for i, n := range c.nodes {
			if i == f.Node && f.Kind != Partition && f.Kind != Deaf && f.Kind != Mute && f.Kind != Link {
				continue // it does not answer
			}
			status, err := n.status(ctx)
			if err != nil {
				continue
			}
			for _, m := range status.Members {
				about := i == f.Node || m.Member.Name == c.nodes[f.Node].name
				if about && m.State != "up" && suspect == 0 {
					suspect = time.Since(began)
				}
				if about && m.State == "down" && down == 0 {
					down = time.Since(began)
				}
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	return suspect, down
}
