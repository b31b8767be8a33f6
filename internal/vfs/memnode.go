package vfs

import "slices"

// memNode is a file or a directory, whatever names lead to it.
type memNode struct {
	entries map[string]*memNode // of a directory; nil for a file
	durable map[string]*memNode // what SyncDir has kept of entries
	data    memData             // of a file
	links   int                 // names that lead to a file
	opens   int                 // File values that are open
}

func newDir() *memNode {
	return &memNode{entries: map[string]*memNode{}, durable: map[string]*memNode{}}
}

// change is one unsynced operation on names. A crash keeps all of it or nothing.
type change struct{ sets []nameSet }

// nameSet makes name in dir lead to node, or to nothing when that is nil.
type nameSet struct {
	dir  *memNode
	name string
	node *memNode
}

// nameKey is a name in a directory.
type nameKey struct {
	dir  *memNode
	name string
}

func (s nameSet) key() nameKey { return nameKey{s.dir, s.name} }

// apply makes a change to the names and remembers it as not durable.
func (m *Mem) apply(sets ...nameSet) {
	for _, s := range sets {
		if old := s.dir.entries[s.name]; old != nil {
			old.links--
			m.freeIfUnused(old)
		}
		if s.node == nil {
			delete(s.dir.entries, s.name)
			continue
		}
		s.dir.entries[s.name] = s.node
		s.node.links++
	}
	m.changes = append(m.changes, &change{sets})
}

// freeIfUnused gives back the space of a file that has neither name nor user. Its bytes stay
// for the crash that forgets the removal.
func (m *Mem) freeIfUnused(n *memNode) {
	if n.entries == nil && n.links == 0 && n.opens == 0 {
		m.used -= n.data.allocated()
	}
}

// neededBy returns a function that tells, oldest first, whether a change becomes durable with
// dir, and then makes it so: the changes in dir, and the earlier ones of the same names that
// these build upon.
func (m *Mem) neededBy(dir *memNode) func(*change) bool {
	names := map[nameKey]bool{}
	needed := map[*change]bool{}
	for _, c := range slices.Backward(m.changes) {
		if slices.ContainsFunc(c.sets, func(s nameSet) bool { return s.dir == dir || names[s.key()] }) {
			needed[c] = true
			for _, s := range c.sets {
				names[s.key()] = true
			}
		}
	}
	return func(c *change) bool {
		if needed[c] {
			c.keep()
		}
		return needed[c]
	}
}

// keep makes a change durable.
func (c *change) keep() {
	for _, s := range c.sets {
		if s.node == nil {
			delete(s.dir.durable, s.name)
		} else {
			s.dir.durable[s.name] = s.node
		}
	}
}
