package main

import (
	"os"

	"github.com/spf13/cobra"

	"github.com/cambiumdb/cambium/perf/cluster"
)

func clusterCommand(parsed *bool) *cobra.Command {
	c := &cluster.Command{Config: cluster.DefaultConfig(), Args: os.Args, Stdout: os.Stdout, Stderr: os.Stderr}
	cfg := &c.Config
	var chaos, phases, mix string
	cmd := &cobra.Command{
		Use:   "cluster (--start N | --endpoint HOST:PORT,..)",
		Short: "put load on a cluster, and on etcd and Redis beside it",
		Long: `Puts load on a cluster through the Go client and reports throughput, latency,
outcomes, what a read found, and CPU time for each operation. --start runs the
nodes here, of the kvnode beside this program, in a temporary directory.

With --rate half each phase is run as fast as it goes, and then at half of that
in an open loop: latency counts from the intended start. --chaos kills (SIGKILL)
or stops (SIGSTOP) servers meanwhile; in the first of the two it does not. They are
called n1, n2, ... Afterwards all serve again, and it is told how long it takes
until the nodes hold the same, and whether anything acknowledged is gone.

--peer measures etcd (as many members as nodes) and Redis (n1 is the primary, the
others are replicas; a put is SET and WAIT 1) in the same run: make peers.`,
		Example: "  kvbench cluster --start 3 --peer etcd,redis --runs 3\n" +
			"  kvbench cluster --start 3 --peer etcd --consistency linearizable --phases put,get,cas --clients 16\n" +
			"  kvbench cluster --start 3 --mix put=50,get=50 --rate 2000 --duration 30s --chaos kill:n3@10s+5s,stop:n2@20s+3s\n" +
			"  kvbench cluster --endpoint 10.0.0.1:7800 --rate 5000 --duration 60s",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			*parsed = true
			if cfg.Chaos, err = cluster.ParseChaos(chaos); err != nil {
				return err
			}
			if cfg.Mixes, err = cluster.ParsePhases(phases); err != nil {
				return err
			}
			if mix != "" {
				one, err := cluster.ParseMix(mix)
				if err != nil {
					return err
				}
				cfg.Mixes = []cluster.Mix{one}
			}
			return c.Run(cmd.Context())
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&cfg.Endpoints, "endpoint", nil, "nodes of a cluster that runs, without TLS")
	f.IntVar(&cfg.Nodes, "start", 0, "how many nodes to start here")
	f.StringSliceVar(&cfg.Peers, "peer", nil, "what else to measure: etcd, redis")
	f.StringVar(&cfg.Consistency, "consistency", cfg.Consistency, "of puts and gets: one, quorum, all, linearizable")
	f.StringVar(&cfg.Sync, "sync", cfg.Sync, "when a write is durable at each node that is started: per-write, per-second")
	f.IntVar(&cfg.Clients, "clients", cfg.Clients, "how many operations are under way at most")
	f.Int64Var(&cfg.Keys, "keys", cfg.Keys, "number of keys, all of which are put first")
	f.Var(&cfg.ValueSize, "value-size", "bytes of a value, such as 1000 or 64KiB")
	f.Float64Var(&cfg.Compressible, "compressible", cfg.Compressible, "how much smaller a good compressor makes the values; 1: not at all")
	f.StringVar(&phases, "phases", "put,get", "what to measure, one after another: put, get, or cas, by which all clients increment one key, with --consistency linearizable")
	f.StringVar(&mix, "mix", "", "shares of one phase that does both, such as put=50,get=50, in place of --phases")
	f.Var(&cfg.Rate, "rate", "operations per second, begun on time whatever the servers do (open loop); max: as fast as it goes (closed loop); half: max, then half of what that was")
	f.DurationVar(&cfg.Duration, "duration", cfg.Duration, "how long each phase is measured")
	f.IntVar(&cfg.Rounds, "runs", cfg.Rounds, "rounds; engines take turns within each, with new servers")
	f.StringVar(&chaos, "chaos", "", "what happens to servers, such as kill:n3@30s,kill:n1@40s+5s,stop:n2@5s+3s: what, whom, when, and for how long if not to the end")
	f.Uint64Var(&cfg.Seed, "seed", cfg.Seed, "names the stream of operations and values")
	f.BoolVar(&c.Strict, "strict", false, "exit with 1 when a target is missed")
	f.StringVar(&c.Dir, "dir", "", "directory for what servers keep, kept afterwards but for that (default: a temporary one, removed)")
	f.StringVar(&c.Profile, "profile", "", "directory for CPU profiles of the clients and of the nodes that are started, a file for each and each phase of the last round; takes some speed")
	f.StringVar(&c.JSON, "json", "", "write the report as JSON to this file; - writes it to stdout and the text to stderr")
	f.StringVar(&c.Markdown, "markdown", "", "put the tables into this Markdown file, as the section called --title")
	f.StringVar(&c.Title, "title", "", "section of --markdown; one that is there is replaced (default: the command)")
	return cmd
}

// clientsCommand is what kvbench runs itself as to put load on a cluster.
func clientsCommand(parsed *bool) *cobra.Command {
	return &cobra.Command{
		Use:    cluster.ServeWord,
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			*parsed = true
			return cluster.Serve(cmd.Context(), cluster.OwnTargets(), os.Stdin, os.Stdout)
		},
	}
}
