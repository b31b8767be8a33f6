package perf

import (
	"bytes"
	"context"
	"errors"
	"sort"
	"sync"
)

// memory is an engine that keeps everything in a map, for tests of the harness itself.
type memory struct {
	mu      sync.RWMutex // guards everything below
	values  map[string][]byte
	sorted  []string // nil: to be made
	written int64
	gets    int64
	closed  bool

	lie     func(key string) bool // gets of these keys find nothing
	twist   func(key string) bool // gets of these keys find something else
	ghosts  int                   // entries that only scans of everything count
	failPut error
	factor  int64 // ledger bytes for each byte accepted
}

func newMemory() *memory { return &memory{values: map[string][]byte{}, factor: 2} }

func (m *memory) opener() Opener {
	return func(string, Config) (Engine, error) { return m, nil }
}

func (m *memory) Put(key, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failPut != nil {
		return m.failPut
	}
	if _, ok := m.values[string(key)]; !ok {
		m.sorted = nil
	}
	m.values[string(key)] = bytes.Clone(value)
	m.written += int64(len(key) + len(value))
	return nil
}

func (m *memory) Delete(key []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.values, string(key))
	m.sorted = nil
	return nil
}

func (m *memory) Apply(ops []Op) error {
	for _, op := range ops {
		var err error
		if op.Delete {
			err = m.Delete(op.Key)
		} else {
			err = m.Put(op.Key, op.Value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) Get(key []byte, use func([]byte)) (bool, error) {
	m.mu.Lock()
	m.gets++
	v, ok := m.values[string(key)]
	m.mu.Unlock()
	if !ok || m.lie != nil && m.lie(string(key)) {
		return false, nil
	}
	if m.twist != nil && m.twist(string(key)) {
		v = append(bytes.Clone(v), 'x')
	}
	use(v)
	return true, nil
}

func (m *memory) Scan(start []byte, limit int, visit func(key, value []byte)) (int, error) {
	m.mu.Lock()
	if m.sorted == nil {
		for k := range m.values {
			m.sorted = append(m.sorted, k)
		}
		sort.Strings(m.sorted)
	}
	keys := m.sorted
	m.mu.Unlock()
	n := 0
	for i := sort.SearchStrings(keys, string(start)); i < len(keys) && n < limit; i++ {
		m.mu.RLock()
		v := m.values[keys[i]]
		m.mu.RUnlock()
		visit([]byte(keys[i]), v)
		n++
	}
	if limit > 1<<30 {
		n += m.ghosts
	}
	return n, nil
}

func (m *memory) Settle(ctx context.Context) error { return ctx.Err() }

func (m *memory) Stats() Stats {
	m.mu.RLock()
	defer m.mu.RUnlock()
	return Stats{
		Writes: []WriteRow{
			{Cause: "wal", Level: -1, Bytes: m.written},
			{Cause: "flush", Level: 0, Bytes: m.written * (m.factor - 1)},
		},
		Levels: []LevelStats{{Level: 0, Tables: 1, Bytes: m.written, Runs: 1}},
		Reads:  ReadStats{Gets: m.gets, TablesProbed: m.gets},
	}
}

func (m *memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errors.New("closed twice")
	}
	m.closed = true
	return nil
}
