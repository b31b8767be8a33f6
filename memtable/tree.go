package memtable

// place is where a new node goes: between pred and succ on the list (0: the head), below
// parent in the tree (0: at the root).
type place struct {
	pred, succ uint32
	parent     uint32
	right      bool // the side of parent
}

// locate finds the place of a new entry, whose user key has this hash. Called by the writer.
func (m *Memtable) locate(p *probe, hash uint64) place {
	if pl, ok := m.locateNear(p); ok {
		return pl
	}
	if pl, ok := m.locateOlder(p, hash); ok {
		return pl
	}
	var pl place
	for at := m.root.Load(); at != 0; {
		n := m.node(at)
		pl.parent = at
		if pl.right = m.less(n, p); pl.right {
			pl.pred = at
			at = n.right.Load()
		} else {
			at = n.left.Load()
		}
	}
	pl.succ = m.node(pl.pred).next.Load()
	return pl
}

// locateNear tries the two sides of the entry that was added last, so that a sorted run needs
// no descent, be it of new keys or of new versions of old ones.
func (m *Memtable) locateNear(p *probe) (pl place, ok bool) {
	if m.finger == 0 {
		return place{}, false
	}
	f := m.node(m.finger)
	if m.less(f, p) {
		pl.pred = m.finger
		pl.succ = f.next.Load()
		for range maxOlder {
			if pl.succ == 0 {
				break
			}
			s := m.node(pl.succ)
			if !m.less(s, p) {
				break
			}
			if s.word(0) != f.word(0) || s.word(1) != f.word(1) {
				return place{}, false
			}
			// Most likely an older version of the finger's key: step over it.
			pl.pred, pl.succ = pl.succ, s.next.Load()
		}
		if pl.succ != 0 && m.less(m.node(pl.succ), p) {
			return place{}, false
		}
	} else {
		pl.succ = m.finger
		if pl.pred = f.prev.Load(); pl.pred != 0 && !m.less(m.node(pl.pred), p) {
			return place{}, false
		}
	}
	m.below(&pl)
	return pl, true
}

// locateOlder finds the place before the newest entry of the same user key, if there is one and it is older.
func (m *Memtable) locateOlder(p *probe, hash uint64) (pl place, ok bool) {
	newest := m.lookupHash(p.user, hash)
	if newest == 0 {
		return place{}, false
	}
	n := m.node(newest)
	if n.trailer > p.trailer {
		return place{}, false
	}
	pl.pred, pl.succ = n.prev.Load(), newest // pred is of another key
	m.below(&pl)
	return pl, true
}

// below finds where a node between the neighbours of pl goes in the tree: either the left one has no right child, or
// the right one has no left child.
func (m *Memtable) below(pl *place) {
	if pl.pred != 0 && m.node(pl.pred).right.Load() == 0 {
		pl.parent, pl.right = pl.pred, true
	} else {
		pl.parent = pl.succ
	}
}

// link publishes the node on the list, then hangs it into the tree.
func (m *Memtable) link(off uint32, n *node, pl place) {
	n.next.Store(pl.succ)
	n.prev.Store(pl.pred)
	m.node(pl.pred).next.Store(off) // published
	m.node(pl.succ).prev.Store(off)

	if pl.parent == 0 {
		n.parent = 0 // the root is black
		m.root.Store(off)
		return
	}
	n.parent = pl.parent<<1 | red
	parent := m.node(pl.parent)
	if pl.right {
		parent.right.Store(off)
	} else {
		parent.left.Store(off)
	}
	if parent.parent&red != 0 {
		m.rebalance(off, n, pl.parent, parent)
	}
}

const red = 1

// rebalance restores the red-black rules after x, a red node, came below p, a red one.
func (m *Memtable) rebalance(xOff uint32, x *node, pOff uint32, p *node) {
	for {
		// p is red, so it is not the root: it has a parent, which is black.
		gOff := p.parent >> 1
		g := m.node(gOff)
		pIsLeft := g.left.Load() == pOff
		uncle := g.left.Load()
		if pIsLeft {
			uncle = g.right.Load()
		}
		if uncle == 0 || m.node(uncle).parent&red == 0 {
			m.rotateOut(xOff, x, pOff, p, gOff, g, pIsLeft)
			return
		}
		p.parent &^= red
		m.node(uncle).parent &^= red
		if g.parent>>1 == 0 {
			return // g is the root and stays black
		}
		g.parent |= red
		xOff, x = gOff, g
		pOff = x.parent >> 1
		if p = m.node(pOff); p.parent&red == 0 {
			return
		}
	}
}

// rotateOut ends a rebalancing with one rotation or two.
func (m *Memtable) rotateOut(xOff uint32, x *node, pOff uint32, p *node, gOff uint32, g *node, pIsLeft bool) {
	if xIsLeft := p.left.Load() == xOff; xIsLeft != pIsLeft {
		if xIsLeft {
			m.rotateRight(pOff, p, xOff, x)
		} else {
			m.rotateLeft(pOff, p, xOff, x)
		}
		pOff, p = xOff, x
	}
	if pIsLeft {
		m.rotateRight(gOff, g, pOff, p)
	} else {
		m.rotateLeft(gOff, g, pOff, p)
	}
	p.parent &^= red
	g.parent |= red
}

// rotateLeft puts y, the right child of x, in the place of x and x to its left. The order of
// the stores leaves every link to a node of the tree at all times; no reader meets a cycle
// that lasts, and seek bounds its descent besides.
func (m *Memtable) rotateLeft(xOff uint32, x *node, yOff uint32, y *node) {
	mid := y.left.Load()
	x.right.Store(mid)
	if mid != 0 {
		m.setParent(mid, xOff)
	}
	y.left.Store(xOff)
	m.replaceChild(xOff, x, yOff, y)
}

// rotateRight puts y, the left child of x, in the place of x and x to its right.
func (m *Memtable) rotateRight(xOff uint32, x *node, yOff uint32, y *node) {
	mid := y.right.Load()
	x.left.Store(mid)
	if mid != 0 {
		m.setParent(mid, xOff)
	}
	y.right.Store(xOff)
	m.replaceChild(xOff, x, yOff, y)
}

// replaceChild hangs y where x hung, and x below y. Colours stay with the nodes.
func (m *Memtable) replaceChild(xOff uint32, x *node, yOff uint32, y *node) {
	pOff := x.parent >> 1
	y.parent = pOff<<1 | y.parent&red
	x.parent = yOff<<1 | x.parent&red
	if pOff == 0 {
		m.root.Store(yOff)
		return
	}
	if p := m.node(pOff); p.left.Load() == xOff {
		p.left.Store(yOff)
	} else {
		p.right.Store(yOff)
	}
}

func (m *Memtable) setParent(off, parent uint32) {
	n := m.node(off)
	n.parent = parent<<1 | n.parent&red
}

// maxHeight is above the height that a red-black tree of 2^28 nodes can have; a longer
// descent was led astray.
const maxHeight = 60

// maxWalk bounds a repair before the descent is tried again. It doubles each time: in the end
// the walk gets there.
const maxWalk = 32

// seek returns the last node before the probe and the first one at or after it, 0 for none:
// neighbours on the list at one moment during the call.
func (m *Memtable) seek(p *probe) (before, after uint32) {
	for walk := maxWalk; ; walk *= 2 {
		if found := m.descend(p); found != 0 && (before == 0 || !m.precedes(found, before)) {
			before = found
		}
		// The tree was in motion if this takes more than one look.
		for range walk {
			after = m.node(before).next.Load()
			if after == 0 || !m.less(m.node(after), p) {
				return before, after
			}
			before = after
		}
	}
}

// descend returns a node before the probe, or 0 if it met none: the last such node, unless
// the tree changed meanwhile.
func (m *Memtable) descend(p *probe) uint32 {
	before := uint32(0)
	at := m.root.Load()
	for range maxHeight {
		if at == 0 {
			break
		}
		n := m.node(at)
		w := n.word(0)
		if w < p.w0 || w == p.w0 && m.lessSecond(n, p) {
			before = at
			at = n.right.Load()
		} else {
			at = n.left.Load()
		}
	}
	return before
}

// lessSecond is less for keys whose first 8 padded bytes are equal.
func (m *Memtable) lessSecond(n *node, p *probe) bool {
	if w := n.word(1); w != p.w1 {
		return w < p.w1
	}
	return m.lessTail(n, p)
}

// precedes reports whether the node at a comes before the node at b.
func (m *Memtable) precedes(a, b uint32) bool {
	n := m.node(b)
	return m.less(m.node(a), &probe{w0: n.word(0), w1: n.word(1), user: m.user(n), trailer: n.trailer})
}
