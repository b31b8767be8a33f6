package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/check"
	"github.com/cambiumdb/cambium/distrib/meta"
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
	for _, n := range c.staying() {
		status, err := n.status(ctx)
		if err != nil {
			missing = append(missing, fmt.Sprintf("%s: %v", n.name, err))
			continue
		}
		for _, other := range c.staying() {
			i := slices.IndexFunc(status.Members, func(m *api.MemberState) bool { return m.Member.Name == other.name })
			if i < 0 {
				missing = append(missing, fmt.Sprintf("%s does not know %s", n.name, other.name))
			} else if m := status.Members[i]; m.State != "up" || other == n && m.Reason != "" {
				missing = append(missing, fmt.Sprintf("%s says that %s is %s: %s", n.name, other.name, m.State, m.Reason))
			}
		}
	}
	return missing
}

// staying are the nodes without those that leave.
func (c *cluster) staying() (list []*node) {
	for _, n := range c.nodes {
		if !n.leaves {
			list = append(list, n)
		}
	}
	return list
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

// bearsLoss says what keeps the cluster from bearing the loss of a directory: nobody may owe anything to others, and the
// metadata must be on as many nodes as it is to be.
func (c *cluster) bearsLoss(ctx context.Context) []string {
	missing := c.healed(ctx)
	if len(c.etcd) > 0 {
		return missing
	}
	for _, n := range c.nodes {
		t := meta.Cached(filepath.Join(n.dir, "topology"))
		if t == nil || len(t.Metadata) < min(len(c.nodes), 3) {
			missing = append(missing, n.name+" does not know three nodes with metadata")
		}
	}
	return missing
}

// repair has all be compared.
func (c *cluster) repair(ctx context.Context) error {
	for _, n := range c.nodes {
		stream, err := api.NewClusterClient(n.conn).Repair(ctx, &api.RepairRequest{All: true})
		var p *api.RepairProgress
		for err == nil && p.GetError() == "" {
			p, err = stream.Recv()
		}
		if text := p.GetError(); text != "" {
			err = errors.New(text)
		}
		if err != io.EOF {
			return fmt.Errorf("repair at %s: %w", n.name, err)
		}
	}
	return nil
}

// final reads each key from each of its nodes alone, and then from all together. It returns what they have, and where
// they do not have the same.
func (c *cluster) final(ctx context.Context, keys []string) (final check.Final, different []string, err error) {
	final = check.Final{}
	var mu sync.Mutex // guards final and different
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(8)
	for _, key := range keys {
		g.Go(func() error {
			siblings, differ, err := c.finalOf(ctx, key)
			mu.Lock()
			defer mu.Unlock()
			for _, s := range siblings {
				final[key] = append(final[key], distrib.OpID(s.OpId))
			}
			if differ != "" {
				different = append(different, key+": "+differ)
			}
			return err
		})
	}
	err = g.Wait()
	slices.Sort(different)
	return final, different, err
}

// finalOf is final for one key. differ is what each of its nodes has, if that is not the same.
func (c *cluster) finalOf(ctx context.Context, key string) (siblings []*api.Sibling, differ string, err error) {
	where, err := api.NewClusterClient(c.nodes[0].conn).Where(ctx, &api.WhereRequest{Key: []byte(key)})
	if err != nil {
		return nil, "", err
	}
	var held []string
	for _, owner := range where.Owners {
		at := c.named(owner.Name)
		if at < 0 {
			return nil, "", fmt.Errorf("%s is on %s, which has left", key, owner.Name)
		}
		alone, err := c.nodes[at].read(ctx, key, &api.Level{Nodes: 1, Strict: true})
		if err != nil {
			return nil, "", err
		}
		held = append(held, owner.Name+" "+describe(alone))
	}
	if siblings, err = c.nodes[0].read(ctx, key, &api.Level{Consistency: api.Consistency_ALL, Strict: true}); err != nil {
		return nil, "", err
	}
	held = append(held, "all "+describe(siblings))
	if slices.ContainsFunc(held, func(s string) bool { return after(s) != after(held[0]) }) {
		differ = strings.Join(held, ", ")
	}
	return siblings, differ, nil
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
