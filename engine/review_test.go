package engine_test

import (
	"context"
	"errors"
	"fmt"
	"path"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// gate holds file operations back until it is opened.
type gate struct {
	reached chan struct{} // receives once for each operation held
	open    chan struct{}
	once    sync.Once
}

// holdBack lets the operations that rule matches wait at the gate returned.
func holdBack(fault *vfs.Fault, rule vfs.Rule) *gate {
	g := &gate{reached: make(chan struct{}, 1000), open: make(chan struct{})}
	rule.Delay = 1
	fault.SetSleep(func(time.Duration) {
		g.reached <- struct{}{}
		<-g.open
	})
	fault.Add(rule)
	return g
}

func (g *gate) release() { g.once.Do(func() { close(g.open) }) }

// within fails the test with every goroutine's stack where done does not close in time: a hang.
func within(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(2 * time.Minute):
		buf := make([]byte, 1<<20)
		t.Fatalf("%s: still waiting\n%s", what, buf[:runtime.Stack(buf, true)])
	}
}

func finished(wg *sync.WaitGroup) <-chan struct{} {
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	return done
}

// stalledBehindLog returns a database in which the first write waits for the sync of the log, and
// the later ones, which are not visible before it, have filled every memtable.
func stalledBehindLog(t *testing.T, fault *vfs.Fault, logErr error) (db *engine.DB, log *gate, writers *sync.WaitGroup) {
	db = open(t, "db", small(fault))
	log = holdBack(fault, vfs.Rule{Ops: vfs.OpSync, Path: "*.log", Err: logErr})
	writers = &sync.WaitGroup{}
	writers.Go(func() {
		if err := db.Put([]byte("first"), []byte("v"), nil); !errors.Is(err, logErr) {
			t.Errorf("first: %v", err)
		}
	})
	<-log.reached
	value := make([]byte, 66_000)
	begun := time.Now()
	// The first waits are for a moment; the fuller memory is, the longer they last.
	for i := 0; db.Metrics().Stalls.Now != "memtables"; i++ {
		require.Less(t, time.Since(begun), time.Minute, "writes never stalled")
		writers.Go(func() {
			// It may fail with the log.
			_ = db.Put(fmt.Appendf(nil, "k%02d", i), value, &engine.WriteOptions{Sync: engine.SyncNone})
		})
		time.Sleep(20 * time.Millisecond) // else many go into one memtable, as one group
	}
	return db, log, writers
}

// TestLogFailsWhileWritesAreStalled: the sync of the log fails while the leader of the next group
// waits for a memtable to be flushed, which cannot be before the failed group is published.
func TestLogFailsWhileWritesAreStalled(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	db, log, writers := stalledBehindLog(t, fault, vfs.ErrInjected)
	log.release()
	within(t, "writers", finished(writers))
	require.Eventually(t, func() bool { return db.Put([]byte("k"), []byte("v"), nil) == nil }, time.Minute, time.Millisecond)
	require.NoError(t, db.Close())
}

// TestCloseWhileWritesAreStalled: Close neither waits for a stalled write nor loses what was
// acknowledged.
func TestCloseWhileWritesAreStalled(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	db, log, writers := stalledBehindLog(t, fault, nil)
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	time.Sleep(10 * time.Millisecond)
	log.release()
	within(t, "writers", finished(writers))
	within(t, "Close", closed)
	db = open(t, "db", small(mem.CrashLoseUnsynced()))
	_, err := db.Get([]byte("first"))
	require.NoError(t, err)
	require.NoError(t, db.Close())
}

// TestMetricsWhileWritesAreStalled: Metrics answers when it is needed most. What it says of a stall has been
// looked at by then.
func TestMetricsWhileWritesAreStalled(t *testing.T) {
	db, log, writers := stalledBehindLog(t, vfs.NewFault(vfs.NewMem()), nil)
	defer log.release()
	answered := make(chan struct{})
	var m engine.Metrics
	go func() { m = db.Metrics(); close(answered) }()
	within(t, "Metrics", answered)
	require.NotZero(t, m.Memtables.Sealed)
	log.release()
	within(t, "writers", finished(writers))
	require.NoError(t, db.Close())
}

// TestBackgroundErrorIsForgotten: a compaction fails once and then succeeds. From then on nobody
// is told of the error.
func TestBackgroundErrorIsForgotten(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	opts := small(fault)
	failed := make(chan error, 10)
	opts.Events = &engine.Events{BackgroundError: func(err error) { failed <- err }}
	db := open(t, "db", opts)
	fault.Add(vfs.Rule{Ops: vfs.OpCreate, Path: "*.sst", Skip: 4, Err: vfs.ErrInjected}) // four flushes, then the compaction
	for i := range 4 {
		require.NoError(t, db.Put([]byte("k"), fmt.Append(nil, i), nil))
		require.NoError(t, db.Flush())
	}
	require.ErrorIs(t, <-failed, vfs.ErrInjected)
	require.Eventually(t, func() bool { return db.WaitIdle(context.Background()) == nil }, time.Minute, time.Millisecond)
	require.Zero(t, db.Metrics().Levels[0].Tables)
	require.NoError(t, db.Close())
}

// files counts the names in a database's directory with a suffix or prefix.
func files(t *testing.T, fs vfs.FS, pattern string) (n int) {
	names, err := fs.List("db")
	require.NoError(t, err)
	for _, name := range names {
		if ok, _ := path.Match(pattern, name); ok {
			n++
		}
	}
	return n
}

// TestRetriesLeaveNoFiles: what fails again and again for as long as a device is full leaves no
// more behind with each try.
func TestRetriesLeaveNoFiles(t *testing.T) {
	const retries = 6
	t.Run("log cannot be made", func(t *testing.T) {
		mem := vfs.NewMem()
		fault := vfs.NewFault(mem)
		db := open(t, "db", small(fault))
		full := fault.Add(vfs.Rule{Ops: vfs.OpPreallocate, Path: "*.log", Forever: true, Err: vfs.ErrNoSpace})
		fault.Add(vfs.Fail(vfs.OpSync, 0))
		require.Error(t, db.Put([]byte("k"), []byte("v"), nil))
		require.Eventually(t, func() bool { return full.Calls() >= retries }, time.Minute, time.Millisecond)
		require.LessOrEqual(t, files(t, mem, "*.log"), 2)
		full.Remove()
		require.Eventually(t, func() bool { return db.Put([]byte("k"), []byte("v"), nil) == nil }, time.Minute, time.Millisecond)
		require.NoError(t, db.Close())
		require.Equal(t, 1, files(t, mem, "*.log"))
	})
	t.Run("manifest cannot be written", func(t *testing.T) {
		mem := vfs.NewMem()
		fault := vfs.NewFault(mem)
		db := open(t, "db", small(fault))
		full := fault.Add(vfs.Rule{Ops: vfs.OpWrite, Path: "MANIFEST-*", Forever: true, Err: vfs.ErrNoSpace})
		require.NoError(t, db.Put([]byte("k"), []byte("v"), nil))
		require.ErrorIs(t, db.Flush(), engine.ErrNoSpace)
		require.Eventually(t, func() bool { return full.Calls() >= retries }, time.Minute, time.Millisecond)
		require.LessOrEqual(t, files(t, mem, "*.sst"), 1)
		full.Remove()
		require.Eventually(t, func() bool { return db.Flush() == nil }, time.Minute, time.Millisecond)
		require.Eventually(t, func() bool { return files(t, mem, "*.sst") == 1 }, time.Minute, time.Millisecond)
		require.NoError(t, db.Close())
	})
	t.Run("log fails after a table was written", func(t *testing.T) {
		mem := vfs.NewMem()
		fault := vfs.NewFault(mem)
		db := open(t, "db", small(fault))
		require.NoError(t, db.Put([]byte("k"), []byte("v"), &engine.WriteOptions{Sync: engine.SyncNone}))
		table := fault.Add(vfs.Rule{Ops: vfs.OpCreate, Path: "*.sst"})
		fault.Add(vfs.Rule{Ops: vfs.OpWrite, Path: "*.log", Err: vfs.ErrInjected, Match: func(vfs.Op, string) bool { return true }})
		_ = db.Flush() // heals and succeeds, or says why not
		require.Eventually(t, func() bool { return db.Put([]byte("k"), []byte("w"), nil) == nil }, time.Minute, time.Millisecond)
		require.NoError(t, db.WaitIdle(context.Background()))
		require.LessOrEqual(t, files(t, mem, "*.sst"), 1, "%d tables were begun", table.Calls())
		require.NoError(t, db.Close())
	})
}

// TestIteratorsAfterAReadError: an error that one iterator met does not stay for the next.
func TestIteratorsAfterAReadError(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	db := open(t, "db", small(fault))
	s := db.NewSnapshot() // keeps the tombstone from being compacted away
	require.NoError(t, db.DeleteRange([]byte("a"), []byte("b"), nil))
	require.NoError(t, db.Put([]byte("k"), []byte("v"), nil))
	require.NoError(t, db.Flush())
	fault.Add(vfs.Rule{Ops: vfs.OpOpen, Path: "*.sst", Err: vfs.ErrInjected})
	// The range meets no table, but a tombstone of any table may.
	it := db.NewIterator(engine.Prefix([]byte("x")))
	require.False(t, it.First())
	require.ErrorIs(t, it.Err(), vfs.ErrInjected)
	it.Close()
	it = db.NewIterator(engine.Prefix([]byte("x")))
	require.False(t, it.First())
	require.NoError(t, it.Err())
	require.NoError(t, it.Close())
	require.NoError(t, s.Close())
	require.NoError(t, db.Close())
}

// TestMissingLog: a log that is gone from between two others, or has lost its records, is
// corruption, not a hole that nobody sees.
func TestMissingLog(t *testing.T) {
	for _, damage := range []string{"removed", "emptied"} {
		t.Run(damage, func(t *testing.T) {
			mem := vfs.NewMem()
			fault := vfs.NewFault(mem)
			db := open(t, "db", small(fault))
			tables := holdBack(fault, vfs.Rule{Ops: vfs.OpCreate, Path: "*.sst", Forever: true})
			defer tables.release()
			for i := range 4 {
				require.NoError(t, db.Put(fmt.Appendf(nil, "k%d", i), make([]byte, 66_000), nil))
			}
			image := mem.CrashLoseUnsynced()
			var logs []string
			names, err := image.List("db")
			require.NoError(t, err)
			for _, n := range names {
				if strings.HasSuffix(n, ".log") {
					logs = append(logs, n)
				}
			}
			require.GreaterOrEqual(t, len(logs), 3)
			if damage == "removed" {
				require.NoError(t, image.Remove("db/"+logs[1]))
			} else {
				f, err := image.OpenReadWrite("db/"+logs[1], vfs.Buffered)
				require.NoError(t, err)
				require.NoError(t, f.Truncate(0))
				require.NoError(t, f.Close())
			}
			_, err = engine.Open("db", small(image))
			require.ErrorIs(t, err, engine.ErrCorruption)
			tables.release()
			require.NoError(t, db.Close())
		})
	}
}

// TestIdleLogFailure: the log fails in the background under a policy that acknowledges first, and
// no other write follows. What was acknowledged becomes durable all the same.
func TestIdleLogFailure(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	db := open(t, "db", small(fault))
	fault.Add(vfs.Rule{Ops: vfs.OpSync, Path: "*.log", Err: vfs.ErrInjected})
	require.NoError(t, db.Put([]byte("k"), []byte("v"), &engine.WriteOptions{Sync: engine.SyncPerSecond}))
	require.Eventually(t, func() bool {
		r, err := engine.OpenReadOnly("db", small(mem.CrashLoseUnsynced()))
		require.NoError(t, err)
		defer r.Close()
		_, err = r.Get([]byte("k"))
		return err == nil
	}, time.Minute, 20*time.Millisecond)
	require.NoError(t, db.Close())
}

// TestCompactBesideClose: a manual compaction that begins while Close is under way is refused or
// waited for.
func TestCompactBesideClose(t *testing.T) {
	for range 60 {
		mem := vfs.NewMem()
		db := open(t, "db", small(mem))
		require.NoError(t, db.Put([]byte("k"), []byte("v"), nil))
		require.NoError(t, db.DeleteRange([]byte("a"), []byte("b"), nil))
		require.NoError(t, db.Flush())
		var wg sync.WaitGroup
		for range 3 {
			wg.Go(func() { _ = db.Compact(nil, nil) })
		}
		wg.Go(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
		within(t, "Compact and Close", finished(&wg))
		_, err := db.Get([]byte("k"))
		require.ErrorIs(t, err, engine.ErrClosed)
	}
}

// TestSwapsBesideLogFailures: writers swap shared counters while the log fails again and again. A
// swap that reported success counts exactly once, one that failed never does, neither now nor
// after a crash.
func TestSwapsBesideLogFailures(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	db := open(t, "db", small(fault))
	policies := []engine.Sync{engine.SyncPerWrite, engine.SyncPerSecond, engine.SyncNone}
	const writers, counters, swaps = 6, 3, 120
	var succeeded [counters]atomic.Int64
	var failures atomic.Int64
	count := func(db *engine.DB, i int) (value []byte, n int64) {
		value, err := db.Get(fmt.Appendf(nil, "counter%d", i))
		if err != nil && !errors.Is(err, engine.ErrNotFound) {
			t.Error(err)
		}
		fmt.Sscan(string(value), &n)
		return value, n
	}
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			for done, tries, faults := 0, 0, 0; done < swaps; tries++ {
				if w == 0 && done >= 20*(faults+1) {
					fault.Add(vfs.Fail([]vfs.Op{vfs.OpSync, vfs.OpWrite, vfs.OpSyncDir}[faults%3], faults%7))
					faults++
				}
				i := (w + tries) % counters
				old, n := count(db, i)
				opts := &engine.WriteOptions{Sync: policies[tries%3]}
				ok, err := db.CompareAndSwap(fmt.Appendf(nil, "counter%d", i), old, fmt.Appendf(nil, "%d %0*d", n+1, 800, 0), opts)
				switch {
				case err != nil:
					failures.Add(1)
					time.Sleep(time.Millisecond)
				case ok:
					succeeded[i].Add(1)
					done++
				}
			}
		})
	}
	within(t, "swaps", finished(&wg))
	check := func(db *engine.DB, when string) {
		for i := range counters {
			_, n := count(db, i)
			require.Equal(t, succeeded[i].Load(), n, "%s: counter %d", when, i)
		}
	}
	fault.Clear()
	check(db, "before Close")
	require.NoError(t, db.Close())
	db = open(t, "db", small(mem.CrashLoseUnsynced()))
	check(db, "after a crash")
	require.NoError(t, db.Close())
	require.Positive(t, failures.Load())
}

// TestCloseWhileHealingFails: Close ends when the log cannot be replaced, and says so.
func TestCloseWhileHealingFails(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	db := open(t, "db", small(fault))
	require.NoError(t, db.Put([]byte("kept"), []byte("v"), nil))
	fault.Add(vfs.Rule{Ops: vfs.OpSync | vfs.OpCreate, Forever: true, Err: vfs.ErrInjected})
	require.Error(t, db.Put([]byte("k"), []byte("v"), nil))
	it := db.NewIterator(nil) // outlives Close
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		if err := db.Close(); !errors.Is(err, vfs.ErrInjected) {
			t.Errorf("Close: %v", err)
		}
	}()
	within(t, "Close", closed)
	require.True(t, it.First())
	require.Equal(t, "v", string(it.Value()))
	require.NoError(t, it.Close())
	db = open(t, "db", small(mem.CrashLoseUnsynced()))
	_, err := db.Get([]byte("kept"))
	require.NoError(t, err)
	require.NoError(t, db.Close())
}
