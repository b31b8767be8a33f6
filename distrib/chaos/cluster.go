package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/internal/process"
)

// startPatience is how long a node may take to start, and to end in order.
const startPatience = 60 * time.Second

// maxOff is how far a node's clock is off where clocks are: two are never a minute apart, beyond which a node takes no time of another.
const maxOff = 29 * time.Second

// cluster is the nodes, each a process.
type cluster struct {
	executable, dir string
	etcd            []string // endpoints of the metadata; none: nodes run it
	clocks          bool     // are off
	seed            uint64   // of how much
	spawner         *process.Spawner
	nodes           []*node
	gone            []*node // that have left
}

type node struct {
	name, dir, log, addr string
	starts               uint64
	leaves               bool // by a change under way: others need not know it any more
	process              *process.Process
	conn                 *grpc.ClientConn
}

// startCluster starts nodes in turn and returns when all serve.
func startCluster(ctx context.Context, o *Options) (c *cluster, err error) {
	c = &cluster{executable: o.Executable, dir: o.Dir, etcd: o.Etcd, clocks: o.Linear > 0, seed: o.Seed, spawner: process.NewSpawner()}
	for range o.Nodes {
		if err := c.add(ctx); err != nil {
			return nil, errors.Join(err, c.close())
		}
	}
	return c, nil
}

// add starts one more node.
func (c *cluster) add(ctx context.Context) error {
	n := &node{name: fmt.Sprintf("n%d", len(c.nodes)+len(c.gone)+1)}
	n.dir, n.log = filepath.Join(c.dir, n.name), filepath.Join(c.dir, n.name+".log")
	c.nodes = append(c.nodes, n)
	return c.start(ctx, len(c.nodes)-1)
}

// named is the index of a node; -1: there is none.
func (c *cluster) named(name string) int {
	return slices.IndexFunc(c.nodes, func(n *node) bool { return n.name == name })
}

// remove ends a node that has left.
func (c *cluster) remove(ctx context.Context, i int) error {
	n := c.nodes[i]
	c.nodes = slices.Delete(c.nodes, i, i+1)
	c.gone = append(c.gone, n)
	if !n.process.Running() {
		return nil
	}
	return c.end(ctx, n)
}

// start starts a node that does not run, at its address, and returns when it serves.
func (c *cluster) start(ctx context.Context, i int) error {
	n := c.nodes[i]
	listen := n.addr
	if listen == "" {
		listen = "127.0.0.1:0"
	}
	args := []string{"start", "--name", n.name, "--dir", n.dir, "--listen", listen, "--sync", "per-write", "--allow-faults"}
	var join []string
	for _, other := range c.nodes {
		if other != n {
			join = append(join, other.addr)
		}
	}
	if len(join) > 0 {
		args = append(args, "--join", strings.Join(join, ","))
	}
	if len(c.etcd) > 0 {
		args = append(args, "--etcd", strings.Join(c.etcd, ","))
	}
	if n.starts++; c.clocks {
		args = append(args, fmt.Sprintf("--clock-offset=%dms", rand.New(rand.NewPCG(c.seed, uint64(i)<<32|n.starts)).IntN(int(2*maxOff.Milliseconds()))-int(maxOff.Milliseconds())))
	}
	serves := make(chan string, 1)
	p, err := c.spawner.Start(process.Command{Path: c.executable, Args: args, Log: n.log, Line: func(line string) {
		for _, word := range strings.Fields(line) {
			if addr, ok := strings.CutPrefix(word, "grpc="); ok && strings.HasPrefix(line, "ready ") {
				serves <- addr
			}
		}
	}})
	if err != nil {
		return fmt.Errorf("start %s: %w", n.name, err)
	}
	n.process = p
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	select {
	case addr := <-serves:
		if n.addr == "" {
			n.addr = addr
		}
	case <-p.Exited():
		return fmt.Errorf("start %s: it ended: %s; the end of its log:\n%s", n.name, p.State(), process.Tail(n.log))
	case <-ctx.Done():
		return fmt.Errorf("start %s: %w; the end of its log:\n%s", n.name, context.Cause(ctx), process.Tail(n.log))
	}
	if n.conn == nil {
		quick := backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1, MaxDelay: 50 * time.Millisecond}
		n.conn, err = grpc.NewClient("passthrough:///"+n.addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithConnectParams(grpc.ConnectParams{Backoff: quick, MinConnectTimeout: time.Second}))
	}
	return err
}

// addresses of all nodes.
func (c *cluster) addresses() (list []string) {
	for _, n := range c.nodes {
		list = append(list, n.addr)
	}
	return list
}

// apply brings a fault about.
func (c *cluster) apply(ctx context.Context, f Fault) error {
	n := c.nodes[f.Node]
	var others []string
	for _, o := range c.nodes {
		if o != n {
			others = append(others, o.name)
		}
	}
	switch f.Kind {
	case Kill, Wipe:
		n.process.Kill()
	case Pause:
		return n.process.Signal(syscall.SIGSTOP)
	case Partition:
		return n.cut(ctx, &api.FaultsRequest{CutTo: others, CutFrom: others})
	case Deaf:
		return n.cut(ctx, &api.FaultsRequest{CutFrom: others})
	case Mute:
		return n.cut(ctx, &api.FaultsRequest{CutTo: others})
	case Link:
		return n.cut(ctx, &api.FaultsRequest{CutTo: []string{c.nodes[f.Peer].name}})
	case Restart:
		return c.end(ctx, n)
	case Restore: // what it writes from now on is what will be gone
		n.process.Kill()
		return errors.Join(os.RemoveAll(n.dir+".old"), os.CopyFS(n.dir+".old", os.DirFS(n.dir)), c.start(ctx, f.Node))
	}
	return nil
}

// mend ends a fault. It returns when the node serves.
func (c *cluster) mend(ctx context.Context, f Fault) error {
	n := c.nodes[f.Node]
	switch f.Kind {
	case Pause:
		return n.process.Signal(syscall.SIGCONT)
	case Partition, Deaf, Mute, Link:
		return n.cut(ctx, &api.FaultsRequest{})
	case Wipe:
		if err := os.RemoveAll(n.dir); err != nil {
			return err
		}
	case Restore:
		n.process.Kill()
		if err := errors.Join(os.RemoveAll(n.dir), os.Rename(n.dir+".old", n.dir)); err != nil {
			return err
		}
	}
	return c.start(ctx, f.Node)
}

func (c *cluster) end(ctx context.Context, n *node) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if err := n.process.End(ctx); err != nil {
		return fmt.Errorf("end %s: %w; the end of its log:\n%s", n.name, err, process.Tail(n.log))
	}
	return nil
}

func (n *node) cut(ctx context.Context, r *api.FaultsRequest) error {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	if _, err := api.NewFaultsClient(n.conn).Set(ctx, r, grpc.WaitForReady(true)); err != nil {
		return fmt.Errorf("set the faults of %s: %w", n.name, err)
	}
	return nil
}

// status asks a node for its view of the cluster.
func (n *node) status(ctx context.Context) (*api.StatusResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second) // it asks the metadata, which may be down
	defer cancel()
	return api.NewClusterClient(n.conn).Status(ctx, &api.StatusRequest{})
}

// close ends all nodes by force, and returns when they are gone.
func (c *cluster) close() error {
	var errs []error
	var all sync.WaitGroup
	for _, n := range slices.Concat(c.nodes, c.gone) {
		if n.process != nil {
			all.Go(n.process.Kill)
		}
		if n.conn != nil {
			errs = append(errs, n.conn.Close())
		}
	}
	all.Wait()
	c.spawner.Close()
	return errors.Join(errs...)
}
