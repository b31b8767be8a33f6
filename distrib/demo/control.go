package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/cambiumdb/cambium/distrib/api"
)

// node is the one that a statement names.
func (st *statement) node() int {
	n, _ := parseNode(st.args[0]) // the parser has checked it
	return n
}

func (s *Shell) kill(_ context.Context, st *statement) error {
	return s.did(st, "killed", s.nodes.Kill(st.node()))
}

func (s *Shell) stop(ctx context.Context, st *statement) error {
	return s.did(st, "stopped", s.nodes.Stop(ctx, st.node()))
}

func (s *Shell) start(ctx context.Context, st *statement) error {
	return s.did(st, "running", s.nodes.Start(ctx, st.node()))
}

func (s *Shell) pause(_ context.Context, st *statement) error {
	return s.did(st, "paused", s.nodes.Pause(st.node()))
}

func (s *Shell) resume(ctx context.Context, st *statement) error {
	return s.did(st, "running", s.nodes.Resume(ctx, st.node()))
}

func (s *Shell) did(st *statement, what string, err error) error {
	if err == nil {
		s.printf("%s is %s\n", s.name(st.node()), what)
	}
	return err
}

func (s *Shell) partition(ctx context.Context, st *statement) error {
	sides, oneWay, err := parseSides(st.args[0])
	if err != nil {
		return err
	}
	var names []string
	for _, side := range sides {
		names = append(names, s.listed(side))
	}
	if oneWay {
		if err := s.nodes.Cut(ctx, sides[0], sides[1]); err != nil {
			return err
		}
		s.printf("nothing goes from %s to %s\n", names[0], names[1])
		return nil
	}
	named := slices.Sorted(slices.Values(slices.Concat(sides...)))
	for i := range s.nodes.List() {
		if i >= len(named) || named[i] != i+1 {
			return problemf(exitUsage, "a partition has every node on one side, and once: 1 to %d were expected", len(s.nodes.List()))
		}
	}
	if err := s.nodes.Partition(ctx, sides); err != nil {
		return err
	}
	s.printf("%s cannot reach each other\n", strings.Join(names, " | "))
	return nil
}

// listed are the names of nodes.
func (s *Shell) listed(nodes []int) string {
	var names []string
	for _, n := range slices.Sorted(slices.Values(nodes)) {
		names = append(names, s.name(n))
	}
	return strings.Join(names, ", ")
}

func (s *Shell) heal(ctx context.Context, _ *statement) error {
	if err := s.nodes.Partition(ctx, nil); err != nil {
		return err
	}
	for i, n := range s.nodes.List() {
		if n.Slow > 0 {
			if err := s.nodes.Slow(ctx, i+1, 0); err != nil {
				return err
			}
		}
	}
	s.printf("all nodes can reach each other\n")
	return nil
}

func (s *Shell) slow(ctx context.Context, st *statement) error {
	by, err := time.ParseDuration(st.args[1])
	if err != nil {
		return err
	}
	if err := s.nodes.Slow(ctx, st.node(), by); err != nil {
		return err
	}
	s.printf("requests of other nodes wait %s at %s\n", by, s.name(st.node()))
	return nil
}

func (s *Shell) hints(ctx context.Context, _ *statement) error {
	kept, err := s.kept(ctx)
	if err != nil {
		return err
	}
	none := true
	for i, n := range s.nodes.List() {
		for _, target := range kept[i+1] {
			s.printf("%s keeps writes for %s\n", n.Name, target)
			none = false
		}
	}
	if none {
		s.printf("no node keeps writes for another\n")
	}
	return nil
}

func (s *Shell) status(ctx context.Context, _ *statement) error {
	list := s.nodes.List()
	kept, err := s.kept(ctx)
	if err != nil {
		return err
	}
	views, err := s.views(ctx)
	if err != nil {
		return err
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "node\tprocess\tnetwork\tothers see it\tkeeps writes for\n")
	for i, n := range list {
		var seen []string
		for _, view := range views {
			if state := view.states[n.Name]; state != "" && !slices.Contains(seen, state) {
				seen = append(seen, state)
			}
		}
		slices.Sort(seen)
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", n.Name, n.State, network(list, n), orDash(listed(seen)), orDash(listed(kept[i+1])))
	}
	return w.Flush()
}

// network is what a node's network is like.
func network(list []Node, n Node) string {
	what := "whole"
	if slices.ContainsFunc(list, func(m Node) bool { return m.Side != n.Side }) {
		what = fmt.Sprintf("side %d", n.Side+1)
	}
	if len(n.CutTo) > 0 {
		what = strings.TrimPrefix(what+", nothing to "+strings.Join(n.CutTo, ", "), "whole, ")
	}
	if n.Slow > 0 {
		what += fmt.Sprintf(", %s slower", n.Slow)
	}
	return what
}

func orDash(text string) string {
	if text == "" {
		return "-"
	}
	return text
}

func (s *Shell) connect(context.Context, *statement) error {
	s.printf("%s", connecting(s.nodes.List()))
	return nil
}

// cluster calls f for every node that runs, and returns the first error.
func (s *Shell) cluster(ctx context.Context, f func(ctx context.Context, node int, c api.ClusterClient) error) error {
	ctx, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	for i, n := range s.nodes.List() {
		if n.State != Running {
			continue
		}
		conn, err := s.nodes.Conn(i + 1)
		if err != nil {
			return err
		}
		if err := f(ctx, i+1, api.NewClusterClient(conn)); err != nil {
			return fmt.Errorf("%s does not answer: %w", n.Name, err)
		}
	}
	return nil
}

// kept are the names of the nodes for which each node keeps writes.
func (s *Shell) kept(ctx context.Context) (map[int][]string, error) {
	kept := map[int][]string{}
	err := s.cluster(ctx, func(ctx context.Context, node int, c api.ClusterClient) error {
		a, err := c.Hints(ctx, &api.HintsRequest{})
		for _, h := range a.GetHints() {
			if h.GetNode() == s.name(node) && h.GetBytes() > 0 {
				kept[node] = append(kept[node], h.GetTarget())
			}
		}
		slices.Sort(kept[node])
		kept[node] = slices.Compact(kept[node])
		return err
	})
	return kept, err
}

// view is what a node knows of its cluster.
type view struct {
	states map[string]string // of the other nodes, by name: up, suspect or down
	remark string            // of itself: why it does not answer reads yet
	dirty  uint64            // ranges that may differ between nodes
}

// views are those of the nodes that run.
func (s *Shell) views(ctx context.Context) (map[int]view, error) {
	views := map[int]view{}
	err := s.cluster(ctx, func(ctx context.Context, node int, c api.ClusterClient) error {
		a, err := c.Status(ctx, &api.StatusRequest{})
		v := view{states: map[string]string{}, dirty: a.GetDirtySlots()}
		for _, m := range a.GetMembers() {
			if m.GetMember().GetName() == s.name(node) {
				v.remark = m.GetReason()
			} else {
				v.states[m.GetMember().GetName()] = m.GetState()
			}
		}
		views[node] = v
		return err
	})
	return views, err
}
