package main

import (
	"context"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/client"
)

// onlineCluster connects to the cluster and hands what a node that answers can be asked with to do.
func (a *app) onlineCluster(ctx context.Context, do func(c api.ClusterClient, node string) error) error {
	return a.online(ctx, func(c *client.Client) error {
		ctx, cancel := context.WithTimeout(ctx, a.conn.timeout)
		defer cancel()
		cluster, node, err := c.Cluster(ctx)
		if err != nil {
			return err
		}
		return do(cluster, node)
	})
}

func (a *app) clusterCommand() *cobra.Command {
	cluster := a.group("cluster", "look at the nodes of a cluster and change which there are",
		"A change is planned, committed, and carried out while reads and writes go on:\nkvctl cluster status shows how far it is.")
	cluster.AddCommand(a.statusCommand(), a.ringCommand(), a.planCommand(), a.commitCommand(), a.abortCommand())
	return cluster
}

func (a *app) statusCommand() *cobra.Command {
	return a.command("status", "print the nodes, what one thinks of the others, and a change under way",
		"Prints what the node that answers knows; others may think differently.", 0,
		func(ctx context.Context, _ []string) error {
			return a.onlineCluster(ctx, func(c api.ClusterClient, node string) error {
				m, err := c.Status(ctx, &api.StatusRequest{})
				if err != nil {
					return called("cluster status", node, err)
				}
				return a.printer(false).Report(statusOf(m))
			})
		})
}

func (a *app) ringCommand() *cobra.Command {
	return a.command("ring", "print the members of the ring", "Prints the members, and those after a change under way.", 0,
		func(ctx context.Context, _ []string) error {
			return a.onlineCluster(ctx, func(c api.ClusterClient, node string) error {
				m, err := c.Ring(ctx, &api.RingRequest{})
				if err != nil {
					return called("cluster ring", node, err)
				}
				return a.printer(false).Report(ringOf(m))
			})
		})
}

func (a *app) planCommand() *cobra.Command {
	var join, leave, replace, weight []string
	cmd := a.command("plan", "plan a change of the nodes, and print what it would move",
		"Changes nothing: kvctl cluster commit carries the plan out.", 0,
		func(ctx context.Context, _ []string) error {
			changes, err := changesOf(join, leave, replace, weight)
			if err != nil {
				return err
			}
			return a.onlineCluster(ctx, func(c api.ClusterClient, node string) error {
				m, err := c.Plan(ctx, &api.PlanRequest{Changes: changes})
				if err != nil {
					return called("cluster plan", node, err)
				}
				if err := a.printer(false).Report(planOf(m)); err != nil {
					return err
				}
				fmt.Fprintf(a.stderr, "to carry it out: kvctl cluster commit %s\n", m.GetId())
				return nil
			})
		})
	f := cmd.Flags()
	f.StringSliceVar(&join, "join", nil, "nodes that wait to join; they become members")
	f.StringSliceVar(&leave, "leave", nil, "nodes that hand over what they hold and leave")
	f.StringSliceVar(&replace, "replace", nil, "OLD=NEW: a dead node, and the one that takes its place")
	f.StringSliceVar(&weight, "weight", nil, "NODE=WEIGHT: how much a node holds beside others")
	cmd.MarkFlagsOneRequired("join", "leave", "replace", "weight")
	return cmd
}

// changesOf reads the changes that the flags of a plan ask for.
func changesOf(join, leave, replace, weight []string) (changes []*api.Change, err error) {
	for _, node := range join {
		changes = append(changes, &api.Change{Kind: "join", Node: node})
	}
	for _, node := range leave {
		changes = append(changes, &api.Change{Kind: "leave", Node: node})
	}
	for _, pair := range replace {
		old, by, ok := strings.Cut(pair, "=")
		if !ok || old == "" || by == "" {
			return nil, usagef("--replace %q: want OLD=NEW, two nodes", pair)
		}
		changes = append(changes, &api.Change{Kind: "replace", Node: old, By: by})
	}
	for _, pair := range weight {
		node, number, _ := strings.Cut(pair, "=")
		w, err := strconv.ParseFloat(number, 64)
		if err != nil || node == "" || w <= 0 {
			return nil, usagef("--weight %q: want NODE=WEIGHT, such as n1=1.5", pair)
		}
		changes = append(changes, &api.Change{Kind: "weight", Node: node, Weight: w})
	}
	return changes, nil
}

// changed is the result of a commit or an abort.
type changed struct {
	Op    string `json:"op"`
	ID    string `json:"id"`
	Epoch uint64 `json:"epoch"` // of the ring
}

func (a *app) commitCommand() *cobra.Command {
	return a.command("commit ID", "carry out a plan", "Returns when the plan is taken on. kvctl cluster status shows how far it is.", 1,
		func(ctx context.Context, args []string) error {
			return a.onlineCluster(ctx, func(c api.ClusterClient, node string) error {
				m, err := c.Commit(ctx, &api.CommitRequest{Id: args[0]})
				if err != nil {
					return called("cluster commit "+args[0], node, err)
				}
				return a.printer(false).Report(&changed{"commit", args[0], m.GetEpoch()})
			})
		})
}

func (a *app) abortCommand() *cobra.Command {
	return a.command("abort ID", "give a change under way up", "Possible until the new owners are asked for what they hold.", 1,
		func(ctx context.Context, args []string) error {
			return a.onlineCluster(ctx, func(c api.ClusterClient, node string) error {
				m, err := c.Abort(ctx, &api.AbortRequest{Id: args[0]})
				if err != nil {
					return called("cluster abort "+args[0], node, err)
				}
				return a.printer(false).Report(&changed{"abort", args[0], m.GetEpoch()})
			})
		})
}

// eachNode asks every node. Those that do not answer are named on stderr; it is an error where none does.
func (a *app) eachNode(ctx context.Context, what string, ask func(ctx context.Context, c api.ClusterClient, node string) error) error {
	return a.online(ctx, func(c *client.Client) error {
		var failed error
		answered := 0
		for _, m := range c.Members() {
			cluster, err := c.ClusterAt(m.GetName())
			if err == nil {
				err = ask(ctx, cluster, m.GetName())
			}
			if err == nil {
				answered++
				continue
			}
			failed = called(what, m.GetName(), err)
			fmt.Fprintln(a.stderr, failed)
		}
		if answered == 0 && failed != nil {
			return fmt.Errorf("%s: no node answers; the last: %w", what, failed)
		}
		return nil
	})
}

func (a *app) hintsCommand() *cobra.Command {
	return a.command("hints", "print which nodes of a cluster keep writes for others", "Asks all nodes.", 0,
		func(ctx context.Context, _ []string) error {
			report := &hints{Hints: []hint{}}
			err := a.eachNode(ctx, "hints", func(ctx context.Context, c api.ClusterClient, _ string) error {
				ctx, cancel := context.WithTimeout(ctx, a.conn.timeout)
				defer cancel()
				m, err := c.Hints(ctx, &api.HintsRequest{})
				for _, h := range m.GetHints() {
					report.add(hintOf(h))
				}
				return err
			})
			if err != nil {
				return err
			}
			return a.printer(false).Report(report)
		})
}

func (a *app) repairCommand() *cobra.Command {
	all := false
	cmd := a.command("repair", "compare what the nodes of a cluster hold, until they hold the same",
		"Compares the ranges that may differ, or with --all every one. Asks all nodes, one after\nthe other. Takes as long as it takes: --timeout does not bound it.", 0,
		func(ctx context.Context, _ []string) error {
			report := &repaired{Nodes: []*repairedNode{}}
			err := a.eachNode(ctx, "repair", func(ctx context.Context, c api.ClusterClient, node string) error {
				n := &repairedNode{Node: node}
				err := a.repairNode(ctx, c, all, n)
				report.Nodes = append(report.Nodes, n)
				return err
			})
			if err != nil {
				return err
			}
			if err := a.printer(false).Report(report); err != nil {
				return err
			}
			return report.err()
		})
	cmd.Flags().BoolVar(&all, "all", false, "all ranges, not only those that may differ")
	return cmd
}

// repairNode has a node compare its ranges and follows it.
func (a *app) repairNode(ctx context.Context, c api.ClusterClient, all bool, n *repairedNode) error {
	stream, err := c.Repair(ctx, &api.RepairRequest{All: all})
	for err == nil {
		var m *api.RepairProgress
		if m, err = stream.Recv(); err == nil {
			n.Ranges, n.Of, n.Compared, n.Listed, n.Sent, n.Error = m.GetRanges(), m.GetOf(), m.GetCompared(), m.GetListed(), m.GetSent(), m.GetError()
		}
	}
	if err == io.EOF {
		return nil
	}
	n.Error = client.Plain(err).Error()
	return err
}
