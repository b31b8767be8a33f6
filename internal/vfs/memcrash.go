package vfs

import "math/rand/v2"

// Crash returns the file system as it is found after a power cut now. Of what was not synced,
// each page of a file, each length and each change of a name survives or not by itself, with a
// likelihood that is drawn too, so that nearly all and nearly nothing happen as well. The same
// state and the same random numbers give the same result. Locks are free.
func (m *Mem) Crash(rng *rand.Rand) *Mem {
	likely := []float64{0, 0.1, 0.5, 0.9, 1, rng.Float64()}[rng.IntN(6)]
	return m.crash(func() bool { return rng.Float64() < likely }, rng)
}

// CrashKeepAll returns the file system as it is found after the process was killed: everything
// that was written, synced or not. All of it is durable in the result.
func (m *Mem) CrashKeepAll() *Mem {
	return m.crash(func() bool { return true }, nil)
}

// CrashLoseUnsynced returns the file system with nothing but what was synced.
func (m *Mem) CrashLoseUnsynced() *Mem {
	return m.crash(func() bool { return false }, nil)
}

// crash builds the file system that is left when survive decides about each unsynced thing.
func (m *Mem) crash(survive func() bool, rng *rand.Rand) *Mem {
	m.mu.RLock()
	defer m.mu.RUnlock()
	after := NewMem()
	after.capacity, after.alignment = m.capacity, m.alignment
	after.direct, after.strict, after.holes = m.direct, m.strict, m.holes
	c := crasher{survive: survive, rng: rng,
		copies: map[*memNode]*memNode{}, names: map[*memNode]map[string]*memNode{}, lost: map[nameKey]bool{}}
	for _, change := range m.changes {
		c.decide(change)
	}
	after.root = c.copyOf(m.root)
	for _, node := range c.copies {
		after.used += node.data.allocated()
	}
	return after
}

// crasher copies what a crash leaves.
type crasher struct {
	survive func() bool
	rng     *rand.Rand
	copies  map[*memNode]*memNode
	names   map[*memNode]map[string]*memNode // durable names with the changes that survived
	lost    map[nameKey]bool                 // names of which a change did not survive
}

// namesOf returns the names that are left of a directory of the old file system.
func (c *crasher) namesOf(dir *memNode) map[string]*memNode {
	names := c.names[dir]
	if names == nil {
		names = make(map[string]*memNode, len(dir.durable))
		for name, node := range dir.durable {
			names[name] = node
		}
		c.names[dir] = names
	}
	return names
}

// decide lets a change survive or not. One that builds upon a lost change of the same name is
// lost as well, as a journal keeps their order.
func (c *crasher) decide(change *change) {
	survives := c.survive()
	for _, s := range change.sets {
		survives = survives && !c.lost[s.key()]
	}
	for _, s := range change.sets {
		switch {
		case !survives:
			c.lost[s.key()] = true
		case s.node == nil:
			delete(c.namesOf(s.dir), s.name)
		default:
			c.namesOf(s.dir)[s.name] = s.node
		}
	}
}

// copyOf returns the durable copy of a node and of all below it.
func (c *crasher) copyOf(node *memNode) *memNode {
	if done := c.copies[node]; done != nil {
		done.links++
		return done
	}
	fresh := &memNode{links: 1}
	c.copies[node] = fresh
	if node.entries == nil {
		fresh.data = node.data.crash(c.survive, c.rng)
		return fresh
	}
	names := c.namesOf(node)
	fresh.entries = make(map[string]*memNode, len(names))
	fresh.durable = make(map[string]*memNode, len(names))
	for _, name := range sortedNames(names) {
		child := c.copyOf(names[name])
		fresh.entries[name] = child
		fresh.durable[name] = child
	}
	return fresh
}
