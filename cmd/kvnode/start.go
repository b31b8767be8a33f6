package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"math"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/cambiumdb/cambium/distrib/config"
	"github.com/cambiumdb/cambium/distrib/local"
	"github.com/cambiumdb/cambium/distrib/node"
	"github.com/cambiumdb/cambium/engine"
)

// drainTimeout is how long a node that is told to stop lets work under way go on.
const drainTimeout = 15 * time.Second

func startCommand() *cobra.Command {
	withParent := false
	c := &cobra.Command{
		Use:   "start --name NAME --dir DIR --listen HOST:PORT [--join HOST:PORT,..]",
		Short: "run a node until SIGTERM",
		Long: `Runs a node until SIGTERM or an interrupt, which let work under way end.

Without --join a node with an empty directory founds a cluster; with it the node
joins the one that the nodes at these addresses belong to. A node comes back with
its directory alone. Settings may stand in a file and in the environment too:
kvnode config init shows all. Once the node serves it prints one line to standard
output:

  ready name=n1 grpc=127.0.0.1:7800 http=127.0.0.1:7801 cluster=5e0f..`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			s, err := loadConfig(c)
			if err != nil {
				return err
			}
			opts, err := nodeOptions(s)
			if err != nil {
				return usageError{err}
			}
			ctx := c.Context()
			if withParent {
				ctx = untilEnd(ctx, os.Stdin)
			}
			return start(ctx, opts)
		},
	}
	config.Flags(c.Flags())
	c.Flags().BoolVar(&withParent, "with-parent", false, "stop when standard input ends, as it does with the process that started this one")
	return c
}

// untilEnd is a context that also ends when there is no more to read.
func untilEnd(ctx context.Context, r io.Reader) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		_, _ = io.Copy(io.Discard, r) // an error is an end too
		cancel()
	}()
	return ctx
}

// nodeOptions are the settings as a node takes them.
func nodeOptions(s *config.Config) (node.Options, error) {
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: s.LogLevel}))
	security, err := s.Security(logger)
	return node.Options{
		Name: s.Name, Dir: s.Dir, Zone: s.Zone, Weight: s.Weight, Replicas: s.Replicas,
		Listen: s.Listen, Advertise: s.Advertise, HTTP: s.HTTP, Gossip: s.Gossip, Join: s.Join, Etcd: s.Etcd,
		Sync: s.Sync, NeverPromote: s.NeverPromote, HintBytes: s.HintBytes, HintRate: s.HintRate, Operations: s.Operations, OperationBytes: s.OperationBytes, Security: security, Insecure: s.Insecure, AllowFaults: s.AllowFaults, Logger: logger,
		Now:       func() time.Time { return time.Now().Add(s.ClockOffset) },
		OpenStore: func(dir string) (node.Store, error) { return openStore(dir, s.Memory) },
	}, err
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
	fmt.Printf("ready name=%s grpc=%s http=%s cluster=%s\n", opts.Name, n.Addr(), n.HTTP(), n.ClusterID())
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
	// room counts as live to the collector, which lets the heap grow by as much as is live before it runs. The engine
	// keeps its memory outside of the heap, so that little is, and it would run many times a second. Nobody
	// writes to room: the system gives it no memory.
	room []byte
}

// maxHeapRoom bounds it. More would save little.
const maxHeapRoom = 64 << 20

// heapRoom is by how much garbage may grow where the engine may take so many bytes of memory: an eighth of that.
func heapRoom(memory int64) []byte {
	if memory == 0 {
		memory = math.MaxInt64
	}
	return make([]byte, min(maxHeapRoom, memory/8))
}

// openStore opens the engine in dir, which may take so many bytes of memory; 0: as it says itself.
func openStore(dir string, memory int64) (node.Store, error) {
	db, err := engine.Open(dir, local.Options(&engine.Options{MemoryBudget: memory}))
	if err != nil {
		return nil, err
	}
	return store{local.New(db), db, heapRoom(memory)}, nil
}

func (s store) Close() error     { return s.db.Close() }
func (s store) DiskBytes() int64 { return s.db.Metrics().Space.Disk }
