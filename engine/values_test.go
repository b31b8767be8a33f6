package engine_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// separating returns options under which values of 100 bytes go to blob files.
func separating(fs vfs.FS) *engine.Options {
	o := small(fs)
	o.ValueThreshold = 100
	return o
}

// checkValues compares what the tables refer to, which each of them says, with what the manifest
// counts as live in each blob file.
func checkValues(t require.TestingT, db *engine.DB) {
	db.CurrentVersion(func(v *manifest.Version) {
		type use struct{ count, bytes uint64 }
		refs := map[uint64]use{}
		for level := range v.Levels {
			for _, table := range v.Levels[level] {
				require.True(t, table.Stats.BlobRefsKnown, "L%d %s", level, table)
				for _, r := range table.Stats.BlobRefs {
					refs[r.Num] = use{refs[r.Num].count + r.Count, refs[r.Num].bytes + r.Bytes}
				}
			}
		}
		live := map[uint64]use{}
		for num, b := range v.Blobs {
			live[num] = use{b.Count - b.GarbageCount, b.Bytes - b.GarbageBytes}
		}
		require.Equal(t, live, refs, "%s", v)
	})
}

// largeValue returns n bytes that depend on the key and its version and do not compress, or do
// for odd keys.
func largeValue(key, version, n int) []byte {
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], uint64(key))
	binary.LittleEndian.PutUint64(seed[8:], uint64(version))
	v := make([]byte, n)
	if _, err := rand.NewChaCha8(seed).Read(v); err != nil {
		panic(err)
	}
	if key%2 == 1 {
		copy(v, bytes.Repeat(v[:min(n, 16)], n/16+1)[:n])
	}
	return v
}

func waitIdle(t testing.TB, db *engine.DB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(t, db.WaitIdle(ctx))
}

func blobSpace(db *engine.DB) (total, garbage uint64, files int) {
	db.CurrentVersion(func(v *manifest.Version) {
		for _, b := range v.Blobs {
			total += b.Bytes
			garbage += b.GarbageBytes
			files++
		}
	})
	return total, garbage, files
}

// TestSeparation: a large value is in a blob file after a flush, its entry in the table is small,
// and merging tables does not copy it.
func TestSeparation(t *testing.T) {
	db := open(t, "db", separating(vfs.NewMem()))
	for i := range 20 {
		require.NoError(t, db.Put(fmt.Appendf(nil, "k%02d", i), largeValue(i, 0, 3000), nil))
	}
	require.NoError(t, db.Put([]byte("small"), []byte("x"), nil))
	require.NoError(t, db.Put([]byte("ttl"), largeValue(1, 1, 3000), &engine.WriteOptions{TTL: time.Hour}))
	require.NoError(t, db.Flush())
	waitIdle(t, db)
	total, garbage, files := blobSpace(db)
	require.Equal(t, 2, files, "one for the values that compress, one for the others")
	require.Zero(t, garbage)
	require.Greater(t, total, uint64(10*3000))
	require.Less(t, total, uint64(14*3000), "half of the values compress")
	m := db.Metrics()
	require.Less(t, m.Space.Tables, int64(8000))
	written := m.Ledger.Cause("blob")
	require.GreaterOrEqual(t, written, int64(total))
	require.NoError(t, db.Compact(nil, nil))
	require.Equal(t, written, db.Metrics().Ledger.Cause("blob"))
	checkValues(t, db)
	for i := range 20 {
		v, err := db.Get(fmt.Appendf(nil, "k%02d", i))
		require.NoError(t, err)
		require.Equal(t, largeValue(i, 0, 3000), v)
	}
	pinned := db.Metrics().Cache.PinnedBytes
	it := db.NewIterator(nil)
	n := 0
	for ok := it.Last(); ok; ok = it.Prev() {
		if it.Key()[0] == 'k' {
			n++
			require.Len(t, it.Value(), 3000)
		}
	}
	require.NoError(t, it.Err())
	require.NoError(t, it.Close())
	require.Equal(t, 20, n)
	require.Equal(t, pinned, db.Metrics().Cache.PinnedBytes, "every value was given back")
	require.NoError(t, db.Close())
}

// TestThresholdNever: nothing is separated.
func TestThresholdNever(t *testing.T) {
	o := small(vfs.NewMem())
	o.ValueThreshold = -1
	db := open(t, "db", o)
	require.NoError(t, db.Put([]byte("k"), make([]byte, 1<<20), nil))
	require.NoError(t, db.Flush())
	_, _, files := blobSpace(db)
	require.Zero(t, files)
	require.NoError(t, db.Close())
}

// TestOverwrittenValuesGiveSpaceBack overwrites large values uniformly. Without a call the space
// stays within the bound, and so does what is written.
func TestOverwrittenValuesGiveSpaceBack(t *testing.T) {
	o := separating(vfs.NewMem())
	db := open(t, "db", o)
	const keys, size, rounds = 1500, 1500, 3
	rng := rand.New(rand.NewPCG(1, 2))
	version := make([]int, keys)
	put := func(k int) {
		version[k]++
		require.NoError(t, db.Put(fmt.Appendf(nil, "key%05d", k), largeValue(2*k, version[k], size), &engine.WriteOptions{Sync: engine.SyncNone}))
	}
	for _, k := range rng.Perm(keys) {
		put(k)
	}
	for range (rounds - 1) * keys {
		put(rng.IntN(keys))
	}
	require.NoError(t, db.Flush())
	waitIdle(t, db)
	checkValues(t, db)
	total, garbage, files := blobSpace(db)
	space := float64(total) / float64(total-garbage)
	m := db.Metrics().Ledger
	amp := float64(m.Total()) / float64(m.UserBytes)
	t.Logf("%d blob files, space %.2f, write amplification %.2f: %+v", files, space, amp, m.Rows)
	require.Less(t, space, 1.45)
	require.LessOrEqual(t, float64(m.Cause("blob"))/float64(m.UserBytes), 1.7)
	for k := range keys {
		v, err := db.Get(fmt.Appendf(nil, "key%05d", k))
		require.NoError(t, err)
		require.Equal(t, largeValue(2*k, version[k], size), v, k)
	}
	require.NoError(t, db.DeleteRange([]byte("a"), []byte("z"), nil))
	require.NoError(t, db.Flush())
	waitIdle(t, db)
	_, _, files = blobSpace(db)
	require.Zero(t, files, "nothing is left")
	require.NoError(t, db.Close())
}

// TestSnapshotsKeepMovedValues: values that only a snapshot sees move with the others.
func TestSnapshotsKeepMovedValues(t *testing.T) {
	db := open(t, "db", separating(vfs.NewMem()))
	put := func(version int, every int) {
		for k := 0; k < 200; k += every {
			require.NoError(t, db.Put(fmt.Appendf(nil, "key%05d", k), largeValue(k, version, 1000), nil))
		}
		require.NoError(t, db.Flush())
	}
	put(0, 1)
	put(1, 2)
	s := db.NewSnapshot()
	put(2, 3)
	put(3, 1)
	waitIdle(t, db)
	checkValues(t, db)
	for k := range 200 {
		v, err := s.Get(fmt.Appendf(nil, "key%05d", k))
		require.NoError(t, err)
		require.Equal(t, largeValue(k, (k+1)%2, 1000), v)
		v, err = db.Get(fmt.Appendf(nil, "key%05d", k))
		require.NoError(t, err)
		require.Equal(t, largeValue(k, 3, 1000), v)
	}
	before, _, _ := blobSpace(db)
	require.NoError(t, s.Close())
	require.NoError(t, db.Compact(nil, nil))
	waitIdle(t, db)
	after, _, _ := blobSpace(db)
	require.Less(t, after, before*2/3)
	require.NoError(t, db.Close())
}

// TestRocksDBAndBlobFiles: RocksDB reads what we separate and move, and what it writes and
// compacts between two of our opens is counted right.
func TestRocksDBAndBlobFiles(t *testing.T) {
	needTool(t, "ldb")
	dir := t.TempDir()
	o := separating(nil)
	rng := rand.New(rand.NewPCG(3, 4))
	for round := range 4 {
		db := open(t, dir, o)
		for range 1200 {
			k := rng.IntN(400)
			require.NoError(t, db.Put(fmt.Appendf(nil, "key%05d", k), largeValue(k, round, 600), &engine.WriteOptions{Sync: engine.SyncNone}))
		}
		require.NoError(t, db.Flush())
		waitIdle(t, db)
		checkValues(t, db)
		_, garbage, files := blobSpace(db)
		t.Logf("round %d: %d blob files, %d bytes garbage", round, files, garbage)
		require.Positive(t, files)
		require.NoError(t, db.Close())
		compareWithRocksDB(t, dir)

		run(t, "ldb", "--db="+dir, "put", fmt.Sprintf("key%05d", round), "from rocksdb")
		if round%2 == 1 {
			run(t, "ldb", "--db="+dir, "compact")
		}
		compareWithRocksDB(t, dir)
	}
	// Tables that RocksDB wrote do not say what they refer to. They are rewritten when their blob
	// files are emptied, and then do.
	db := open(t, dir, o)
	for k := range 400 {
		require.NoError(t, db.Put(fmt.Appendf(nil, "key%05d", k), largeValue(k, 9, 600), nil))
	}
	require.NoError(t, db.Compact(nil, nil))
	waitIdle(t, db)
	checkValues(t, db)
	require.NoError(t, db.Close())
	require.Equal(t, 400, compareWithRocksDB(t, dir))
	out, err := exec.Command("ldb", "--db="+dir, "list_live_files_metadata").CombinedOutput()
	require.NoError(t, err, "%s", out)
	blobs, err := filepath.Glob(dir + "/*.blob")
	require.NoError(t, err)
	require.NotEmpty(t, blobs)
}

// TestCheckFindsWrongCounts: Check compares what the tables refer to with the manifest's counts.
func TestCheckFindsWrongCounts(t *testing.T) {
	dir := t.TempDir()
	db := open(t, dir, separating(nil))
	for i := range 10 {
		require.NoError(t, db.Put(fmt.Appendf(nil, "k%d", i), largeValue(0, i, 500), nil))
	}
	require.NoError(t, db.Flush())
	require.NoError(t, db.Close())
	require.NoError(t, engine.Check(dir))
	set, err := manifest.Recover(vfs.OS(nil), dir, manifest.Options{})
	require.NoError(t, err)
	v := set.Current()
	var garbage []manifest.BlobGarbage
	for num := range v.Blobs {
		garbage = append(garbage, manifest.BlobGarbage{Num: num, Count: 1, Bytes: 500})
	}
	v.Unref()
	require.NotEmpty(t, garbage)
	require.NoError(t, set.Apply(&manifest.Edit{BlobGarbage: garbage}))
	require.NoError(t, set.Close())
	err = engine.Check(dir)
	require.ErrorIs(t, err, engine.ErrCorruption)
	require.ErrorContains(t, err, "tables refer to 10 values")
}

// TestForeignBlobFiles: blob files that RocksDB wrote are emptied like ours, and RocksDB collects
// the garbage of ours.
func TestForeignBlobFiles(t *testing.T) {
	needTool(t, "ldb")
	dir := t.TempDir()
	var pairs bytes.Buffer
	for k := range 300 {
		fmt.Fprintf(&pairs, "key%05d ==> %x\n", k, largeValue(k, 0, 200))
	}
	load := exec.Command("ldb", "--db="+dir, "load", "--create_if_missing", "--enable_blob_files", "--min_blob_size=100", "--blob_compression_type=lz4")
	load.Stdin = &pairs
	out, err := load.CombinedOutput()
	require.NoError(t, err, "%s", out)
	run(t, "ldb", "--db="+dir, "compact", "--enable_blob_files", "--min_blob_size=100")
	foreign, err := filepath.Glob(dir + "/*.blob")
	require.NoError(t, err)
	require.NotEmpty(t, foreign)

	db := open(t, dir, separating(nil))
	for k := range 300 {
		if k%5 > 0 {
			require.NoError(t, db.Put(fmt.Appendf(nil, "key%05d", k), largeValue(k, 1, 400), &engine.WriteOptions{Sync: engine.SyncNone}))
		}
	}
	require.NoError(t, db.Compact(nil, nil))
	waitIdle(t, db)
	checkValues(t, db)
	for _, name := range foreign {
		require.NoFileExists(t, name, "four fifths of it were garbage")
	}
	for k := 0; k < 300; k += 5 {
		v, err := db.Get(fmt.Appendf(nil, "key%05d", k))
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("%x", largeValue(k, 0, 200)), string(v))
	}
	require.NoError(t, db.Close())
	require.Equal(t, 300, compareWithRocksDB(t, dir))

	ours, err := filepath.Glob(dir + "/*.blob")
	require.NoError(t, err)
	run(t, "ldb", "--db="+dir, "compact", "--enable_blob_files", "--min_blob_size=100",
		"--enable_blob_garbage_collection", "--blob_garbage_collection_age_cutoff=1.0")
	for _, name := range ours {
		require.NoFileExists(t, name, "RocksDB has moved its values")
	}
	require.Equal(t, 300, compareWithRocksDB(t, dir))
}

// TestLargeWritesTakeTurns: a large value waits while others fill their part of the budget, a small
// one does not, and none is lost.
func TestLargeWritesTakeTurns(t *testing.T) {
	db := open(t, "db", separating(vfs.NewMem()))
	release := db.HoldLargeWrites()
	var wg sync.WaitGroup
	started := make(chan bool)
	for k := range 40 {
		wg.Go(func() {
			started <- true
			key := fmt.Appendf(nil, "large%02d", k)
			if k%2 == 0 {
				if err := db.Put(key, largeValue(k, 0, 1<<20), nil); err != nil {
					t.Error(err)
				}
			} else if ok, err := db.CompareAndSwap(key, nil, largeValue(k, 0, 1<<20), nil); err != nil || !ok {
				t.Error(ok, err)
			}
		})
		<-started
	}
	for k := range 40 {
		require.NoError(t, db.Put(fmt.Appendf(nil, "small%02d", k), largeValue(k, 0, 60_000), nil))
	}
	require.NoError(t, db.Flush())
	for k := range 40 {
		_, err := db.Get(fmt.Appendf(nil, "large%02d", k))
		require.ErrorIs(t, err, engine.ErrNotFound)
	}
	release()
	wg.Wait()
	for k := range 40 {
		v, err := db.Get(fmt.Appendf(nil, "large%02d", k))
		require.NoError(t, err)
		require.True(t, bytes.Equal(largeValue(k, 0, 1<<20), v))
	}
	require.NoError(t, db.Close())
}
