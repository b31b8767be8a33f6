package engine

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/invariants"
	"github.com/cambiumdb/cambium/internal/vfs"
)

func item(i int) []byte { return fmt.Appendf(nil, "item%06d", i) }

func openBarren(t *testing.T, clock Clock) *DB {
	t.Helper()
	db, err := Open("db", FlushOften(Options{FS: vfs.NewMem(), MemoryBudget: MinMemoryBudget, MemtableSize: 256 << 10, Sync: SyncNone, Clock: clock}))
	require.NoError(t, err)
	return db
}

// head returns the first key, "" where there is none, and how many dead keys were met before it.
func head(t *testing.T, db *DB, opts *IterOptions) (key string, met int) {
	t.Helper()
	it := db.NewIterator(opts)
	defer it.Close()
	if it.First() {
		key = string(it.Key())
	}
	require.NoError(t, it.Err())
	return key, it.walk.dead
}

// TestHeadOfQueue takes items from the head of a queue, in memory and in tables. However many were
// taken, few of them are met again.
func TestHeadOfQueue(t *testing.T) {
	for _, flush := range []bool{false, true} {
		db := openBarren(t, nil)
		n := 5000
		if invariants.Enabled { // then what is leapt over is walked through to compare
			n = 500
		}
		for i := range n {
			require.NoError(t, db.Put(item(i), make([]byte, 100), nil))
		}
		if flush {
			require.NoError(t, db.Flush())
		}
		met := 0
		for i := range n {
			key, dead := head(t, db, nil)
			require.Equal(t, string(item(i)), key)
			met += dead
			require.NoError(t, db.Delete(item(i), nil))
		}
		key, _ := head(t, db, nil)
		require.Empty(t, key)
		require.Less(t, met, 10*n)
		require.NoError(t, db.Close())
	}
}

// TestBarrenStretch has things happen to a stretch of keys that a scan has found nothing live in.
func TestBarrenStretch(t *testing.T) {
	const n = 100
	live := string(item(n))
	for name, script := range map[string]struct {
		happens func(t *testing.T, db *DB)
		first   string
		leaps   bool
	}{
		"nothing": {func(*testing.T, *DB) {}, live, true},
		"a put into it": {func(t *testing.T, db *DB) {
			require.NoError(t, db.Put(item(50), []byte("v"), nil))
		}, string(item(50)), false},
		"a put into it that is deleted again": {func(t *testing.T, db *DB) {
			require.NoError(t, db.Put(item(50), []byte("v"), nil))
			require.NoError(t, db.Delete(item(50), nil))
		}, live, false},
		"a put before it":       {func(t *testing.T, db *DB) { require.NoError(t, db.Put([]byte("a"), nil, nil)) }, "a", true},
		"a put of the live key": {func(t *testing.T, db *DB) { require.NoError(t, db.Put(item(n), []byte("v"), nil)) }, live, true},
		"a delete in it":        {func(t *testing.T, db *DB) { require.NoError(t, db.Delete(item(50), nil)) }, live, true},
		"a flush":               {func(t *testing.T, db *DB) { require.NoError(t, db.Flush()) }, live, true},
		"a swap in it": {func(t *testing.T, db *DB) {
			ok, err := db.CompareAndSwap(item(7), nil, []byte("v"), nil)
			require.NoError(t, err)
			require.True(t, ok)
		}, string(item(7)), false},
		"tables that come in": {func(t *testing.T, db *DB) {
			w, err := NewTableWriter("in.sst", &Options{FS: db.fs})
			require.NoError(t, err)
			require.NoError(t, w.Put(item(33), []byte("v")))
			require.NoError(t, w.Close())
			require.NoError(t, db.Ingest("in.sst"))
		}, string(item(33)), false},
	} {
		t.Run(name, func(t *testing.T) {
			db := openBarren(t, nil)
			defer db.Close()
			for i := range n + 1 {
				require.NoError(t, db.Put(item(i), []byte("v"), nil))
			}
			var before *Snapshot // when there still was something in between
			for i := range n {
				if i == n/2 {
					before = db.NewSnapshot()
					defer before.Close()
				}
				require.NoError(t, db.Delete(item(i), nil))
			}
			old := db.NewIterator(nil) // of this moment, whatever is found out later
			defer old.Close()
			key, met := head(t, db, nil)
			require.Equal(t, live, key)
			require.Equal(t, n, met)
			after := db.NewSnapshot()
			defer after.Close()

			script.happens(t, db)
			known := db.barren.covering(item(60), db.visible.Load(), 1<<60)
			require.Equal(t, script.leaps, known != nil)
			key, _ = head(t, db, nil)
			require.Equal(t, script.first, key)
			key, _ = head(t, db, &IterOptions{Snapshot: before})
			require.Equal(t, string(item(n/2)), key)
			key, _ = head(t, db, &IterOptions{Snapshot: after})
			require.Equal(t, live, key)
			require.True(t, old.First())
			require.Equal(t, live, string(old.Key()))

			if known != nil {
				it := db.NewIterator(&IterOptions{Lower: item(20)})
				defer it.Close()
				require.True(t, it.First())
				require.Less(t, it.walk.dead, 3)
				require.NotNil(t, it.walk.leapt)
				bounded := db.NewIterator(&IterOptions{Lower: item(20), Upper: item(40)})
				defer bounded.Close()
				require.False(t, bounded.First())
				require.False(t, bounded.Last())
				require.NoError(t, bounded.Err())
			}
		})
	}
}

// TestBarrenStretchOfBefore has an iterator find out what was true when it was made and is not any more.
func TestBarrenStretchOfBefore(t *testing.T) {
	for name, happens := range map[string]func(db *DB) error{
		"in memory": func(db *DB) error { return db.Put(item(50), []byte("v"), nil) },
		"sealed": func(db *DB) error {
			if err := db.Put(item(50), []byte("v"), nil); err != nil {
				return err
			}
			db.queue.stage.Lock()
			defer db.queue.stage.Unlock()
			return db.rotate()
		},
		"in a table": func(db *DB) error { return errors.Join(db.Put(item(50), []byte("v"), nil), db.Flush()) },
		"ingested": func(db *DB) error {
			w, err := NewTableWriter("in.sst", &Options{FS: db.fs})
			if err != nil {
				return err
			}
			return errors.Join(w.Put(item(50), []byte("v")), w.Close(), db.Ingest("in.sst"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			db := openBarren(t, nil)
			defer db.Close()
			for i := range 100 {
				require.NoError(t, db.Put(item(i), []byte("v"), nil))
				require.NoError(t, db.Delete(item(i), nil))
			}
			it := db.NewIterator(nil)
			defer it.Close()
			require.NoError(t, happens(db))
			require.False(t, it.First())
			require.Equal(t, 100, it.walk.dead)
			require.Nil(t, db.barren.covering(item(60), db.visible.Load(), 1<<60))
			key, _ := head(t, db, nil)
			require.Equal(t, string(item(50)), key)
		})
	}
	var b barren
	require.False(t, b.place(&stretch{}, &stretch{}), "what was leapt over is not known any more")
}

// TestBarrenStretchGrows widens a stretch on both sides, and remembers several.
func TestBarrenStretchGrows(t *testing.T) {
	db := openBarren(t, nil)
	defer db.Close()
	for i := range 1000 {
		require.NoError(t, db.Put(item(i), []byte("v"), nil))
	}
	drop := func(from, to int) {
		for i := from; i < to; i++ {
			require.NoError(t, db.Delete(item(i), nil))
		}
	}
	scan := func() (dead int) {
		it := db.NewIterator(nil)
		defer it.Close()
		for ok := it.First(); ok; ok = it.Next() {
			dead += it.walk.dead
		}
		return dead
	}
	known := func() (ranges []string) {
		for i := range db.barren.known {
			if s := db.barren.known[i].Load(); s != nil {
				require.True(t, s.sound.Load())
				ranges = append(ranges, fmt.Sprintf("%s..%s", s.lower[4:], s.upper[4:]))
			}
		}
		return ranges
	}
	drop(100, 200)
	require.Equal(t, 100, scan())
	require.Equal(t, []string{"000100..000200"}, known())
	drop(200, 250)
	drop(80, 100)
	scan()
	require.Equal(t, []string{"000080..000250"}, known())
	drop(400, 500)
	scan()
	require.Equal(t, []string{"000080..000250", "000400..000500"}, known())
	drop(250, 400)
	scan()
	require.Equal(t, []string{"000080..000400", "000400..000500"}, known())
	require.Less(t, scan(), 5)
	for i := range 12 { // more than are remembered
		drop(520+i*40, 540+i*40)
	}
	scan()
	require.Len(t, known(), len(db.barren.known))
}

// TestBarrenClock sets the clock back after a stretch of expired values was remembered.
func TestBarrenClock(t *testing.T) {
	clock := &settableClock{now: time.UnixMilli(1_700_000_000_000)}
	db := openBarren(t, clock)
	defer db.Close()
	for i := range 50 {
		require.NoError(t, db.Put(item(i), []byte("v"), &WriteOptions{TTL: time.Minute}))
	}
	clock.set(time.UnixMilli(1_700_000_061_000))
	key, met := head(t, db, nil)
	require.Empty(t, key)
	require.Equal(t, 50, met)
	_, met = head(t, db, nil)
	require.Less(t, met, 3)
	clock.set(time.UnixMilli(1_700_000_059_000))
	key, _ = head(t, db, nil)
	require.Equal(t, string(item(0)), key)
}

type settableClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *settableClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *settableClock) set(to time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = to
}

// TestBarrenConcurrent has scanners remember stretches while a writer puts keys into them: what a put
// that returned has written is there for every scan that begins later.
func TestBarrenConcurrent(t *testing.T) {
	db := openBarren(t, nil)
	defer db.Close()
	const n, rounds = 200, 2000
	for i := range n {
		require.NoError(t, db.Put(item(i), []byte("v"), nil))
		require.NoError(t, db.Delete(item(i), nil))
	}
	stop := make(chan struct{})
	var scanners sync.WaitGroup
	for range 2 {
		scanners.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				it := db.NewIterator(nil)
				it.First()
				it.Close()
			}
		})
	}
	for i := range rounds {
		key := item(i * 37 % n)
		require.NoError(t, db.Put(key, []byte("v"), nil))
		got, _ := head(t, db, nil)
		require.Equal(t, string(key), got, "round %d", i)
		require.NoError(t, db.Delete(key, nil))
		if i%500 == 499 {
			require.NoError(t, db.Flush())
		}
	}
	close(stop)
	scanners.Wait()
}
