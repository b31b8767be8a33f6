package engine

import (
	"slices"
	"sync"
)

// Snapshot is the database as it was when the snapshot was made. It keeps what it sees from
// being dropped by compaction until Close; it does not extend a TTL.
type Snapshot struct {
	db     *DB
	seq    uint64
	closed sync.Once
}

// NewSnapshot fixes the present state. The caller must Close it. On a closed database it
// returns a snapshot whose reads give ErrClosed.
func (db *DB) NewSnapshot() *Snapshot {
	db.snaps.mu.Lock()
	defer db.snaps.mu.Unlock()
	s := &Snapshot{db: db, seq: db.visible.Load()}
	i, _ := slices.BinarySearch(db.snaps.seqs, s.seq)
	db.snaps.seqs = slices.Insert(db.snaps.seqs, i, s.seq)
	return s
}

// Seq is the sequence number the snapshot reads at.
func (s *Snapshot) Seq() uint64 { return s.seq }

// Close lets compaction drop what only this snapshot needed. It may be called twice.
func (s *Snapshot) Close() error {
	s.closed.Do(func() {
		snaps := &s.db.snaps
		snaps.mu.Lock()
		if i, ok := slices.BinarySearch(snaps.seqs, s.seq); ok {
			snaps.seqs = slices.Delete(snaps.seqs, i, i+1)
		}
		snaps.mu.Unlock()
		s.db.schedule()
	})
	return nil
}

// Get returns a copy of key's value as of the snapshot, or ErrNotFound.
func (s *Snapshot) Get(key []byte) ([]byte, error) {
	if len(key) == 0 {
		return nil, errorf(ErrInvalidArgument, "get: key is empty")
	}
	v, err := s.db.pin()
	if err != nil {
		return nil, err
	}
	defer v.unref()
	var out []byte
	err = s.db.getAt(v, key, s.seq, s.db.opts.Clock.Now().UnixMilli(), func(value []byte) error {
		out = append(make([]byte, 0, len(value)), value...)
		return nil
	})
	return out, err
}

// snapshots is the list of sequence numbers that open snapshots read at.
type snapshots struct {
	mu   sync.Mutex // guards seqs
	seqs []uint64   // ascending, with repeats
}

// boundaries returns, ascending, the sequence numbers at which reads may happen: the open
// snapshots' and the visible one. Background work keeps what each of them sees.
func (db *DB) boundaries() []uint64 {
	db.snaps.mu.Lock()
	defer db.snaps.mu.Unlock()
	out := slices.Clone(db.snaps.seqs)
	out = append(out, db.visible.Load())
	return slices.Compact(out)
}
