package node

import (
	"cmp"
	"context"
	"crypto/tls"
	"net"
	"slices"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/hint"
	"github.com/cambiumdb/cambium/distrib/observe"
)

// observeTimeout bounds how long a node that stops waits for answers over HTTP.
const observeTimeout = time.Second

// observe serves health, metrics and profiles from before the node is ready until it is gone.
func (n *Node) observe(context.Context) error {
	n.registry = observe.NewRegistry()
	n.operations = observe.NewOperations(n.registry)
	if n.opts.HTTP == "" {
		return nil
	}
	var config *tls.Config
	if n.opts.Security != nil {
		config = n.opts.Security.ServerTLS()
	}
	s, err := observe.Start(observe.Options{Listen: n.opts.HTTP, TLS: config, Registry: n.registry, Ready: n.Ready, Logger: n.opts.Logger})
	if err != nil {
		return err
	}
	n.onClose(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), observeTimeout)
		defer cancel()
		return s.Close(ctx)
	})
	m := *n.self.Load()
	m.HTTP = reachedAt(s.Addr(), cmp.Or(n.opts.Advertise, n.opts.Listen))
	n.self.Store(&m)
	return nil
}

// reachedAt is where others reach what listens at addr: where that is all addresses of the machine, at the host of
// the other one that they are told.
func reachedAt(addr, advertised string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil || !net.ParseIP(host).IsUnspecified() {
		return addr
	}
	if host, _, err = net.SplitHostPort(advertised); err != nil {
		return addr
	}
	return net.JoinHostPort(host, port)
}

// HTTP is the host:port of health and metrics, as others are told; empty: there is none.
func (n *Node) HTTP() string { return n.self.Load().HTTP }

// registerFigures adds what the parts know to the metrics.
func (n *Node) registerFigures(p *parts) {
	s := observe.Sources{
		Hints: func() (list []observe.Hints) {
			kept := p.hints.Kept()
			for _, c := range p.hints.Counts() {
				h := observe.Hints{Target: n.nameOf(c.Target), Kept: c.Kept, HandedOver: c.HandedOver, Refused: c.Refused}
				if i := slices.IndexFunc(kept, func(k hint.Kept) bool { return k.Target == c.Target }); i >= 0 {
					h.Bytes, h.Oldest = kept[i].Bytes, time.Since(kept[i].Oldest)
				}
				list = append(list, h)
			}
			return list
		},
		Dirty: p.dirty.Count,
		Epoch: n.epoch,
		Members: func() map[distrib.Liveness]int {
			counts := map[distrib.Liveness]int{}
			for id := range n.view().members {
				if id == n.self.Load().ID {
					counts[distrib.Up]++
				} else {
					counts[p.gossip.Liveness(id)]++
				}
			}
			return counts
		},
		Stored:  func() int64 { return (*n.store.Load()).DiskBytes() },
		Refused: n.gates.peer.Refused,
		Load:    func() observe.Load { return observe.Load(p.coordinator.Load()) },
	}
	if n.opts.Security != nil {
		s.Certificate = n.opts.Security.Expires
	}
	observe.Register(n.registry, s)
}
