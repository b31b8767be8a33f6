package sim

import (
	"slices"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/recovery"
	"github.com/cambiumdb/cambium/distrib/storetest"
)

// fault is a kind of trouble.
type fault uint8

const (
	crash   fault = iota // what was not synced is lost, all or in part
	restart              // nothing is lost
	pause
	isolate // nothing goes from a node to others, nor from them to it
	deaf    // nothing comes to it from others
	mute    // nothing goes from it to others
	link    // nothing goes from it to one other
	wrong   // it is wrong about another
	skew    // its clock jumps
	wipe    // it starts again without its directory
	restore // it starts again with its directory as of before an earlier start
	faults
)

var faultNames = [faults]string{"crash", "restart", "pause", "isolate", "deaf", "mute", "link", "wrong", "skew", "wipe", "restore"}

// maxAhead is how far a node's clock is ahead or behind at most.
const maxAhead = 20 * time.Second

// trouble brings a fault about, again and again until the load ends.
func (w *world) trouble() {
	w.after(w.between(50*time.Millisecond, w.calm), func() {
		if w.healing {
			return
		}
		w.bring(w.kinds[w.rng.IntN(len(w.kinds))], w.nodes[w.rng.IntN(len(w.nodes))])
		w.trouble()
	})
}

func (w *world) bring(f fault, n *node) {
	lasts := w.between(50*time.Millisecond, w.lasts)
	peer := w.nodes[w.rng.IntN(len(w.nodes))]
	if f <= restart || f >= wipe {
		if n.process == nil || w.now < w.mayCrash || f >= wipe && !w.bearsLoss(n) {
			return
		}
		if w.sync != distrib.SyncNow {
			if n.process.paused {
				return // what it has not synced may be older than a second: docs/cluster.md promises no more
			}
			w.mayCrash = w.now + 1500*time.Millisecond
		}
	}
	w.trace(faultNames[f], n.id, peer.id, lasts)
	w.stats.Faults[f]++
	switch f {
	case crash:
		w.die(n, w.rng.IntN(n.store.Unsynced()+1)*w.rng.IntN(2), lasts)
	case restart:
		w.end(n, lasts)
	case pause:
		w.halt(n, lasts)
	case isolate, deaf, mute:
		for _, o := range w.nodes {
			w.sever(o, n, f != mute, lasts)
			w.sever(n, o, f != deaf, lasts)
		}
	case link:
		w.sever(n, peer, true, lasts)
	case wrong:
		if n != peer {
			n.think(peer.id, distrib.Liveness(w.rng.IntN(3)))
			w.opine(n, peer)
		}
	case skew:
		n.ahead = w.between(-maxAhead, maxAhead)
	case wipe:
		w.die(n, 0, lasts)
		n.store, n.copies = storetest.NewMem(), nil
	case restore:
		w.die(n, 0, lasts)
		n.store = n.copies[w.rng.IntN(len(n.copies)-1)].Crash(0)
	}
}

// bearsLoss reports whether a node may lose its disk: all others must be whole, and no other may lose anything before it is.
func (w *world) bearsLoss(n *node) bool {
	return w.allWhole() && len(n.copies) >= 2
}

func (w *world) die(n *node, keep int, lasts time.Duration) {
	n.kill(keep)
	w.after(lasts, n.start)
}

// end ends a process in order, where nothing is under way; else it is killed, and all is synced.
func (w *world) end(n *node, lasts time.Duration) {
	load := n.process.coordinator.Load()
	idle := load.Operations+load.Behind+load.Repairs == 0
	w.die(n, n.store.Unsynced(), lasts)
	if idle {
		mustNot(recovery.MarkClean(n.store, "now"))
	}
}

func (w *world) halt(n *node, lasts time.Duration) {
	p := n.process
	if p == nil || p.paused {
		return
	}
	p.paused = true
	w.changed(n)
	w.after(lasts, func() {
		if p.paused && !p.dead {
			w.trace("goes on", n.id, uint64(len(p.queue)))
			p.resume()
			w.changed(n)
		}
	})
}

// sever cuts what goes from one node to another.
func (w *world) sever(from, to *node, really bool, lasts time.Duration) {
	if !really || from == to || w.cut[from.id][to.id] {
		return
	}
	w.cut[from.id][to.id] = true
	w.opine(from, to)
	w.opine(to, from)
	w.after(lasts, func() {
		w.cut[from.id][to.id] = false
		w.opine(from, to)
		w.opine(to, from)
	})
}

// changed has others learn of a node's state.
func (w *world) changed(n *node) {
	for _, o := range w.nodes {
		w.opine(o, n)
	}
}

// heal ends all faults, and the load.
func (w *world) heal() {
	w.healing = true
	for _, n := range w.nodes {
		for i := range w.cut[n.id] {
			w.cut[n.id][i] = false
		}
		if n.process != nil && n.process.paused {
			n.process.resume()
		}
		if n.process == nil {
			n.start()
		}
	}
	for _, n := range w.nodes {
		w.changed(n)
	}
}

// owed is what nodes still owe each other.
func (w *world) owed() string {
	for _, c := range w.clients {
		if c.busy {
			return "a client waits"
		}
	}
	for _, n := range w.nodes {
		if !n.whole() {
			return n.name() + " is not whole"
		}
		p := n.process
		load := p.coordinator.Load()
		switch {
		case load.Operations+load.Behind+load.Repairs > 0:
			return n.name() + " has not ended all operations"
		case len(p.hints.Kept()) > 0:
			return n.name() + " keeps hints"
		case p.dirty.Count() > 0:
			return n.name() + " has dirty slots"
		case slices.ContainsFunc(w.nodes, func(o *node) bool { return n.opinion[o.id] != distrib.Up && o != n }):
			return n.name() + " thinks that others are down"
		}
	}
	return ""
}
