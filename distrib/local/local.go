// Package local stands a distrib.Store on an engine.
//
//	db, err := engine.Open(dir, local.Options(nil))
//	s := local.New(db)
//
// The engine is the caller's, to close after the last call. Its durability is the engine's: SyncNow is
// SyncPerWrite, SyncSoon SyncPerSecond, SyncLater SyncNone.
package local

import (
	"errors"
	"sync"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/engine"
)

// Options returns a copy of opts, which may be nil, with the limits raised to what records need.
func Options(opts *engine.Options) *engine.Options {
	var o engine.Options
	if opts != nil {
		o = *opts
	}
	o.MaxKeyBytes = max(o.MaxKeyBytes, distrib.MaxStoreKeyBytes)
	return &o
}

// Store is an engine as a distrib.Store.
type Store struct {
	db      *engine.DB
	batches sync.Pool // of *engine.Batch
}

var _ distrib.Store = (*Store)(nil)

// New returns db as a store.
func New(db *engine.DB) *Store { return &Store{db: db} }

// keptBatch is the longest batch, in bytes, whose memory is used again.
const keptBatch = 1 << 20

var policies = map[distrib.Sync]*engine.WriteOptions{
	distrib.SyncNow:   {Sync: engine.SyncPerWrite},
	distrib.SyncSoon:  {Sync: engine.SyncPerSecond},
	distrib.SyncLater: {Sync: engine.SyncNone},
}

// Get implements distrib.Store.
func (s *Store) Get(key []byte) ([]byte, error) {
	v, err := s.db.Get(key)
	if errors.Is(err, engine.ErrNotFound) {
		return nil, distrib.ErrNotFound
	}
	return v, err
}

// Apply implements distrib.Store.
func (s *Store) Apply(ops []distrib.Op, when distrib.Sync) error {
	b, _ := s.batches.Get().(*engine.Batch)
	if b == nil {
		b = s.db.NewBatch()
	}
	defer func() {
		if b.Size() <= keptBatch {
			b.Reset()
			s.batches.Put(b)
		}
	}()
	for _, op := range ops {
		if op.Delete {
			b.Delete(op.Key)
		} else {
			b.Put(op.Key, op.Value)
		}
	}
	return s.db.Apply(b, policies[when])
}

// Scan implements distrib.Store.
func (s *Store) Scan(lower, upper []byte, visit func(key, value []byte) error) error {
	it := s.db.NewIterator(&engine.IterOptions{Lower: lower, Upper: upper})
	for ok := it.First(); ok; ok = it.Next() {
		value := it.Value()
		if it.Err() != nil {
			break
		}
		if err := visit(it.Key(), value); err != nil {
			_ = it.Close() // it was only read
			return err
		}
	}
	return errors.Join(it.Err(), it.Close())
}

// DeleteRange implements distrib.Store.
func (s *Store) DeleteRange(lower, upper []byte, when distrib.Sync) error {
	return s.db.DeleteRange(lower, upper, policies[when])
}
