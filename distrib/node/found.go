package node

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/hlc"
	"github.com/cambiumdb/cambium/distrib/meta"
	"github.com/cambiumdb/cambium/distrib/recovery"
	"github.com/cambiumdb/cambium/distrib/replica"
)

// findCluster finds the topology: in the metadata, where that does not answer in what other nodes say, or on
// disk. A node that is told of none, and has none, founds.
func (n *Node) findCluster(ctx context.Context) error {
	path := filepath.Join(n.opts.Dir, "topology")
	last := meta.Cached(path)
	if last != nil {
		v, err := newView(last, 0)
		if err != nil {
			return err
		}
		n.last.Store(v)
	}
	addrs := n.addresses(last)
	told, err := n.askForCluster(ctx, last, addrs)
	if err != nil {
		return err
	}
	best := newest(last, told)
	if n.found.Self != nil && best == nil && len(n.opts.Etcd) == 0 && !meta.HasSeat(n.metaDir()) {
		return fmt.Errorf("%s holds data of node %s of cluster %s, but no ring metadata: name some of its nodes (join)", n.opts.Dir, n.found.Self.Name, n.found.Self.ClusterID)
	}
	o := meta.Options{Dir: n.metaDir(), Name: n.opts.Name, External: n.opts.Etcd, TLS: n.opts.metaTLS(), Logger: n.opts.Logger}
	if o.ListenHost, _, err = net.SplitHostPort(n.self.Load().Addr); err != nil {
		return err
	}
	if best != nil {
		if o.Seeds = best.Metadata; len(o.Seeds) == 0 && len(o.External) == 0 {
			return fmt.Errorf("cluster %s keeps its ring metadata in an etcd of its operator's: say where (etcd)", best.ClusterID)
		}
	}
	if err := n.seatAside(best, told); err != nil {
		return err
	}
	opening := ctx
	if best != nil && n.unheard(best, told) {
		// Its member cannot serve as long as no other does, and whoever comes may say that it is old: begin asks.
		short, cancel := context.WithTimeout(ctx, unheardPatience)
		defer cancel()
		opening = short
	}
	if n.seats, err = meta.Open(opening, o); err != nil {
		return err
	}
	n.onClose(n.seats.Close)
	if n.meta, err = meta.OpenCache(n.seats, path); err != nil {
		return err
	}
	t, revision, err := n.meta.Load(opening)
	switch {
	case err != nil && best == nil:
		return err
	case err != nil, n.meta.Stale() != nil: // the other nodes may know more than the file does
		return n.setView(best, 0)
	case best != nil && t != nil && t.Epoch < best.Epoch: // the only member was an old copy
		return n.change(ctx, func(t *distrib.Topology) *distrib.Topology {
			if t.Epoch < best.Epoch {
				return best
			}
			return nil
		})
	case revision == 0 && best != nil:
		return fmt.Errorf("the metadata store is empty, but other nodes have epoch %d of cluster %s", best.Epoch, best.ClusterID)
	case revision == 0:
		return n.foundCluster(ctx, n.seats.Endpoints())
	}
	return n.setView(t, revision)
}

// seatAside puts a member of the metadata's etcd aside where the directory is an old copy: it has forgotten what it agreed to.
// The only member is kept, since nobody else has what it holds.
func (n *Node) seatAside(best *distrib.Topology, told []*heard) error {
	if n.found.Self == nil || !n.isOld(told) || !meta.HasSeat(n.metaDir()) || len(best.Metadata) < 2 {
		return nil
	}
	return os.Rename(n.metaDir(), aside(n.metaDir(), n.found.Run))
}

// aside is a free name for what is put aside.
func aside(dir string, run uint64) string {
	to := fmt.Sprintf("%s.aside-%d", dir, run)
	for i := 2; ; i++ {
		if _, err := os.Stat(to); err != nil {
			return to
		}
		to = fmt.Sprintf("%s.aside-%d-%d", dir, run, i)
	}
}

func (n *Node) metaDir() string { return filepath.Join(n.opts.Dir, "meta") }

// isOld reports whether one of those heard knows of a later start of this node: its directory is an old copy.
func (n *Node) isOld(told []*heard) bool {
	return slices.ContainsFunc(told, func(h *heard) bool { return h.KnownRun > n.found.Run })
}

// mayServe reports whether enough is known for the node's member of the metadata's etcd, if it has one, to start: a majority of
// the other nodes has answered and none of them knows a later start, or one does. They answer as soon as they listen, so
// nodes that start all at once do not wait for each other.
func (n *Node) mayServe(t *distrib.Topology, told []*heard) bool {
	if n.found.Self == nil || len(n.opts.Etcd) > 0 || !meta.HasSeat(n.metaDir()) || n.isOld(told) {
		return true
	}
	others, answered := map[string]bool{}, 0
	for _, m := range slices.Concat(t.Members, t.Joining) {
		others[m.Name] = m.Name != n.opts.Name
	}
	delete(others, n.opts.Name)
	for _, h := range told {
		if name := h.Self.GetName(); others[name] && h.KnownId != 0 {
			others[name] = false
			answered++
		}
	}
	if len(others) == 0 { // it may have been alone when the copy was made
		return len(n.opts.Join) == 0 || len(told) > 0
	}
	return answered > len(others)/2
}

// unheard reports whether the node's member of the metadata's etcd, one of several, starts though nobody has said what he
// knows of the node.
func (n *Node) unheard(best *distrib.Topology, told []*heard) bool {
	return len(best.Metadata) > 1 && !n.mayServe(best, told) && !slices.ContainsFunc(told, func(h *heard) bool { return h.KnownId != 0 })
}

// unheardPatience is how long such a member is waited for.
const unheardPatience = 500 * time.Millisecond

// seatPatience is how long a node waits for others before its member of the metadata's etcd starts: with so many nodes
// down the metadata may need it.
var seatPatience = 3 * time.Second

// askForCluster asks others what they know. A node that knows nothing itself waits for one that does, and one that keeps a
// part of the metadata for some seconds for those who know whether it is an old copy.
func (n *Node) askForCluster(ctx context.Context, last *distrib.Topology, addrs []string) ([]*heard, error) {
	cluster := ""
	if n.found.Self != nil {
		cluster = n.found.Self.ClusterID
	}
	patience := time.Now().Add(seatPatience)
	for tries := 0; len(addrs) > 0; tries++ {
		list, failed := n.helloAll(ctx, addrs, cluster, false)
		if otherCluster(failed) {
			return nil, failed
		}
		waiting := fmt.Sprintf("it waits for a node of its cluster at %v", addrs)
		if best := newest(last, list); best != nil {
			if n.mayServe(best, list) {
				return list, nil
			}
			if time.Now().After(patience) {
				n.opts.Logger.Warn("starting: too few nodes answer to say whether this directory is an old copy: its member of the ring metadata starts", "error", failed)
				return list, nil
			}
			waiting = "it waits for others to say whether its directory is an old copy"
		}
		if failed == nil {
			failed = errors.New("those that answer know of none yet")
		}
		if err := n.again(ctx, tries, waiting, failed); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// otherCluster reports whether a node said that this one is not of its cluster.
func otherCluster(err error) bool {
	joined, ok := err.(interface{ Unwrap() []error })
	if !ok {
		return false
	}
	for _, err := range joined.Unwrap() {
		var s interface{ GRPCStatus() *status.Status }
		if errors.As(err, &s) && s.GRPCStatus().Code() == codes.FailedPrecondition {
			return true
		}
	}
	return false
}

// foundCluster makes a new cluster of this node, unless another was faster.
func (n *Node) foundCluster(ctx context.Context, endpoints []string) error {
	var random [16 + 32]byte
	_, _ = rand.Read(random[:]) // it never fails
	if len(n.opts.Etcd) > 0 {
		endpoints = nil // each node is told by its operator
	}
	t := founded(hex.EncodeToString(random[:16]), random[16:], n.opts.Replicas, endpoints, *n.self.Load())
	revision, err := n.meta.Update(ctx, t, 0)
	if errors.Is(err, distrib.ErrChanged) {
		t, revision, err = n.meta.Load(ctx)
	}
	if err != nil {
		return fmt.Errorf("found a cluster: %w", err)
	}
	return n.setView(t, revision)
}

// takePlace makes the node one of the cluster, unless it is one.
func (n *Node) takePlace(ctx context.Context) error {
	for {
		v := n.view()
		if m, ok := v.named(n.opts.Name); ok {
			own := *n.self.Load()
			if m.Addr != own.Addr {
				if h, err := n.hello(ctx, m.Addr, v.topology.ClusterID, false); err == nil && h.Self.GetName() == m.Name {
					return fmt.Errorf("node %s runs at %s already: give this one another name", m.Name, m.Addr)
				}
			}
			m.Addr, m.HTTP = own.Addr, own.HTTP
			n.self.Store(&m)
			return nil
		}
		if n.found.Self != nil {
			_, err := recovery.Judge(n.found, n.opts.Name, recovery.Known{Cluster: v.topology.ClusterID})
			return err
		}
		if err := n.change(ctx, func(t *distrib.Topology) *distrib.Topology { return joined(t, *n.self.Load()) }); err != nil {
			return fmt.Errorf("join cluster %s: %w", v.topology.ClusterID, err)
		}
		n.joined = true
	}
}

// change replaces the topology by what next makes of it, once. nil: there is nothing to change. Where another changes it at
// the same time, next is asked again.
func (n *Node) change(ctx context.Context, next func(t *distrib.Topology) *distrib.Topology) error {
	for {
		t, revision, err := n.meta.Load(ctx)
		if err == nil {
			err = n.meta.Stale()
		}
		if err != nil {
			return err
		}
		to := next(t)
		if to == nil {
			return n.setView(t, revision)
		}
		revision, err = n.meta.Update(ctx, to, revision)
		switch {
		case err == nil:
			return n.setView(to, revision)
		case !errors.Is(err, distrib.ErrChanged):
			return err
		}
	}
}

// begin judges the store by what others know of the node, and begins a run that they hear of.
func (n *Node) begin(ctx context.Context) error {
	run, err := n.askForRun(ctx)
	if err != nil {
		return err
	}
	v, m := n.view(), *n.self.Load()
	k := recovery.Known{Cluster: v.topology.ClusterID, ID: m.ID, Run: max(run, m.Run), Others: len(v.others(m.ID)) > 0}
	if n.verdict, err = recovery.Judge(n.found, n.opts.Name, k); err != nil {
		return err
	}
	if n.verdict.Aside {
		if err := n.putAside(); err != nil {
			return err
		}
		if err := n.seats.PutAside(aside(n.metaDir(), n.found.Run)); err != nil {
			return err
		}
	}
	s := *n.store.Load()
	lost := n.verdict.Refill
	if err := recovery.MarkBegun(s, recovery.Self{ClusterID: k.Cluster, ID: m.ID, Name: m.Name}, lost, n.opts.Sync); err != nil {
		return err
	}
	n.lost.Store(&lost)
	if n.registers, err = recovery.OpenRegisters(s); err != nil {
		return err
	}
	if n.clock, err = hlc.Open(s, n.opts.Now); err != nil {
		return err
	}
	if n.births, err = replica.NextRun(s, k.Run); err != nil {
		return err
	}
	m.Run = n.births.Run()
	n.self.Store(&m)
	return n.tellRun(ctx)
}

// putAside opens an empty store in place of one that lacks what the node had stored.
func (n *Node) putAside() error {
	s := n.store.Swap(nil)
	if err := (*s).Close(); err != nil {
		return err
	}
	to := aside(n.dataDir(), n.found.Run)
	n.opts.Logger.Warn("the store is older than the node's last start: it is put aside, and the node is refilled from the others", "aside", to, "run", n.found.Run)
	if err := os.Rename(n.dataDir(), to); err != nil {
		return err
	}
	return n.openStore()
}

// askForRun returns the last run of this node that others know of. Where there are others, one of them or the metadata
// must have answered: an old copy would do again what the node did before. One that starts itself and does not know the
// cluster yet has not.
func (n *Node) askForRun(ctx context.Context) (run uint64, err error) {
	for tries := 0; ; tries++ {
		v := n.view()
		addrs := n.addresses(v.topology)
		list, failed := n.helloAll(ctx, addrs, v.topology.ClusterID, false)
		for _, h := range list {
			run = max(run, h.KnownRun)
		}
		if len(v.others(n.self.Load().ID)) == 0 || n.knownTo(list) || v.revision > 0 && n.meta.Stale() == nil {
			return run, nil
		}
		if err := n.again(ctx, tries, "it waits for the metadata or another node, to know of its own last start", failed); err != nil {
			return 0, err
		}
	}
}

// knownTo reports whether one of those heard knows this node, and so what it was told of its starts.
func (n *Node) knownTo(list []*heard) bool {
	id := n.self.Load().ID
	return slices.ContainsFunc(list, func(h *heard) bool { return h.KnownId == id })
}

// tellRun tells the metadata and the other nodes that the run has begun. One of them must know.
func (n *Node) tellRun(ctx context.Context) error {
	for tries := 0; ; tries++ {
		changed := n.change(ctx, func(t *distrib.Topology) *distrib.Topology {
			if next, changed := started(t, *n.self.Load()); changed {
				return next
			}
			return nil
		})
		v := n.view()
		list, failed := n.helloAll(ctx, n.addresses(v.topology), v.topology.ClusterID, true)
		if changed == nil || n.knownTo(list) || len(v.others(n.self.Load().ID)) == 0 {
			return nil
		}
		if err := n.again(ctx, tries, "it waits for the metadata or another node, to tell of its start", errors.Join(changed, failed)); err != nil {
			return err
		}
	}
}

// setView takes a topology on, unless a newer one is known.
func (n *Node) setView(t *distrib.Topology, revision int64) error {
	v, err := newView(t, revision)
	if err != nil {
		return err
	}
	if m := n.mover.Load(); m != nil {
		if err := errors.Join(n.registers.Raise(t.Epoch), m.Adopt(t)); err != nil {
			return err
		}
	}
	n.views.take(v)
	return nil
}
