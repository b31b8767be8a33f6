package engine_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
)

// TestConcurrentUse runs 8 writers and 8 readers, with iterators and snapshots, over flushes and
// compactions. Writers move amounts between accounts in one batch, so the total that any
// consistent read sees is constant; counters only grow.
func TestConcurrentUse(t *testing.T) {
	d := 60 * time.Second
	if testing.Short() {
		d = 8 * time.Second
	}
	if os.Getenv("CAMBIUM_SOAK") != "" {
		d = 10 * time.Minute
	}
	if !raceEnabled && d > 10*time.Second {
		d = 10 * time.Second // the long run is for the race detector
	}
	const accounts, amount, writers, readers = 64, 1000, 8, 8
	db := open(t, t.TempDir(), engine.FlushOften(engine.Options{MemoryBudget: 16 << 20, MemtableSize: 256 << 10, Sync: engine.SyncNone}))
	account := func(i int) []byte { return fmt.Appendf(nil, "account-%02d", i) }
	number := func(n uint64) []byte { return binary.BigEndian.AppendUint64(nil, n) }
	b := db.NewBatch()
	for i := range accounts {
		b.Put(account(i), number(amount))
	}
	require.NoError(t, db.Apply(b, nil))

	var stop atomic.Bool
	var writes, reads, swaps, ingests atomic.Int64
	tables := t.TempDir()
	timer := time.AfterFunc(d, func() { stop.Store(true) })
	defer timer.Stop()
	var transfer sync.Mutex // transfers read and write two accounts
	var wg sync.WaitGroup
	fail := func(format string, args ...any) {
		t.Errorf(format, args...)
		stop.Store(true)
	}
	for w := range writers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 5))
			for n := 0; !stop.Load(); n++ {
				switch rng.IntN(4) {
				case 0:
					transfer.Lock()
					from, to := rng.IntN(accounts), rng.IntN(accounts)
					vs, err := db.MultiGet([][]byte{account(from), account(to)})
					if err == nil && from != to {
						x, y := binary.BigEndian.Uint64(vs[0]), binary.BigEndian.Uint64(vs[1])
						if x > 0 {
							b := db.NewBatch()
							b.Put(account(from), number(x-1))
							b.Put(account(to), number(y+1))
							err = db.Apply(b, nil)
						}
					}
					transfer.Unlock()
					if err != nil {
						fail("transfer: %v", err)
					}
				case 1:
					if err := increment(db, []byte("shared-counter")); err != nil {
						fail("swap: %v", err)
					}
					swaps.Add(1)
				case 2:
					lo := rng.IntN(5000)
					if err := db.DeleteRange(fmt.Appendf(nil, "fill-%04d", lo), fmt.Appendf(nil, "fill-%04d", lo+20), nil); err != nil {
						fail("delete range: %v", err)
					}
				default:
					opts := &engine.WriteOptions{}
					if rng.IntN(50) == 0 {
						opts.Sync = engine.SyncPerWrite
					}
					if rng.IntN(10) == 0 {
						opts.TTL = time.Duration(1+rng.IntN(200)) * time.Millisecond
					}
					k := fmt.Appendf(nil, "fill-%04d", rng.IntN(5000))
					if err := db.Put(k, append(k, bytes.Repeat([]byte("."), rng.IntN(2000))...), opts); err != nil {
						fail("put: %v", err)
					}
				}
				writes.Add(1)
			}
		})
	}
	for r := range readers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(r), 6))
			for !stop.Load() {
				switch rng.IntN(4) {
				case 0:
					if err := total(db, nil, rng.IntN(2) == 0, accounts*amount); err != nil {
						fail("iterator: %v", err)
					}
				case 1:
					s := db.NewSnapshot()
					for range 2 {
						if err := total(db, s, rng.IntN(2) == 0, accounts*amount); err != nil {
							fail("snapshot: %v", err)
						}
					}
					s.Close()
				default:
					k := fmt.Appendf(nil, "fill-%04d", rng.IntN(5000))
					err := db.View(k, func(v []byte) error {
						if !bytes.HasPrefix(v, k) {
							return fmt.Errorf("key %s holds %.20q", k, v)
						}
						return nil
					})
					if err != nil && err != engine.ErrNotFound {
						fail("view: %v", err)
					}
				}
				reads.Add(1)
			}
		})
	}
	wg.Go(func() {
		for i := 0; !stop.Load(); i++ {
			time.Sleep(100 * time.Millisecond)
			if err := db.Flush(); err != nil {
				fail("flush: %v", err)
			}
			if i%20 == 19 {
				if err := db.Compact(nil, nil); err != nil {
					fail("compact: %v", err)
				}
			}
		}
	})
	wg.Go(func() { // makes all accounts equal again, in one write of two tables
		for i := 0; !stop.Load(); i++ {
			time.Sleep(20 * time.Millisecond)
			paths := []string{filepath.Join(tables, "low"), filepath.Join(tables, "high")}
			for half, path := range paths {
				w, err := engine.NewTableWriter(path, nil)
				if err != nil {
					fail("table: %v", err)
					return
				}
				for n := range accounts / 2 {
					w.Put(account(half*accounts/2+n), number(amount))
				}
				if err := w.Close(); err != nil {
					fail("table: %v", err)
				}
			}
			transfer.Lock()
			err := db.Ingest(paths...)
			transfer.Unlock()
			if err != nil {
				fail("ingest: %v", err)
			}
			ingests.Add(1)
		}
	})
	wg.Wait()
	v, err := db.Get([]byte("shared-counter"))
	require.NoError(t, err)
	require.EqualValues(t, swaps.Load(), binary.BigEndian.Uint64(v), "a swap was lost")
	require.NoError(t, total(db, nil, false, accounts*amount))
	m := db.Metrics()
	require.Zero(t, m.Iterators)
	require.Zero(t, m.Snapshots)
	require.NoError(t, db.Close())
	t.Logf("%d writes, %d reads, %d swaps, %d ingests, %d flushes, %d compactions in %v", writes.Load(), reads.Load(), swaps.Load(), ingests.Load(),
		m.Compaction.Flushes, m.Compaction.Compactions, d)
}

func increment(db *engine.DB, key []byte) error {
	for {
		old, err := db.Get(key)
		n := uint64(0)
		if err == nil {
			n = binary.BigEndian.Uint64(old)
		} else if err != engine.ErrNotFound {
			return err
		}
		ok, err := db.CompareAndSwap(key, old, binary.BigEndian.AppendUint64(nil, n+1), nil)
		if ok || err != nil {
			return err
		}
	}
}

// total adds up the accounts in one consistent read and compares.
func total(db *engine.DB, s *engine.Snapshot, backward bool, want uint64) error {
	o := engine.Prefix([]byte("account-"))
	o.Snapshot = s
	it := db.NewIterator(o)
	sum := uint64(0)
	if backward {
		for ok := it.Last(); ok; ok = it.Prev() {
			sum += binary.BigEndian.Uint64(it.Value())
		}
	} else {
		for ok := it.First(); ok; ok = it.Next() {
			sum += binary.BigEndian.Uint64(it.Value())
		}
	}
	if err := it.Err(); err != nil {
		it.Close()
		return err
	}
	if err := it.Close(); err != nil {
		return err
	}
	if sum != want {
		return fmt.Errorf("accounts add up to %d, want %d (backward %v)", sum, want, backward)
	}
	return nil
}
