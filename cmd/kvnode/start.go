package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/local"
	"github.com/cambiumdb/cambium/distrib/node"
	"github.com/cambiumdb/cambium/engine"
)

// drainTimeout is how long a node that is told to stop lets work under way go on.
const drainTimeout = 15 * time.Second

func startCommand() *cobra.Command {
	opts := node.Options{}
	sync := "per-second"
	c := &cobra.Command{
		Use:   "start --name NAME --dir DIR --listen HOST:PORT [--join HOST:PORT,..]",
		Short: "run a node until SIGTERM",
		Long: `Runs a node until SIGTERM or an interrupt, which let work under way end.

Without --join a node with an empty directory founds a cluster; with it the node
joins the one that the nodes at these addresses belong to. A node comes back with
its directory alone. Once it serves it prints one line to standard output:

  ready name=n1 grpc=127.0.0.1:7800 http= cluster=5e0f..`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			var err error
			if opts.Sync, err = parseSync(sync); err != nil {
				return err
			}
			opts.OpenStore = openStore
			opts.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil))
			return start(c.Context(), opts)
		},
	}
	f := c.Flags()
	f.StringVar(&opts.Name, "name", "", "name of the node, unique in its cluster")
	f.StringVar(&opts.Dir, "dir", "", "directory of all that the node keeps")
	f.StringVar(&opts.Listen, "listen", "127.0.0.1:7800", "host:port of gRPC; port 0 is any that is free")
	f.StringVar(&opts.Advertise, "advertise", "", "host:port that others are told (default: where it listens)")
	f.StringVar(&opts.Gossip, "gossip", "", "host:port of gossip, UDP and TCP (default: the host of --listen, any free port)")
	f.StringSliceVar(&opts.Join, "join", nil, "host:port of some nodes of the cluster")
	f.StringSliceVar(&opts.Etcd, "etcd", nil, "endpoints of an etcd of your own for the ring metadata (default: the nodes run it)")
	f.StringVar(&opts.Zone, "zone", "", "where the node fails together with others: copies are kept in different zones")
	f.Float64Var(&opts.Weight, "weight", 1, "how much the node holds beside others")
	f.IntVar(&opts.Replicas, "replicas", 3, "copies of each key, N; of a cluster that is founded")
	f.StringVar(&sync, "sync", sync, "when a write is durable at each node: per-write or per-second")
	f.BoolVar(&opts.Insecure, "insecure", false, "listen off loopback without TLS")
	f.BoolVar(&opts.AllowFaults, "allow-faults", false, "let anybody cut the node off, for demonstrations and tests")
	for _, name := range []string{"name", "dir"} {
		_ = c.MarkFlagRequired(name) // it is there
	}
	return c
}

func parseSync(word string) (distrib.Sync, error) {
	switch word {
	case "per-write":
		return distrib.SyncNow, nil
	case "per-second":
		return distrib.SyncSoon, nil
	}
	return 0, fmt.Errorf("sync is %q, want per-write or per-second", word)
}

// start runs a node until ctx ends.
func start(ctx context.Context, opts node.Options) error {
	n, err := node.Start(ctx, opts)
	if err != nil {
		if ctx.Err() != nil {
			return nil // told to stop before it served
		}
		return err
	}
	fmt.Printf("ready name=%s grpc=%s http=%s cluster=%s\n", opts.Name, n.Addr(), opts.HTTP, n.ClusterID())
	<-ctx.Done()
	opts.Logger.Info("node stops", "node", opts.Name)
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	return n.Close(drain)
}

// store is an engine as a node keeps its data in it.
type store struct {
	*local.Store
	db *engine.DB
}

func openStore(dir string) (node.Store, error) {
	db, err := engine.Open(dir, local.Options(nil))
	if err != nil {
		return nil, err
	}
	return store{local.New(db), db}, nil
}

func (s store) Close() error     { return s.db.Close() }
func (s store) DiskBytes() int64 { return s.db.Metrics().Space.Disk }
