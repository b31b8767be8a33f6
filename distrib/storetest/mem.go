package storetest

import (
	"bytes"
	"maps"
	"slices"
	"sync"

	"github.com/cambiumdb/cambium/distrib"
)

// Mem is a Store in memory that can crash: the model for tests and simulations.
type Mem struct {
	mu       sync.Mutex // guards what follows
	entries  map[string][]byte
	keys     []string // of entries, ascending
	durable  map[string][]byte
	unsynced []map[string][]byte // changes since durable, in order; nil is a delete
}

// NewMem returns an empty store.
func NewMem() *Mem { return &Mem{entries: map[string][]byte{}, durable: map[string][]byte{}} }

// Get implements distrib.Store.
func (m *Mem) Get(key []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	v, ok := m.entries[string(key)]
	if !ok {
		return nil, distrib.ErrNotFound
	}
	return bytes.Clone(v), nil
}

// Apply implements distrib.Store.
func (m *Mem) Apply(ops []distrib.Op, sync distrib.Sync) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	change := map[string][]byte{}
	for _, op := range ops {
		change[string(op.Key)] = nil
		if !op.Delete {
			change[string(op.Key)] = append([]byte{}, op.Value...)
		}
	}
	m.apply(change, sync)
	return nil
}

// DeleteRange implements distrib.Store.
func (m *Mem) DeleteRange(lower, upper []byte, sync distrib.Sync) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	change := map[string][]byte{}
	for _, k := range m.within(lower, upper) {
		change[k] = nil
	}
	m.apply(change, sync)
	return nil
}

func (m *Mem) apply(change map[string][]byte, sync distrib.Sync) {
	for k, v := range change {
		i, there := slices.BinarySearch(m.keys, k)
		switch {
		case v == nil && there:
			m.keys = slices.Delete(m.keys, i, i+1)
		case v != nil && !there:
			m.keys = slices.Insert(m.keys, i, k)
		}
	}
	amend(m.entries, change)
	m.unsynced = append(m.unsynced, change)
	if sync == distrib.SyncNow {
		m.sync(len(m.unsynced))
	}
}

func amend(entries, change map[string][]byte) {
	for k, v := range change {
		if v == nil {
			delete(entries, k)
		} else {
			entries[k] = v
		}
	}
}

// sync makes the first n unsynced changes durable.
func (m *Mem) sync(n int) {
	for _, c := range m.unsynced[:n] {
		amend(m.durable, c)
	}
	m.unsynced = m.unsynced[n:]
}

// Crash returns the store that a crash leaves: what was durable and the first keep of the changes that were
// not. m itself goes on.
func (m *Mem) Crash(keep int) *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	left := &Mem{durable: maps.Clone(m.durable)}
	for _, c := range m.unsynced[:min(keep, len(m.unsynced))] {
		amend(left.durable, c)
	}
	left.entries = maps.Clone(left.durable)
	left.keys = slices.Sorted(maps.Keys(left.entries))
	return left
}

// within are the keys from lower on and below upper.
func (m *Mem) within(lower, upper []byte) []string {
	from, _ := slices.BinarySearch(m.keys, string(lower))
	to := len(m.keys)
	if upper != nil {
		to, _ = slices.BinarySearch(m.keys, string(upper))
	}
	return m.keys[from:max(from, to)]
}

// Unsynced is how many changes a crash may lose.
func (m *Mem) Unsynced() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.unsynced)
}

// Scan implements distrib.Store.
func (m *Mem) Scan(lower, upper []byte, visit func(key, value []byte) error) error {
	m.mu.Lock()
	keys := slices.Clone(m.within(lower, upper))
	seen := make([][]byte, len(keys)) // values are replaced, never changed
	for i, k := range keys {
		seen[i] = m.entries[k]
	}
	m.mu.Unlock()
	for i, k := range keys {
		if err := visit([]byte(k), bytes.Clone(seen[i])); err != nil {
			return err
		}
	}
	return nil
}
