package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// small returns options under which a few hundred keys already flush and compact, and values of
// 300 bytes are large.
func small(fs vfs.FS) *engine.Options {
	return engine.FlushOften(engine.Options{FS: fs, MemoryBudget: engine.MinMemoryBudget, MemtableSize: 64 << 10, ValueThreshold: 300})
}

func open(t testing.TB, dir string, opts *engine.Options) *engine.DB {
	t.Helper()
	db, err := engine.Open(dir, opts)
	require.NoError(t, err)
	return db
}

// needTool skips a test whose external tool is not here; with CI=true that is a failure.
func needTool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is missing: apt-get install rocksdb-tools strace", name)
	}
	t.Skipf("skipped: %s is not installed, so nothing was compared with it", name)
	return ""
}

func TestFirstFiveMinutes(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir, nil)
	require.NoError(t, db.Put([]byte("user:1"), []byte("Ada"), nil))
	require.NoError(t, db.Put([]byte("user:2"), []byte("Grace"), nil))
	require.NoError(t, db.Put([]byte("zone"), []byte("x"), nil))
	v, err := db.Get([]byte("user:1"))
	require.NoError(t, err)
	require.Equal(t, "Ada", string(v))
	var names []string
	for k, v := range db.All(engine.Prefix([]byte("user:"))) {
		names = append(names, fmt.Sprintf("%s=%s", k, v))
	}
	require.Equal(t, []string{"user:1=Ada", "user:2=Grace"}, names)
	require.NoError(t, db.Delete([]byte("user:1"), nil))
	_, err = db.Get([]byte("user:1"))
	require.ErrorIs(t, err, engine.ErrNotFound)
	require.NoError(t, db.Close())

	db = open(t, dir, nil)
	v, err = db.Get([]byte("user:2"))
	require.NoError(t, err)
	require.Equal(t, "Grace", string(v))
	require.NoError(t, db.Close())
	require.ErrorIs(t, db.Close(), engine.ErrClosed)
	require.ErrorIs(t, db.Put([]byte("k"), nil, nil), engine.ErrClosed)
	_, err = db.Get([]byte("k"))
	require.ErrorIs(t, err, engine.ErrClosed)
}

func TestManyKeysThroughAllLevels(t *testing.T) {
	fs := vfs.NewMem()
	db := open(t, "db", small(fs))
	const n = 20000
	value := func(i, round int) []byte {
		return fmt.Appendf(nil, "value-%d-%d-%s", i, round, bytes.Repeat([]byte("x"), 80))
	}
	for round := range 3 {
		for i := range n {
			require.NoError(t, db.Put(fmt.Appendf(nil, "key-%06d", i*7919%n), value(i*7919%n, round), &engine.WriteOptions{Sync: engine.SyncNone}))
		}
	}
	require.NoError(t, db.WaitIdle(context.Background()))
	for i := range n {
		v, err := db.Get(fmt.Appendf(nil, "key-%06d", i))
		require.NoError(t, err)
		require.Equal(t, value(i, 2), v)
	}
	m := db.Metrics()
	require.Positive(t, m.Compaction.Compactions)
	require.NoError(t, db.Close())
	db = open(t, "db", small(fs))
	count := 0
	for range db.All(nil) {
		count++
	}
	require.Equal(t, n, count)
	require.NoError(t, db.Compact(nil, nil))
	count = 0
	it := db.NewIterator(nil)
	for ok := it.Last(); ok; ok = it.Prev() {
		count++
	}
	require.NoError(t, it.Close())
	require.Equal(t, n, count)
	require.NoError(t, db.Close())
}

func TestTTLIsInvisibleAtOnceAndForGood(t *testing.T) {
	clock := &testClock{now: time.UnixMilli(1_700_000_000_000)}
	opts := small(vfs.NewMem())
	opts.Clock = clock
	db := open(t, "db", opts)
	k := []byte("k")
	require.NoError(t, db.Put(k, []byte("old"), nil))
	require.NoError(t, db.Flush())
	require.NoError(t, db.Put(k, []byte("short"), &engine.WriteOptions{TTL: time.Second}))
	require.NoError(t, db.Flush())
	snap := db.NewSnapshot()
	clock.advance(999 * time.Millisecond)
	v, err := db.Get(k)
	require.NoError(t, err)
	require.Equal(t, "short", string(v))
	clock.advance(time.Millisecond)
	absent := func() {
		_, err := db.Get(k)
		require.ErrorIs(t, err, engine.ErrNotFound)
		vs, err := db.MultiGet([][]byte{k})
		require.NoError(t, err)
		require.Nil(t, vs[0])
		for range db.All(nil) {
			require.Fail(t, "an expired key was iterated")
		}
	}
	absent()
	_, err = snap.Get(k)
	require.ErrorIs(t, err, engine.ErrNotFound, "a snapshot does not extend a TTL")
	require.NoError(t, snap.Close())
	for range 3 {
		require.NoError(t, db.Compact(nil, nil))
		absent()
		require.NoError(t, db.Close())
		db = open(t, "db", opts)
		absent()
	}
	ok, err := db.CompareAndSwap(k, nil, []byte("new"), nil)
	require.NoError(t, err)
	require.True(t, ok)
	require.NoError(t, db.Close())
}

func TestBadInput(t *testing.T) {
	db := open(t, t.TempDir(), nil)
	defer db.Close()
	long := bytes.Repeat([]byte("k"), engine.DefaultMaxKeyBytes+1)
	huge := make([]byte, engine.DefaultMaxValueBytes+1)
	before := db.Metrics().VisibleSeq
	for name, err := range map[string]error{
		"empty key":       db.Put(nil, []byte("v"), nil),
		"long key":        db.Put(long, nil, nil),
		"long value":      db.Put([]byte("k"), huge, nil),
		"delete empty":    db.Delete(nil, nil),
		"range reversed":  db.DeleteRange([]byte("b"), []byte("a"), nil),
		"range open":      db.DeleteRange([]byte("b"), nil, nil),
		"negative ttl":    db.Put([]byte("k"), nil, &engine.WriteOptions{TTL: -1}),
		"bad sync":        db.Put([]byte("k"), nil, &engine.WriteOptions{Sync: 99}),
		"get empty":       second(db.Get(nil)),
		"multiget empty":  second(db.MultiGet([][]byte{{}})),
		"cas empty":       second(db.CompareAndSwap(nil, nil, nil, nil)),
		"compact reverse": db.Compact([]byte("b"), []byte("a")),
	} {
		require.ErrorIs(t, err, engine.ErrInvalidArgument, name)
	}
	b := db.NewBatch()
	b.Put([]byte("good"), []byte("v"))
	b.Put(nil, []byte("v"))
	err := db.Apply(b, nil)
	require.ErrorIs(t, err, engine.ErrInvalidArgument)
	require.Contains(t, err.Error(), "batch operation 2")
	require.Equal(t, before, db.Metrics().VisibleSeq, "nothing was written")

	max := bytes.Repeat([]byte("m"), engine.DefaultMaxKeyBytes)
	require.NoError(t, db.Put(max, huge[1:], nil))
	v, err := db.Get(max)
	require.NoError(t, err)
	require.Len(t, v, engine.DefaultMaxValueBytes)
	require.NoError(t, db.Flush())
	v, err = db.Get(max)
	require.NoError(t, err)
	require.Len(t, v, engine.DefaultMaxValueBytes)
}

func second[T any](_ T, err error) error { return err }

func TestOneWriterManyReaders(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir, nil)
	require.NoError(t, db.Put([]byte("k"), []byte("v"), nil))
	_, err := engine.Open(dir, nil)
	require.ErrorIs(t, err, engine.ErrLocked)
	require.Contains(t, err.Error(), "pid")
	require.NoError(t, db.Close())

	a, err := engine.OpenReadOnly(dir, nil)
	require.NoError(t, err)
	b, err := engine.OpenReadOnly(dir, nil)
	require.NoError(t, err)
	for _, r := range []*engine.DB{a, b} {
		v, err := r.Get([]byte("k"))
		require.NoError(t, err)
		require.Equal(t, "v", string(v))
		require.ErrorIs(t, r.Put([]byte("k"), nil, nil), engine.ErrReadOnly)
		_, err = r.CompareAndSwap([]byte("k"), nil, nil, nil)
		require.ErrorIs(t, err, engine.ErrReadOnly)
		require.ErrorIs(t, r.Flush(), engine.ErrReadOnly)
	}
	require.NoError(t, a.Close())
	require.NoError(t, b.Close())
}

// A reader that opens beside a busy writer sees a prefix of what was written, never damage.
func TestReadOnlyBesideWriter(t *testing.T) {
	fs := vfs.NewMem()
	db := open(t, "db", small(fs))
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; !stop.Load(); i++ {
			if err := db.Put(fmt.Appendf(nil, "k%06d", i), bytes.Repeat([]byte("v"), 500), nil); err != nil {
				t.Error(err)
				return
			}
			if i%10 == 0 {
				time.Sleep(time.Millisecond) // else it flushes more often than any reader can look
			}
		}
	})
	keys := 5000
	if testing.Short() {
		keys = 1000
	}
	last, opens := 0, 0
	for ; last < keys; opens++ {
		r, err := engine.OpenReadOnly("db", small(fs))
		require.NoError(t, err)
		it := r.NewIterator(&engine.IterOptions{KeysOnly: true})
		n := 0
		for ok := it.First(); ok; ok = it.Next() {
			if want := fmt.Sprintf("k%06d", n); want != string(it.Key()) {
				require.Equal(t, want, string(it.Key()), "a hole")
			}
			n++
		}
		if err := it.Err(); err != nil {
			require.ErrorIs(t, err, os.ErrNotExist, "the writer removed a table that this reader had not opened")
		} else {
			require.GreaterOrEqual(t, n, last, "a reader went back in time")
			last = n
		}
		it.Close()
		require.NoError(t, r.Close())
	}
	stop.Store(true)
	wg.Wait()
	require.NoError(t, db.Close())
	t.Logf("%d opens beside a writer of %d keys", opens, last)
}

func TestNotOurDirectory(t *testing.T) {
	_, err := engine.OpenReadOnly(t.TempDir(), nil)
	require.ErrorIs(t, err, engine.ErrNotDatabase)
	_, err = engine.OpenReadOnly(t.TempDir()+"/missing", nil)
	require.ErrorIs(t, err, engine.ErrNotDatabase)
	fs := vfs.NewMem()
	require.NoError(t, fs.MkdirAll("docs"))
	f, err := fs.Create("docs/letter.txt", vfs.Buffered)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	_, err = engine.Open("docs", small(fs))
	require.ErrorIs(t, err, engine.ErrNotDatabase)
	require.Contains(t, err.Error(), "letter.txt")
	opts := small(fs)
	opts.ErrorIfExists = true
	db := open(t, "db", opts)
	require.NoError(t, db.Close())
	_, err = engine.Open("db", opts)
	require.ErrorIs(t, err, engine.ErrExists)
}

func TestCheckpoint(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir+"/db", nil)
	for i := range 1000 {
		require.NoError(t, db.Put(fmt.Appendf(nil, "k%04d", i), []byte("v"), &engine.WriteOptions{Sync: engine.SyncNone}))
	}
	// What an interrupted checkpoint left is in nobody's way; somebody's files are.
	require.NoError(t, os.MkdirAll(dir+"/copy.partial", 0o755))
	require.NoError(t, os.WriteFile(dir+"/copy.partial/000004.sst", nil, 0o644))
	require.NoError(t, db.Checkpoint(dir+"/copy"))
	require.NoDirExists(t, dir+"/copy.partial")
	require.NoError(t, os.MkdirAll(dir+"/other.partial", 0o755))
	require.NoError(t, os.WriteFile(dir+"/other.partial/letter.txt", nil, 0o644))
	require.ErrorIs(t, db.Checkpoint(dir+"/other"), engine.ErrInvalidArgument)
	require.FileExists(t, dir+"/other.partial/letter.txt")
	require.NoError(t, db.Put([]byte("later"), nil, nil))
	require.ErrorIs(t, db.Checkpoint(dir+"/copy"), engine.ErrInvalidArgument)
	require.NoError(t, db.Close())
	require.NoError(t, engine.Check(dir+"/copy"))
	c := open(t, dir+"/copy", nil)
	n := 0
	for range c.All(nil) {
		n++
	}
	require.Equal(t, 1000, n)
	require.NoError(t, c.Put([]byte("k"), nil, nil))
	require.NoError(t, c.Compact(nil, nil))
	require.NoError(t, c.Close())
}

func TestCloseBesideReaders(t *testing.T) {
	db := open(t, "db", small(vfs.NewMem()))
	for i := range 5000 {
		require.NoError(t, db.Put(fmt.Appendf(nil, "k%04d", i), bytes.Repeat([]byte("v"), 50), &engine.WriteOptions{Sync: engine.SyncNone}))
	}
	it := db.NewIterator(nil)
	require.True(t, it.First())
	snap := db.NewSnapshot()
	require.NoError(t, db.Close())
	n := 1
	for it.Next() {
		n++
	}
	require.NoError(t, it.Err())
	require.Equal(t, 5000, n)
	require.NoError(t, it.Close())
	require.False(t, it.First())
	require.ErrorIs(t, it.Err(), engine.ErrClosed)
	_, err := snap.Get([]byte("k0001"))
	require.ErrorIs(t, err, engine.ErrClosed)
	require.NoError(t, snap.Close())
	late := db.NewIterator(nil)
	require.False(t, late.First())
	require.True(t, errors.Is(late.Err(), engine.ErrClosed))
}

func TestExplain(t *testing.T) {
	db := open(t, "db", small(vfs.NewMem()))
	defer db.Close()
	k := []byte("k")
	require.NoError(t, db.Put(k, []byte("one"), nil))
	require.NoError(t, db.Flush())
	require.NoError(t, db.Put(k, []byte("three"), nil))
	x, err := db.Explain(k)
	require.NoError(t, err)
	require.Equal(t, "found, 5 bytes", x.Answer)
	require.True(t, x.Steps[0].Decides)
	require.Equal(t, "#2 SET, 5 bytes", x.Steps[0].Entry)
	require.Contains(t, x.String(), "#1 SET, 3 bytes")
}
