package engine

import (
	"fmt"
	"time"

	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/entity"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/wal"
)

// Batch collects writes that Apply makes visible and durable together. Its methods copy what
// they are given and return nothing: the first invalid argument is remembered and returned by
// Apply, which then writes nothing. Later operations in a batch win over earlier ones.
type Batch struct {
	db        *DB
	rep       []byte // RocksDB's WriteBatch encoding, header included
	count     uint32 // operations in rep
	userBytes int64  // key + value bytes, as the ledger counts them
	err       error
	scratch   []byte
	room      *cache.Handle // the memory of rep; nil: it is the Go heap's
	admitted  int64         // bytes that it holds of budget.writes
	since     time.Time     // when it began to wait for them; zero: it has not
}

// NewBatch returns an empty batch for Apply of the same database.
func (db *DB) NewBatch() *Batch {
	b := &Batch{db: db}
	b.Reset()
	return b
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	b.rep = append(b.rep[:0], make([]byte, batch.HeaderLen)...)
	b.count, b.userBytes, b.err = 0, 0, nil
}

// Len is the number of operations.
func (b *Batch) Len() int { return int(b.count) }

// Size is the encoded size in bytes.
func (b *Batch) Size() int { return len(b.rep) }

// Put sets key to value, without expiry.
func (b *Batch) Put(key, value []byte) {
	if b.check("put", key, value) {
		b.add(ikey.KindSet, key, value)
	}
}

// PutTTL sets key to value until ttl from now; ttl must be positive.
func (b *Batch) PutTTL(key, value []byte, ttl time.Duration) {
	if !b.check("put", key, value) {
		return
	}
	if ttl <= 0 {
		b.fail(errorf(ErrInvalidArgument, "put %s: TTL is %v, want a positive duration", quoteKey(key), ttl))
		return
	}
	b.putExpiring(key, value, expiryMillis(b.db.opts.Clock.Now(), ttl))
}

// expiryMillis is the first Unix millisecond at which a value written now with ttl is absent.
func expiryMillis(now time.Time, ttl time.Duration) int64 {
	ms := ttl / time.Millisecond
	if ttl%time.Millisecond != 0 {
		ms++
	}
	return now.UnixMilli() + int64(ms)
}

func (b *Batch) putExpiring(key, value []byte, expiry int64) {
	b.scratch = entity.Encode(b.scratch[:0], value, expiry)
	b.add(ikey.KindEntity, key, b.scratch)
	b.userBytes += int64(len(value) - len(b.scratch))
	if cap(b.scratch) > 1<<20 {
		b.scratch = nil
	}
}

// Delete removes key; a missing one is no error.
func (b *Batch) Delete(key []byte) {
	if b.check("delete", key, nil) {
		b.add(ikey.KindDelete, key, nil)
	}
}

// DeleteRange removes the keys in [lo, hi). Both must be given, and lo < hi.
func (b *Batch) DeleteRange(lo, hi []byte) {
	if !b.check("delete range", lo, nil) || !b.check("delete range", hi, nil) {
		return
	}
	if err := checkRange("delete range", lo, hi); err != nil {
		b.fail(err)
		return
	}
	b.add(ikey.KindRangeDelete, lo, hi)
}

func (b *Batch) check(op string, key, value []byte) bool {
	err := b.db.opts.checkKey(op, key)
	if err == nil {
		err = b.db.opts.checkValue(op, key, value)
	}
	if limit := b.db.opts.maxBatchBytes(); err == nil && int64(len(b.rep)+len(key)+len(value)) > limit {
		err = errorf(ErrInvalidArgument, "%s %s: the batch would pass %d bytes, its limit under Options.MemoryBudget of %d: split it",
			op, quoteKey(key), limit, b.db.opts.MemoryBudget)
	}
	if err != nil {
		b.fail(err)
	}
	return err == nil
}

// fail remembers the first error together with where in the batch it happened.
func (b *Batch) fail(err error) {
	if b.err == nil {
		if b.count > 0 {
			err = fmt.Errorf("batch operation %d: %w", b.count+1, err)
		}
		b.err = err
	}
}

func (b *Batch) add(kind ikey.Kind, key, value []byte) {
	b.rep = batch.AppendOp(b.rep, kind, key, value)
	b.count++
	b.userBytes += int64(len(key) + len(value))
}

// maxBatchBytes bounds one batch: a quarter of the budget, and always room for a few of the
// largest values. What surrounds the last of them is not counted.
func (o *Options) maxBatchBytes() int64 {
	return min(max(o.MemoryBudget/4, 2*int64(o.MaxValueBytes)+1<<20), wal.MaxRecord-1<<10)
}
