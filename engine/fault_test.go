package engine_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// faultScript writes with every kind of call and returns, for each key, the last value that was
// acknowledged. A write that fails is tried again until the database has healed.
func faultScript(db *engine.DB, acked map[string]string) (failures int, err error) {
	put := func(i int, opts *engine.WriteOptions) {
		k, v := fmt.Sprintf("k%03d", i%60), fmt.Sprintf("v%d-%0*d", i, i%700, 0)
		for try := 0; ; try++ {
			if err = db.Put([]byte(k), []byte(v), opts); err == nil {
				acked[k] = v
				return
			}
			failures++
			delete(acked, k) // either value may be there after a failure
			if try > 400 {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}
	for i := range 300 {
		opts := &engine.WriteOptions{Sync: engine.SyncNone}
		if i%5 == 0 {
			opts = nil
		}
		if put(i, opts); err != nil {
			return failures, err
		}
		if i%60 == 59 {
			if e := db.Flush(); e != nil {
				failures++
			}
		}
		if i == 200 {
			if e := db.Compact(nil, nil); e != nil {
				failures++
			}
		}
	}
	return failures, nil
}

func requireAcked(t *testing.T, db *engine.DB, acked map[string]string, what string) {
	t.Helper()
	for k, v := range acked {
		got, err := db.Get([]byte(k))
		require.NoError(t, err, "%s: key %s", what, k)
		require.Equal(t, v, string(got), "%s: key %s", what, k)
	}
}

// TestErrorAtEachCall lets one file operation of a script fail, each in its turn. Reads go on, no
// acknowledged write is lost, writes resume by themselves, and no file is synced again after its
// sync failed.
func TestErrorAtEachCall(t *testing.T) {
	kinds := []struct {
		name string
		ops  vfs.Op
	}{
		{"write", vfs.OpWrite}, {"sync", vfs.OpSync}, {"create", vfs.OpCreate}, {"rename", vfs.OpRename},
		{"syncdir", vfs.OpSyncDir}, {"preallocate", vfs.OpPreallocate}, {"truncate", vfs.OpTruncate}, {"open", vfs.OpOpen},
	}
	for _, kind := range kinds {
		t.Run(kind.name, func(t *testing.T) {
			step, tried, failed := 1, 0, 0
			if testing.Short() {
				step = 9
			}
			for n := 0; ; n += step {
				mem := vfs.NewMem()
				fault := vfs.NewFault(mem)
				db, err := engine.Open("db", small(fault))
				require.NoError(t, err)
				injection := fault.Add(vfs.Fail(kind.ops, n))
				acked := map[string]string{}
				failures, err := faultScript(db, acked)
				require.NoError(t, err, "%s %d: writes never resumed", kind.name, n)
				hit := injection.Hits() > 0
				injection.Remove() // or a read may be the call that fails
				requireAcked(t, db, acked, fmt.Sprintf("%s %d, still open", kind.name, n))
				closeErr := db.Close()
				require.Zero(t, fault.Resyncs(), "%s %d: a file was synced again after its sync had failed", kind.name, n)
				if closeErr != nil {
					require.ErrorIs(t, closeErr, vfs.ErrInjected)
				}
				db, err = engine.Open("db", small(mem.CrashLoseUnsynced()))
				require.NoError(t, err, "%s %d", kind.name, n)
				if closeErr == nil {
					requireAcked(t, db, acked, fmt.Sprintf("%s %d, reopened", kind.name, n))
				}
				require.NoError(t, db.Close())
				if !hit {
					break
				}
				tried++
				if failures > 0 {
					failed++
				}
			}
			require.Positive(t, tried)
			t.Logf("%d calls failed in turn, %d of them were seen by a caller", tried, failed)
		})
	}
}

// TestErrorWhileOpening lets each file operation of an Open fail. The database must open afterwards
// with everything it held.
func TestErrorWhileOpening(t *testing.T) {
	build := func() (*vfs.Mem, map[string]string) {
		mem := vfs.NewMem()
		db := open(t, "db", small(mem))
		acked := map[string]string{}
		_, err := faultScript(db, acked)
		require.NoError(t, err)
		require.NoError(t, db.Close())
		return mem, acked
	}
	ops := vfs.OpRead | vfs.OpWrite | vfs.OpSync | vfs.OpCreate | vfs.OpRename | vfs.OpSyncDir | vfs.OpOpen | vfs.OpList | vfs.OpStat | vfs.OpRemove | vfs.OpLock
	refused := 0
	for n := 0; ; n++ {
		mem, acked := build()
		fault := vfs.NewFault(mem)
		injection := fault.Add(vfs.Fail(ops, n))
		db, err := engine.Open("db", small(fault))
		if err == nil {
			require.NoError(t, db.Close())
		} else {
			refused++
			require.ErrorIs(t, err, vfs.ErrInjected)
			require.NotErrorIs(t, err, engine.ErrCorruption, "an I/O error is not corruption")
		}
		db, err = engine.Open("db", small(mem.CrashLoseUnsynced()))
		require.NoError(t, err, "call %d", n)
		requireAcked(t, db, acked, fmt.Sprintf("call %d", n))
		require.NoError(t, db.Close())
		if injection.Hits() == 0 {
			break
		}
	}
	require.Positive(t, refused)
	t.Logf("%d failed opens", refused)
}

// TestReadErrors lets each read of a scan and of gets fail once: an error comes back, not an end
// and not an absent key, and the next try succeeds.
func TestReadErrors(t *testing.T) {
	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	db := open(t, "db", small(fault))
	acked := map[string]string{}
	_, err := faultScript(db, acked)
	require.NoError(t, err)
	require.NoError(t, db.Flush())
	require.NoError(t, db.Close())
	for n := 0; ; n++ {
		db := open(t, "db", small(fault))
		injection := fault.Add(vfs.Fail(vfs.OpRead, n))
		it := db.NewIterator(nil)
		count := 0
		for ok := it.First(); ok; ok = it.Next() {
			count++
		}
		if it.Err() == nil {
			require.Equal(t, 60, count)
		} else {
			require.ErrorIs(t, it.Err(), vfs.ErrInjected)
		}
		it.Close()
		for k, v := range acked {
			got, err := db.Get([]byte(k))
			if err != nil {
				require.ErrorIs(t, err, vfs.ErrInjected, "key %s", k)
				continue
			}
			require.Equal(t, v, string(got))
		}
		hit := injection.Hits() > 0
		injection.Remove()
		requireAcked(t, db, acked, "after the error")
		require.NoError(t, db.Close())
		if !hit {
			return
		}
	}
}

// TestFullDisk fills a small device: writes fail with ErrNoSpace, reads go on, and writes resume by
// themselves when there is space again.
func TestFullDisk(t *testing.T) {
	mem := vfs.NewMem()
	db := open(t, "db", small(mem))
	acked := map[string]string{}
	mem.SetCapacity(2 << 20)
	var err error
	random := rand.NewChaCha8([32]byte{}) // what can be compressed may never fill the device
	for i := 0; i < 5000; i++ {
		value := make([]byte, 1000)
		_, _ = random.Read(value) // it has no errors
		k, v := fmt.Sprintf("k%05d", i), string(value)
		if err = db.Put([]byte(k), []byte(v), nil); err != nil {
			break
		}
		acked[k] = v
	}
	require.ErrorIs(t, err, engine.ErrNoSpace)
	require.Contains(t, err.Error(), "db")
	requireAcked(t, db, acked, "full")
	if err := db.Put([]byte("more"), []byte("x"), nil); err != nil { // healing the log may have freed space
		require.ErrorIs(t, err, engine.ErrNoSpace)
	}
	mem.SetCapacity(1 << 30)
	require.Eventually(t, func() bool { return db.Put([]byte("more"), []byte("x"), nil) == nil }, time.Minute, 5*time.Millisecond)
	acked["more"] = "x"
	requireAcked(t, db, acked, "space again")
	require.NoError(t, db.Close())
	db = open(t, "db", small(mem.CrashLoseUnsynced()))
	requireAcked(t, db, acked, "reopened")
	require.NoError(t, db.Close())
}

// TestFlippedByteInEachFile flips bytes in every kind of file. Whatever is read afterwards is right
// or an error that names the file; Check finds what was hit.
func TestFlippedByteInEachFile(t *testing.T) {
	build := t.TempDir()
	db := open(t, build, engine.FlushOften(engine.Options{MemtableSize: 64 << 10, ValueThreshold: 300}))
	want := map[string]string{}
	_, err := faultScript(db, want)
	require.NoError(t, err)
	require.NoError(t, db.Flush())
	for i := range 50 {
		k, v := fmt.Sprintf("log%02d", i), fmt.Sprintf("%0200d", i)
		require.NoError(t, db.Put([]byte(k), []byte(v), nil))
		want[k] = v
	}
	require.NoError(t, db.Close())
	names, err := filepath.Glob(build + "/*")
	require.NoError(t, err)
	flips := 12
	if testing.Short() {
		flips = 3
	}
	rng := rand.New(rand.NewPCG(9, 9))
	seen := map[string]int{}
	for _, name := range names {
		content, err := os.ReadFile(name)
		require.NoError(t, err)
		kind := filepath.Ext(name)
		if kind == "" {
			kind = strings.SplitN(filepath.Base(name), "-", 2)[0]
		}
		for range flips {
			if len(content) == 0 {
				continue
			}
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, os.DirFS(build)))
			at := rng.IntN(len(content))
			damaged := append([]byte{}, content...)
			damaged[at] ^= 1 << rng.IntN(8)
			require.NoError(t, os.WriteFile(filepath.Join(dir, filepath.Base(name)), damaged, 0o644))
			if readDamaged(t, dir, want, kind) {
				seen[kind]++
			}
		}
		if kind == ".sst" || kind == ".blob" || kind == "MANIFEST" {
			dir := t.TempDir()
			require.NoError(t, os.CopyFS(dir, os.DirFS(build)))
			require.NoError(t, os.Truncate(filepath.Join(dir, filepath.Base(name)), int64(len(content)/2)))
			readDamaged(t, dir, want, kind)
		}
	}
	require.Positive(t, seen[".sst"])
	require.Positive(t, seen[".blob"])
	require.Positive(t, seen["MANIFEST"])
	require.Positive(t, seen["CURRENT"])
	t.Logf("damage that was seen, by kind of file: %v", seen)
}

// readDamaged opens and reads what damage left, and reports whether an error told of it. A log's
// unsynced tail, IDENTITY and LOCK may be damaged without harm.
func readDamaged(t *testing.T, dir string, want map[string]string, kind string) (told bool) {
	t.Helper()
	db, err := engine.OpenReadOnly(dir, nil)
	if err != nil {
		require.True(t, errors.Is(err, engine.ErrCorruption) || errors.Is(err, engine.ErrNotDatabase) || errors.Is(err, engine.ErrUnsupported) || errors.Is(err, os.ErrNotExist),
			"%s: %v", kind, err)
		return true
	}
	defer db.Close()
	missing := 0
	for k, v := range want {
		got, err := db.Get([]byte(k))
		switch {
		case err == nil:
			require.Equal(t, v, string(got), "%s: a wrong value was read silently", kind)
		case errors.Is(err, engine.ErrNotFound):
			missing++
		default:
			require.ErrorIs(t, err, engine.ErrCorruption, kind)
			told = true
		}
	}
	// The last record of a log cannot be told from one that a crash has torn.
	most := 0
	if kind == ".log" {
		most = 1
	}
	require.LessOrEqual(t, missing, most, "%s: keys vanished silently", kind)
	checked := engine.Check(dir)
	if told {
		require.Error(t, checked, kind)
	}
	return told || checked != nil
}

func TestReadOnlyDirectory(t *testing.T) {
	fault := vfs.NewFault(vfs.NewMem())
	db := open(t, "db", small(fault))
	require.NoError(t, db.Put([]byte("k"), []byte("v"), nil))
	require.NoError(t, db.Close())
	denied := fault.Add(vfs.Rule{Ops: vfs.OpCreate | vfs.OpLock | vfs.OpWrite | vfs.OpRename, Forever: true, Err: os.ErrPermission})
	_, err := engine.Open("db", small(fault))
	require.ErrorIs(t, err, os.ErrPermission)
	require.Contains(t, err.Error(), "read-only")
	r, err := engine.OpenReadOnly("db", small(fault))
	require.NoError(t, err)
	v, err := r.Get([]byte("k"))
	require.NoError(t, err)
	require.Equal(t, "v", string(v))
	require.NoError(t, r.Close())
	denied.Remove()
}
