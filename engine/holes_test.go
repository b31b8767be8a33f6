package engine_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// overwriter writes large values that do not compress and remembers which.
type overwriter struct {
	db      *engine.DB
	rng     *rand.Rand
	version []int
	bytes   int
}

func newOverwriter(db *engine.DB, keys, bytes int) *overwriter {
	return &overwriter{db: db, rng: rand.New(rand.NewPCG(1, uint64(keys))), version: make([]int, keys), bytes: bytes}
}

func (o *overwriter) value(k int) []byte { return largeValue(2*k, o.version[k], o.bytes+97*k%1000) }

func (o *overwriter) put(t require.TestingT, k int) {
	o.version[k]++
	require.NoError(t, o.db.Put(fmt.Appendf(nil, "key%05d", k), o.value(k), &engine.WriteOptions{Sync: engine.SyncNone}))
}

func (o *overwriter) all(t require.TestingT) {
	for _, k := range o.rng.Perm(len(o.version)) {
		o.put(t, k)
	}
}

func (o *overwriter) some(t require.TestingT, n int) {
	for range n {
		o.put(t, o.rng.IntN(len(o.version)))
	}
}

func (o *overwriter) check(t require.TestingT, db interface{ Get([]byte) ([]byte, error) }) {
	for k := range o.version {
		if o.version[k] > 0 {
			v, err := db.Get(fmt.Appendf(nil, "key%05d", k))
			require.NoError(t, err)
			require.True(t, bytes.Equal(o.value(k), v), "key %d", k)
		}
	}
}

func flushed(t testing.TB, db *engine.DB) {
	t.Helper()
	require.NoError(t, db.Flush())
	waitIdle(t, db)
}

// settleHoles has every entry meet what it overwrites, so that all that is dead is known to be.
func settleHoles(t testing.TB, db *engine.DB) {
	t.Helper()
	require.NoError(t, db.Compact(nil, nil))
	waitIdle(t, db)
}

// requireHoles wants every dead page of the blob files, and no other, to be a hole, and the records
// known as dead to be those that no table refers to.
func requireHoles(t *testing.T, dir string, fs vfs.FS, db *engine.DB) (holes int64) {
	t.Helper()
	known, unknown, waiting := db.DeadRecords()
	require.Zero(t, unknown)
	require.Zero(t, waiting)
	found, err := db.FindDead()
	require.NoError(t, err)
	require.Len(t, known, len(found))
	db.CurrentVersion(func(v *manifest.Version) {
		for num := range v.Blobs {
			name := filename.Path(dir, filename.Blob, num)
			want := int64(0)
			if found[num] != nil {
				require.Equal(t, found[num].Encode(nil), known[num].Encode(nil), name)
				want = found[num].HoleBytes(vfs.HoleUnit)
			}
			info, err := fs.Stat(name)
			require.NoError(t, err)
			pages := (info.Size() + vfs.HoleUnit - 1) / vfs.HoleUnit * vfs.HoleUnit
			if _, mem := fs.(*vfs.Mem); mem {
				require.Equal(t, want, pages-vfs.Allocated(info), name)
			} else { // which takes some room for what it notes of a file
				require.InDelta(t, want, pages-vfs.Allocated(info), float64(want)/20+2*vfs.HoleUnit, name)
			}
			holes += want
		}
	})
	return holes
}

func requireClean(t require.TestingT, dir string, o *engine.Options) {
	r, err := engine.CheckWith(context.Background(), dir, o, nil)
	require.NoError(t, err)
	require.NoError(t, errors.Join(r.Problems...))
}

// TestHolesInsteadOfCopies: with everything overwritten three times the space of what was there
// comes back, and no large value was written a third time.
func TestHolesInsteadOfCopies(t *testing.T) {
	fs := vfs.NewMem()
	o := separating(fs)
	db := open(t, "db", o)
	w := newOverwriter(db, 250, 20_000)
	w.all(t)
	w.some(t, 750)
	settleHoles(t, db)
	w.check(t, db)
	require.Positive(t, requireHoles(t, "db", fs, db))
	m := db.Metrics()
	live := int64(250 * 20_500)
	require.Less(t, m.Space.Blobs, live*13/10)
	for _, r := range m.Ledger.Rows {
		require.False(t, r.Cause == "blob" && r.Reason == "values", "values were moved: %+v", m.Ledger.Rows)
	}
	require.NoError(t, db.Close())
	requireClean(t, "db", o)
}

// TestHolesWaitForReaders: what an iterator or a snapshot may still read stays until it is closed.
func TestHolesWaitForReaders(t *testing.T) {
	fs := vfs.NewMem()
	db := open(t, "db", separating(fs))
	w := newOverwriter(db, 60, 17_000)
	w.all(t)
	flushed(t, db)
	old := *w
	old.version = slices.Clone(w.version)
	snap := db.NewSnapshot()
	it := db.NewIterator(nil)
	for k := 0; k < 60; k += 2 {
		w.put(t, k)
	}
	settleHoles(t, db)
	require.Zero(t, requireHoles(t, "db", fs, db), "a snapshot keeps the references")
	old.check(t, snap)
	require.NoError(t, snap.Close())

	settleHoles(t, db)
	_, _, waiting := db.DeadRecords()
	require.Positive(t, waiting)
	k := 0
	for ok := it.First(); ok; ok = it.Next() {
		require.True(t, bytes.Equal(old.value(k), it.Value()), "key %d", k)
		k++
	}
	require.NoError(t, it.Err())
	require.Equal(t, 60, k)
	require.NoError(t, it.Close())
	waitIdle(t, db)
	require.Positive(t, requireHoles(t, "db", fs, db))
	w.check(t, db)
	require.NoError(t, db.Close())
}

// TestHolesSpareCheckpoints: a blob file that a checkpoint shares stays whole, is given back when
// the checkpoint has gone, and the checkpoint reads what it held.
func TestHolesSpareCheckpoints(t *testing.T) {
	fs := vfs.NewMem()
	o := separating(fs)
	db := open(t, "db", o)
	w := newOverwriter(db, 60, 17_000)
	w.all(t)
	flushed(t, db)
	require.NoError(t, db.Checkpoint("copy"))
	then := *w
	then.version = slices.Clone(w.version)
	for k := 0; k < 60; k += 7 {
		w.put(t, k)
	}
	settleHoles(t, db)
	_, _, waiting := db.DeadRecords()
	require.Positive(t, waiting)
	requireClean(t, "copy", o)
	back := open(t, "copy", o)
	then.check(t, back)
	for k := 1; k < 60; k += 7 {
		require.NoError(t, back.Put(fmt.Appendf(nil, "key%05d", k), []byte("x"), nil))
	}
	settleHoles(t, back)
	require.NoError(t, back.Close())
	w.check(t, db)
	names, err := fs.List("copy")
	require.NoError(t, err)
	for _, name := range names {
		require.NoError(t, fs.Remove(path.Join("copy", name)))
	}
	w.put(t, 3)
	settleHoles(t, db)
	require.Positive(t, requireHoles(t, "db", fs, db))
	w.check(t, db)
	require.NoError(t, db.Close())
	requireClean(t, "db", o)
}

// TestNoHolesInDoubt: where tables refer to less than the manifest counts as live, nobody knows why,
// and nothing is given back.
func TestNoHolesInDoubt(t *testing.T) {
	fs := vfs.NewMem()
	o := separating(fs)
	w := newOverwriter(open(t, "db", o), 80, 17_000)
	w.all(t)
	flushed(t, w.db)
	require.NoError(t, w.db.Close())
	set, err := manifest.Recover(fs, "db", manifest.Options{})
	require.NoError(t, err)
	v := set.Current()
	var garbage []manifest.BlobGarbage
	for num, b := range v.Blobs {
		if b.Count > 1 { // else it would be all garbage
			garbage = append(garbage, manifest.BlobGarbage{Num: num, Count: 1, Bytes: 100})
		}
	}
	v.Unref()
	require.Greater(t, len(garbage), 5)
	require.NoError(t, set.Apply(&manifest.Edit{BlobGarbage: garbage}))
	require.NoError(t, set.Close())

	w.db = open(t, "db", o)
	waitIdle(t, w.db)
	dead, unknown, _ := w.db.DeadRecords()
	require.Equal(t, len(garbage), unknown)
	for num, d := range dead {
		require.True(t, d.Empty(), "file %d", num)
	}
	w.check(t, w.db)
	require.NoError(t, w.db.Close())
}

// TestHolesWithoutHoles: a file system that has none gets the values moved, as ever.
func TestHolesWithoutHoles(t *testing.T) {
	fs := vfs.NewMem()
	fs.SetHoles(false)
	o := separating(fs)
	db := open(t, "db", o)
	w := newOverwriter(db, 150, 17_000)
	w.all(t)
	w.some(t, 450)
	flushed(t, db)
	w.check(t, db)
	total, garbage, _ := blobSpace(db)
	require.Less(t, float64(total), 1.45*float64(total-garbage))
	require.NoError(t, db.Close())
	requireClean(t, "db", o)
}

// TestHolesThatFail: while no hole can be punched, blob files are emptied as if there were none; then
// what is due is given back. What cannot be saved or read of dead records is learnt.
func TestHolesThatFail(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	o := separating(fault)
	logger, learnt := learning()
	o.Logger = logger
	w := newOverwriter(open(t, "db", o), 60, 17_000)
	fault.Add(vfs.Rule{Ops: vfs.OpPunchHole, Forever: true, Err: errors.New("input/output error")})
	w.all(t)
	w.some(t, 180)
	settleHoles(t, w.db)
	total, garbage, _ := blobSpace(w.db)
	require.Less(t, float64(total), 1.45*float64(total-garbage))
	fault.Clear()
	w.some(t, 10)
	settleHoles(t, w.db)
	requireHoles(t, "db", mem, w.db)

	failed := 0
	for n := 0; failed == n; n++ {
		w.some(t, 5)
		settleHoles(t, w.db)
		rule := fault.Add(vfs.Rule{Path: filename.Base(filename.Dead, 0), Ops: vfs.OpAny &^ (vfs.OpRemove | vfs.OpClose), Skip: n, Err: errors.New("input/output error")})
		require.NoError(t, w.db.Close())
		w.db = open(t, "db", o)
		fault.Clear()
		waitIdle(t, w.db)
		if rule.Hits() > 0 {
			failed++
		}
		require.Equal(t, rule.Hits() > 0, learnt(), "call %d", n)
		requireHoles(t, "db", mem, w.db)
		w.check(t, w.db)
	}
	require.Greater(t, failed, 2)
	require.NoError(t, w.db.Close())
	requireClean(t, "db", o)
}

// TestCrashNeverHolesALiveValue cuts the power at every sync: whatever pages of holes survive, each
// key reads as it was last acknowledged, or newer.
func TestCrashNeverHolesALiveValue(t *testing.T) {
	seeds := 3
	if testing.Short() {
		seeds = 1
	}
	images, holes := 0, int64(0)
	for seed := range seeds {
		n, h := crashHoles(t, uint64(seed))
		images += n
		holes += h
	}
	t.Logf("%d power cuts, %d bytes of holes", images, holes)
	require.Positive(t, holes)
}

func crashHoles(t *testing.T, seed uint64) (points int, holes int64) {
	const keys, ops = 12, 100
	type image struct {
		at    string
		fs    *vfs.Mem
		least [keys]int64
	}
	rng, crashRng := rand.New(rand.NewPCG(seed, 1)), rand.New(rand.NewPCG(seed, 2))
	fs := vfs.NewMem()
	var acked [keys]atomic.Int64
	var mu sync.Mutex
	var images []image
	fs.SetSyncHook(func(op, name string) {
		mu.Lock()
		defer mu.Unlock()
		img := image{at: op + " " + name}
		for k := range acked {
			img.least[k] = acked[k].Load()
		}
		img.fs = fs.Crash(crashRng)
		images = append(images, img)
	})
	o := separating(fs)
	db := open(t, "db", o)
	value := func(k int, version int64) []byte { return largeValue(2*k, int(version), 16_400+k*1000) }
	for i := range ops {
		k := rng.IntN(keys)
		next := acked[k].Load() + 1
		require.NoError(t, db.Put(fmt.Appendf(nil, "k%02d", k), value(k, next), nil))
		acked[k].Store(next)
		switch i % 20 {
		case 9:
			require.NoError(t, db.Flush())
		case 19:
			settleHoles(t, db)
			dead, _, _ := db.DeadRecords()
			for _, d := range dead {
				holes += d.HoleBytes(vfs.HoleUnit)
			}
		}
	}
	require.NoError(t, db.Close())
	fs.SetSyncHook(nil)
	for _, img := range images {
		o := separating(img.fs)
		if _, err := img.fs.Stat("db/CURRENT"); err == nil {
			requireClean(t, "db", o) // what tables refer to is there, shadowed or not
		}
		db, err := engine.Open("db", o)
		require.NoError(t, err, img.at)
		for k := range keys {
			v, err := db.Get(fmt.Appendf(nil, "k%02d", k))
			if img.least[k] == 0 && errors.Is(err, engine.ErrNotFound) {
				continue
			}
			require.NoError(t, err, "seed %d, %s: key %d", seed, img.at, k)
			fits := bytes.Equal(v, value(k, img.least[k])) || bytes.Equal(v, value(k, img.least[k]+1))
			require.True(t, fits, "seed %d, %s: key %d", seed, img.at, k)
		}
		waitIdle(t, db)
		requireHoles(t, "db", img.fs, db)
		require.NoError(t, db.Close())
		requireClean(t, "db", o)
	}
	return len(images), holes
}

// TestHolesBesideReaders overwrites and gives back while others get, scan and check: each sees
// whole values of the right key.
func TestHolesBesideReaders(t *testing.T) {
	fs := vfs.NewMem()
	o := separating(fs)
	db := open(t, "db", o)
	const keys = 40
	mark := func(k, version int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%03d-%05d/", k, version), 1700) }
	whole := func(k int, v []byte) bool {
		return len(v) == 17_000 && bytes.Equal(v, bytes.Repeat(v[:10], 1700)) && string(v[:3]) == fmt.Sprintf("%03d", k)
	}
	o.Compression = engine.NoCompression
	for k := range keys {
		require.NoError(t, db.Put(fmt.Appendf(nil, "k%02d", k), mark(k, 0), nil))
	}
	var wg sync.WaitGroup
	done := make(chan struct{})
	ended := func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	}
	wg.Go(func() {
		for i := 0; !ended(); i++ {
			v, err := db.Get(fmt.Appendf(nil, "k%02d", i%keys))
			if err != nil || !whole(i%keys, v) {
				t.Errorf("get %d: %v, %d bytes", i%keys, err, len(v))
				return
			}
		}
	})
	wg.Go(func() {
		for !ended() {
			it := db.NewIterator(nil)
			k := 0
			for ok := it.First(); ok; ok = it.Next() {
				if !whole(k, it.Value()) {
					t.Errorf("scan: key %d", k)
				}
				k++
			}
			if err := errors.Join(it.Err(), it.Close()); err != nil || k != keys {
				t.Errorf("scan: %d keys, %v", k, err)
				return
			}
		}
	})
	wg.Go(func() {
		for !ended() {
			r, err := engine.CheckWith(context.Background(), "db", &engine.Options{FS: fs}, nil)
			if err == nil {
				err = errors.Join(r.Problems...)
			}
			if errors.Is(err, engine.ErrCorruption) {
				t.Errorf("check beside the writer: %v", err)
				return
			}
		}
	})
	rng := rand.New(rand.NewPCG(5, 5))
	for i := range 1500 {
		k := rng.IntN(keys)
		require.NoError(t, db.Put(fmt.Appendf(nil, "k%02d", k), mark(k, i), &engine.WriteOptions{Sync: engine.SyncNone}))
		if i%50 == 49 {
			require.NoError(t, db.Compact(nil, nil))
		}
	}
	close(done)
	wg.Wait()
	settleHoles(t, db)
	requireHoles(t, "db", fs, db)
	require.NoError(t, db.Close())
	requireClean(t, "db", o)
}

// TestReaderBesideAWriterThatGivesBack: a value that has gone since is no corruption.
func TestReaderBesideAWriterThatGivesBack(t *testing.T) {
	fs := vfs.NewMem()
	o := separating(fs)
	w := newOverwriter(open(t, "db", o), 20, 17_000)
	w.all(t)
	flushed(t, w.db)
	old := *w
	old.version = slices.Clone(w.version)
	reader, err := engine.OpenReadOnly("db", o)
	require.NoError(t, err)
	for k := 0; k < 20; k += 2 {
		w.put(t, k)
	}
	settleHoles(t, w.db)
	require.Positive(t, requireHoles(t, "db", fs, w.db))
	gone := 0
	for k := range 20 {
		v, err := reader.Get(fmt.Appendf(nil, "key%05d", k))
		if err == nil {
			require.True(t, bytes.Equal(old.value(k), v), "key %d", k)
			continue
		}
		require.NotErrorIs(t, err, engine.ErrCorruption)
		require.ErrorContains(t, err, "open it again")
		gone++
	}
	require.Equal(t, 10, gone)
	require.NoError(t, reader.Close())
	require.NoError(t, w.db.Close())
}

// TestRocksDBReadsAroundHoles: RocksDB reads a directory with holes, and what it writes and
// compacts between two of our opens makes us learn anew what is dead.
func TestRocksDBReadsAroundHoles(t *testing.T) {
	needTool(t, "ldb")
	dir := t.TempDir()
	o := separating(nil)
	logger, learnt := learning()
	o.Logger = logger
	w := newOverwriter(open(t, dir, o), 60, 17_000)
	w.all(t)
	for round := range 3 {
		w.some(t, 40)
		settleHoles(t, w.db)
		holes := requireHoles(t, dir, vfs.OS(nil), w.db)
		t.Logf("round %d: %d bytes of holes", round, holes)
		require.Positive(t, holes)
		require.NoError(t, w.db.Close())
		require.FileExists(t, filename.Path(dir, filename.Dead, 0))
		require.Equal(t, 60+round, compareWithRocksDB(t, dir))
		run(t, "ldb", "--db="+dir, "checkconsistency")
		run(t, "ldb", "--db="+dir, "put", fmt.Sprintf("rocks%d", round), "from rocksdb")
		if round == 1 {
			run(t, "ldb", "--db="+dir, "compact")
		}
		require.FileExists(t, filename.Path(dir, filename.Dead, 0), "RocksDB leaves it alone")
		compareWithRocksDB(t, dir)
		w.db = open(t, dir, o)
		waitIdle(t, w.db)
		require.True(t, learnt())
		requireHoles(t, dir, vfs.OS(nil), w.db)
		w.check(t, w.db)
	}
	require.NoError(t, w.db.Close())
	require.NoError(t, engine.Check(dir))
	run(t, "ldb", "--db="+dir, "compact", "--enable_blob_files", "--min_blob_size=100",
		"--enable_blob_garbage_collection", "--blob_garbage_collection_age_cutoff=1.0")
	require.Equal(t, 63, compareWithRocksDB(t, dir))
}
