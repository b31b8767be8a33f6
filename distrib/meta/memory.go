// Package meta holds the ring metadata: implementations of distrib.MetaStore.
//
//	store, err := meta.Open(ctx, meta.Options{Dir: filepath.Join(dir, "meta"), Name: name, Seeds: seeds})
//	cache, err := meta.OpenCache(store, filepath.Join(dir, "topology"))
//	t, revision, err := cache.Load(ctx) // the last one seen where the store does not answer
//
// The topology is one JSON value, replaced as a whole by a compare-and-set on its revision. All types may be
// called concurrently.
//
// The store is an etcd: the operator's, or one of members that the nodes run themselves (Embedded). A member's
// directory holds the file seat (JSON: the member's name, its URLs and the cluster that it joined) and etcd's own
// directory etcd.
package meta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/cambiumdb/cambium/distrib"
)

// MaxTopologyBytes limits the encoded topology: etcd takes 1.5 MiB a request.
const MaxTopologyBytes = 1 << 20

// ErrDown is returned where a store does not answer.
var ErrDown = errors.New("the metadata store does not answer: changes of the topology are refused, data goes on")

// Memory is a store in memory, shared by the nodes of one process. Closing it does nothing, so that each of them may.
type Memory struct {
	mu       sync.Mutex
	value    []byte
	revision int64
	down     bool
	changed  chan struct{} // closed and replaced by each change of the above
}

var _ distrib.MetaStore = (*Memory)(nil)

// NewMemory returns an empty store.
func NewMemory() *Memory { return &Memory{changed: make(chan struct{})} }

// SetDown makes Load and Update fail with ErrDown, and watchers see nothing, until it is called with false.
func (m *Memory) SetDown(down bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.down = down
	m.wake()
}

// Load implements distrib.MetaStore.
func (m *Memory) Load(ctx context.Context) (*distrib.Topology, int64, error) {
	m.mu.Lock()
	value, revision, down := m.value, m.revision, m.down
	m.mu.Unlock()
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	if down {
		return nil, 0, ErrDown
	}
	if revision == 0 {
		return nil, 0, nil
	}
	t, err := decode(value)
	return t, revision, err
}

// Update implements distrib.MetaStore.
func (m *Memory) Update(ctx context.Context, t *distrib.Topology, revision int64) (int64, error) {
	value, err := encode(t)
	if err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case m.down:
		return 0, ErrDown
	case revision != m.revision:
		return 0, distrib.ErrChanged
	}
	m.value = value
	m.revision++
	m.wake()
	return m.revision, nil
}

// Watch implements distrib.MetaStore.
func (m *Memory) Watch(ctx context.Context, changed func(*distrib.Topology, int64)) {
	var seen int64
	for ctx.Err() == nil {
		m.mu.Lock()
		wait := m.changed
		m.mu.Unlock()
		if t, revision, err := m.Load(ctx); err == nil && revision > seen {
			seen = revision
			changed(t, revision)
		}
		select {
		case <-wait:
		case <-ctx.Done():
		}
	}
}

// Close implements distrib.MetaStore.
func (m *Memory) Close() error { return nil }

func (m *Memory) wake() {
	close(m.changed)
	m.changed = make(chan struct{})
}

func encode(t *distrib.Topology) ([]byte, error) {
	b, err := json.Marshal(t)
	if err == nil && len(b) > MaxTopologyBytes {
		err = fmt.Errorf("the topology of %d members takes %d bytes, the limit is %d", len(t.Members), len(b), MaxTopologyBytes)
	}
	return b, err
}

func decode(b []byte) (*distrib.Topology, error) {
	t := new(distrib.Topology)
	if err := json.Unmarshal(b, t); err != nil {
		return nil, fmt.Errorf("the stored topology of %d bytes: %w", len(b), err)
	}
	return t, nil
}
