package demo

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/cambiumdb/cambium/distrib/api"
)

// wait returns when what a statement waits for is so, or the time is up.
func (s *Shell) wait(ctx context.Context, st *statement) error {
	missing, done, err := s.condition(st)
	if err != nil {
		return err
	}
	if err := s.until(ctx, missing); err != nil {
		return err
	}
	s.printf("%s\n", done)
	return nil
}

// Settle returns when the nodes have found each other and serve all that they hold, or the time is up.
func (s *Shell) Settle(ctx context.Context) error { return s.until(ctx, s.apart) }

// until asks again and again, until nothing is missing.
func (s *Shell) until(ctx context.Context, missing func(context.Context) ([]string, error)) error {
	ctx, cancel := context.WithTimeout(ctx, s.settling)
	defer cancel()
	var what []string // that was missing before the time was up
	for {
		now, err := missing(ctx)
		switch {
		case err == nil && len(now) == 0:
			return nil
		case err == nil:
			what = now
		case ctx.Err() == nil:
			what = []string{err.Error()}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
				return context.Cause(ctx)
			}
			return &problem{exitUnavailable, append([]string{fmt.Sprintf("not within %s", s.settling)}, what...)}
		}
	}
}

// condition is what a \wait waits for: missing says what is not yet so, done what is printed when nothing is.
func (s *Shell) condition(st *statement) (missing func(context.Context) ([]string, error), done string, err error) {
	if len(st.args) < 2 {
		return s.apart, "the nodes hold the same, and keep nothing for each other", nil
	}
	node, _ := parseNode(st.args[1]) // the parser has checked it
	target := s.nodes.List()[node-1]
	switch st.args[0] {
	case "hint":
		return func(ctx context.Context) ([]string, error) {
			kept, err := s.kept(ctx)
			for _, targets := range kept {
				if slices.Contains(targets, target.Name) {
					return nil, err
				}
			}
			return []string{"no node keeps writes for " + target.Name}, err
		}, "a node keeps writes for " + target.Name, nil
	case "down":
		if !slices.ContainsFunc(s.nodes.List(), func(n Node) bool { return n.State == Running && parted(n, target) }) {
			return nil, "", problemf(exitUsage, "%s is %s, and not cut off from the others both ways: \\kill, \\pause or \\partition first", target.Name, target.State)
		}
		done := "all nodes see " + target.Name + " as down"
		if target.State == Running {
			done = target.Name + " and the nodes that cannot reach it see each other as down"
		}
		return s.seen(node, "down"), done, nil
	}
	if target.State != Running {
		return nil, "", problemf(exitUsage, "%s is %s: \\start %d or \\resume %d first", target.Name, target.State, node, node)
	}
	return s.seen(node, "up"), target.Name + " and the nodes that reach it see each other as up", nil
}

// connected reports whether two nodes can reach each other.
func connected(a, b Node) bool {
	return !parted(a, b) && !slices.Contains(a.CutTo, b.Name) && !slices.Contains(b.CutTo, a.Name)
}

// parted reports whether nothing goes between two nodes, either way. What is cut one way they may find out or not.
func parted(a, b Node) bool { return a.State != Running || b.State != Running || a.Side != b.Side }

// seen waits until a node and those that it can reach see each other as up, or it and those that it cannot reach see
// each other as down. Nodes that do not run see nothing.
func (s *Shell) seen(node int, want string) func(context.Context) ([]string, error) {
	return func(ctx context.Context) (missing []string, err error) {
		list := s.nodes.List()
		views, err := s.views(ctx)
		if err != nil {
			return nil, err
		}
		target := list[node-1]
		for i, n := range list {
			waitedFor := connected
			if want == "down" {
				waitedFor = parted
			}
			if i == node-1 || n.State != Running || !waitedFor(n, target) {
				continue
			}
			missing = append(missing, notSeen(views, i+1, target, want)...)
			if target.State == Running {
				missing = append(missing, notSeen(views, node, n, want)...)
			}
		}
		return missing, nil
	}
}

func notSeen(views map[int]view, observer int, target Node, want string) []string {
	if state := views[observer].states[target.Name]; state != want {
		return []string{fmt.Sprintf("node %d sees %s as %q", observer, target.Name, state)}
	}
	return nil
}

// apart says how the nodes that run have not converged: each must answer reads; those that can reach each other must
// know it, keep no writes for each other, and hold the same of every key that this shell wrote; where all can, no range
// may be left to compare.
func (s *Shell) apart(ctx context.Context) (missing []string, err error) {
	list := s.nodes.List()
	views, err := s.views(ctx)
	if err != nil {
		return nil, err
	}
	kept, err := s.kept(ctx)
	if err != nil {
		return nil, err
	}
	whole := true
	for i, n := range list {
		for j, m := range list {
			switch {
			case i == j:
			case !connected(n, m):
				whole = false
			default:
				missing = append(missing, notSeen(views, i+1, m, "up")...)
				if slices.Contains(kept[i+1], m.Name) {
					missing = append(missing, fmt.Sprintf("%s keeps writes for %s", n.Name, m.Name))
				}
			}
		}
	}
	for i, n := range list {
		if v := views[i+1]; v.remark != "" {
			missing = append(missing, n.Name+" is "+v.remark)
		}
		if d := views[i+1].dirty; whole && d > 0 {
			missing = append(missing, fmt.Sprintf("%s has %s to compare with other nodes", n.Name, plural(int(d), "range")))
		}
	}
	if len(missing) > 0 {
		return missing, nil
	}
	return s.differing(ctx)
}

// differing are the keys of this shell of which two nodes on one side hold different versions.
func (s *Shell) differing(ctx context.Context) (missing []string, err error) {
	list := s.nodes.List()
	for _, key := range s.keys {
		owners, err := s.owners(ctx, key)
		if err != nil {
			return nil, err
		}
		first := map[int]string{} // by side: what the first of its nodes holds
		for _, node := range owners {
			held, err := s.held(ctx, node, key)
			if err != nil {
				return nil, err
			}
			side := list[node-1].Side
			if have, there := first[side]; there && have != held {
				missing = append(missing, fmt.Sprintf("%s holds another version of %s than others", list[node-1].Name, quote(key)))
			} else {
				first[side] = held
			}
		}
	}
	return missing, nil
}

// owners are the nodes that a key lives on, of those that run.
func (s *Shell) owners(ctx context.Context, key string) (nodes []int, err error) {
	list := s.nodes.List()
	node := nearest(list)
	if node == 0 {
		return nil, nil
	}
	conn, err := s.nodes.Conn(node)
	if err != nil {
		return nil, err
	}
	a, err := api.NewClusterClient(conn).Where(ctx, &api.WhereRequest{Key: []byte(key)})
	for _, m := range a.GetOwners() {
		i := slices.IndexFunc(list, func(n Node) bool { return n.Name == m.GetName() && n.State == Running })
		if i >= 0 {
			nodes = append(nodes, i+1)
		}
	}
	return nodes, err
}

// held is which versions of a key a node that it lives on has: the node answers alone, and from its own copy.
func (s *Shell) held(ctx context.Context, node int, key string) (string, error) {
	conn, err := s.nodes.Conn(node)
	if err != nil {
		return "", err
	}
	a, err := api.NewKVClient(conn).Get(ctx, &api.GetRequest{Key: []byte(key), Level: &api.Level{Nodes: 1, Strict: true}})
	dots := []string{string(a.GetContext())} // of all that was ever written, where all of it was deleted
	for _, v := range a.GetSiblings() {
		dots = append(dots, fmt.Sprint(v.GetDot().GetNode(), v.GetDot().GetBirth(), v.GetDot().GetCounter()))
	}
	slices.Sort(dots)
	return strings.Join(dots, ";"), err
}
