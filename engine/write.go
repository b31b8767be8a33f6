package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/entity"
	"github.com/cambiumdb/cambium/internal/ikey"
)

// Put sets key to value. opts may be nil. With a positive TTL the value is absent that long
// after the write.
func (db *DB) Put(key, value []byte, opts *WriteOptions) error {
	b := db.borrowBatchFor(key, value)
	defer returnBatch(b)
	b.putWith(key, value, opts)
	return db.apply(b, opts, nil)
}

// Delete removes key. Removing what is not there is no error.
func (db *DB) Delete(key []byte, opts *WriteOptions) error {
	b := db.borrowBatch()
	defer returnBatch(b)
	b.Delete(key)
	return db.apply(b, opts, nil)
}

// DeleteRange removes every key in [lo, hi) as one operation, however many there are. Both
// bounds must be given, and lo < hi.
func (db *DB) DeleteRange(lo, hi []byte, opts *WriteOptions) error {
	b := db.borrowBatch()
	defer returnBatch(b)
	b.DeleteRange(lo, hi)
	return db.apply(b, opts, nil)
}

// Apply writes the batch: all of it or, on an error, none (a write whose log failed may
// reappear after a crash, whole: see the package comment). The batch must come from this
// database's NewBatch; it may be Reset and used again afterwards.
func (db *DB) Apply(b *Batch, opts *WriteOptions) error {
	if b.db != db {
		return errorf(ErrInvalidArgument, "apply: the batch was made by another database's NewBatch")
	}
	if opts != nil && opts.TTL != 0 {
		return errorf(ErrInvalidArgument, "apply: WriteOptions.TTL is %v, but a batch carries its TTLs: use Batch.PutTTL", opts.TTL)
	}
	return db.apply(b, opts, nil)
}

// CompareAndSwap sets key to new if its value is old, and reports whether it was. old nil means
// the key must be absent (an expired value is); an empty non-nil old means present and empty.
// new nil deletes the key. It is linearizable with every other write. Like Put, new takes
// opts.TTL.
func (db *DB) CompareAndSwap(key, old, new []byte, opts *WriteOptions) (bool, error) {
	b := db.borrowBatchFor(key, new)
	defer returnBatch(b)
	for {
		b.Reset()
		if new == nil {
			b.Delete(key)
		} else {
			b.putWith(key, new, opts)
		}
		if b.err != nil {
			return false, b.err
		}
		at, same, err := db.compare(key, old)
		if err != nil || !same {
			return false, err
		}
		err = db.apply(b, opts, &casCheck{key: key, at: at})
		if !errors.Is(err, errConflict) {
			return err == nil, err
		}
	}
}

// errConflict tells CompareAndSwap to read again.
var errConflict = errors.New("the key was written in between")

// compare reads key and returns the sequence number it read at and whether its value is old.
func (db *DB) compare(key, old []byte) (at uint64, same bool, err error) {
	if db.readOnly {
		return 0, false, db.readOnlyError("compare-and-swap")
	}
	v, at, err := db.pinRead()
	if err != nil {
		return 0, false, err
	}
	defer v.unref()
	now := db.opts.Clock.Now().UnixMilli()
	err = db.getAt(v, key, at, now, func(value []byte) error {
		same = old != nil && bytes.Equal(value, old)
		return nil
	})
	if errors.Is(err, ErrNotFound) {
		return at, old == nil, nil
	}
	return at, same, err
}

func (b *Batch) putWith(key, value []byte, opts *WriteOptions) {
	if opts != nil && opts.TTL != 0 {
		b.PutTTL(key, value, opts.TTL)
	} else {
		b.Put(key, value)
	}
}

// apply commits b under opts.
func (db *DB) apply(b *Batch, opts *WriteOptions, cas *casCheck) error {
	if db.readOnly {
		return db.readOnlyError("write")
	}
	if db.closed.Load() {
		return ErrClosed
	}
	if b.err != nil {
		return b.err
	}
	policy := db.opts.Sync.policy()
	if opts != nil && opts.Sync != SyncDefault {
		if opts.Sync > SyncNone {
			return badOption("WriteOptions.Sync", opts.Sync, "one of the Sync constants")
		}
		policy = opts.Sync.policy()
	}
	if b.count == 0 {
		return nil
	}
	c := db.newCommit(b, policy)
	c.cas = cas
	err := db.commit(c)
	if err == nil && c.conflict {
		err = errConflict
	}
	db.freeCommit(c)
	if err != nil && !errors.Is(err, errConflict) && !errors.Is(err, ErrClosed) {
		err = fmt.Errorf("write to %s: %w", db.dir, err)
	}
	return err
}

func (db *DB) readOnlyError(op string) error {
	return errorf(ErrReadOnly, "%s: %s is open read-only: open it with engine.Open to write", op, db.dir)
}

var batchPool sync.Pool

func (db *DB) borrowBatch() *Batch {
	b, _ := batchPool.Get().(*Batch)
	if b == nil {
		b = new(Batch)
	}
	b.db = db
	b.Reset()
	return b
}

// admitBytes is the length from which a value waits for its place among the large writes.
const admitBytes = 64 << 10

// borrowBatchFor is borrowBatch for a pair that will be copied into the batch. All large values
// together take a bounded part of the budget, however many write at once: the others wait here.
func (db *DB) borrowBatchFor(key, value []byte) *Batch {
	var since time.Time
	n := int64(0)
	if len(value) >= admitBytes {
		if n = min(int64(len(value)), db.budget.writes); !db.largeWrites.TryAcquire(n) {
			since = time.Now()
			_ = db.largeWrites.Acquire(context.Background(), n) // which never ends
		}
	}
	if len(value) < cache.LargeBytes {
		b := db.borrowBatch()
		b.admitted, b.since = n, since
		return b
	}
	room := db.cache.Alloc(batch.HeaderLen + batch.OpLen(ikey.KindEntity, len(key), entity.EncodedLen(len(value))))
	b := &Batch{db: db, rep: room.Bytes()[:0], room: room, admitted: n, since: since}
	b.Reset()
	return b
}

func returnBatch(b *Batch) {
	if b.admitted > 0 {
		b.db.largeWrites.Release(b.admitted)
		b.admitted, b.since = 0, time.Time{}
	}
	if b.room != nil {
		b.rep = nil
		b.room.Release()
		return
	}
	if b.db = nil; cap(b.rep) <= 1<<20 {
		batchPool.Put(b)
	}
}
