package engine_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// crashImage is what a power cut at one sync point leaves, with how far the script was.
type crashImage struct {
	at      string
	fs      *vfs.Mem
	acked   int // operations that had returned
	started int // operations that had begun
	tables  int // operations known to be in tables: Flush or an ingest had returned after them
}

// TestCrashAtEverySyncPoint runs a script and cuts the power before and after every sync of a
// file or directory. What is recovered must be the state after some prefix of the script that
// is at least as long as the policy promises.
func TestCrashAtEverySyncPoint(t *testing.T) {
	for _, policy := range []engine.Sync{engine.SyncPerWrite, engine.SyncPerSecond, engine.SyncNone} {
		t.Run(policy.String(), func(t *testing.T) {
			seeds := 3
			if testing.Short() {
				seeds = 1
			}
			points := 0
			for seed := range seeds {
				points += crashScript(t, policy, uint64(seed))
			}
			t.Logf("%d power cuts, each recovered a prefix as promised", points)
		})
	}
}

func crashScript(t *testing.T, policy engine.Sync, seed uint64) (points int) {
	rng := rand.New(rand.NewPCG(seed, 1))
	fs := vfs.NewMem()
	var acked, started, tables atomic.Int64
	var mu sync.Mutex
	var images []crashImage
	crashRng := rand.New(rand.NewPCG(seed, 2))
	fs.SetSyncHook(func(op, name string) {
		mu.Lock()
		defer mu.Unlock()
		img := crashImage{at: op + " " + name, acked: int(acked.Load()), tables: int(tables.Load())}
		img.fs = fs.Crash(crashRng)
		img.started = int(started.Load())
		images = append(images, img)
	})
	opts := small(fs)
	opts.Sync = policy
	db := open(t, "db", opts)

	states := []map[string]string{{}}
	const ops = 120
	for i := range ops {
		next := maps.Clone(states[i])
		var op func(*engine.DB) error
		ingests := rng.IntN(10) == 0
		if ingests {
			op = drawCrashIngest(t, fs, rng, i, next)
		} else {
			op = drawCrashOp(rng, i, next)
		}
		started.Store(int64(i + 1))
		require.NoError(t, op(db))
		states = append(states, next)
		acked.Store(int64(i + 1))
		if i%37 == 36 {
			require.NoError(t, db.Flush())
		}
		if ingests || i%37 == 36 {
			tables.Store(int64(i + 1))
		}
		if i == 80 {
			require.NoError(t, db.Compact(nil, nil))
		}
	}
	require.NoError(t, db.Close())
	fs.SetSyncHook(nil)

	for _, img := range images {
		least := img.tables
		if policy == engine.SyncPerWrite {
			least = img.acked
		}
		got := recoverState(t, img)
		found := -1
		for p := least; p <= img.started && p < len(states); p++ {
			if maps.Equal(states[p], got) {
				found = p
				break
			}
		}
		require.GreaterOrEqual(t, found, 0, "seed %d, power cut at %q with %d acked, %d started: not the state after any prefix of at least %d operations:\n%v",
			seed, img.at, img.acked, img.started, least, got)
	}
	return len(images)
}

// drawCrashOp draws an operation, applies it to state, and returns how to do it on a database. Every
// operation leaves its number behind, so that no two prefixes have the same state.
func drawCrashOp(rng *rand.Rand, i int, state map[string]string) func(*engine.DB) error {
	key := fmt.Sprintf("k%02d", rng.IntN(40))
	value := fmt.Sprintf("%d-%0*d", i, rng.IntN(3000), 0)
	mark := fmt.Sprint(i)
	batch := func(db *engine.DB) *engine.Batch {
		b := db.NewBatch()
		b.Put([]byte("mark"), []byte(mark))
		return b
	}
	state["mark"] = mark
	switch rng.IntN(6) {
	case 0:
		delete(state, key)
		return func(db *engine.DB) error {
			b := batch(db)
			b.Delete([]byte(key))
			return db.Apply(b, nil)
		}
	case 1:
		lo, hi := fmt.Sprintf("k%02d", rng.IntN(20)), fmt.Sprintf("k%02d", 20+rng.IntN(20))
		maps.DeleteFunc(state, func(k, _ string) bool { return k >= lo && k < hi })
		return func(db *engine.DB) error {
			b := batch(db)
			b.DeleteRange([]byte(lo), []byte(hi))
			return db.Apply(b, nil)
		}
	}
	state[key], state[key+"x"] = value, value
	return func(db *engine.DB) error {
		b := batch(db)
		b.Put([]byte(key), []byte(value))
		b.Put([]byte(key+"x"), []byte(value))
		return db.Apply(b, nil)
	}
}

// drawCrashIngest does the same with tables from outside. They overlap what memory holds, or lie
// apart from everything: then only the log keeps what was written before.
func drawCrashIngest(t *testing.T, fs *vfs.Mem, rng *rand.Rand, i int, state map[string]string) func(*engine.DB) error {
	apart := fmt.Sprintf("apart%03d", i)
	tables := []string{makeTable(t, fs, apart, apart+"=ingested")}
	state[apart] = "ingested"
	if rng.IntN(2) == 0 {
		lo, hi := fmt.Sprintf("k%02d", rng.IntN(20)), fmt.Sprintf("k%02d", 20+rng.IntN(20))
		maps.DeleteFunc(state, func(k, _ string) bool { return k >= lo && k < hi })
		state["k05"], state["mark"] = apart, fmt.Sprint(i)
		tables = append(tables, makeTable(t, fs, apart+"-over", fmt.Sprintf("-%s..%s k05=%s mark=%d", lo, hi, apart, i)))
	}
	return func(db *engine.DB) error { return db.Ingest(tables...) }
}

// recoverState opens what a crash left, twice, and returns its content.
func recoverState(t *testing.T, img crashImage) map[string]string {
	t.Helper()
	var got map[string]string
	for range 2 {
		db, err := engine.Open("db", small(img.fs))
		require.NoError(t, err, "power cut at %q", img.at)
		again := map[string]string{}
		for k, v := range db.All(nil) {
			again[string(k)] = string(v)
		}
		require.NoError(t, db.Close())
		if got != nil {
			require.Equal(t, got, again, "the second open of what a power cut at %q left", img.at)
		}
		got = again
	}
	return got
}

// TestCrashWithMixedPolicies lets 16 writers count upwards, each on a key of its own and with
// policies mixed, and cuts the power at sync points. Every counter must be at least what its
// writer last had acknowledged per write, and since each write takes one sequence number, the sum
// of the counters must be the recovered sequence number: there is no hole.
func TestCrashWithMixedPolicies(t *testing.T) {
	const writers = 16
	rounds := 40
	if testing.Short() {
		rounds = 10
	}
	fs := vfs.NewMem()
	var durable [writers]atomic.Uint64
	type image struct {
		fs    *vfs.Mem
		least [writers]uint64
	}
	var mu sync.Mutex
	var images []image
	rng := rand.New(rand.NewPCG(7, 7))
	calls := 0
	fs.SetSyncHook(func(string, string) {
		mu.Lock()
		defer mu.Unlock()
		if calls++; calls%5 != 0 {
			return
		}
		var img image
		for w := range durable {
			img.least[w] = durable[w].Load()
		}
		img.fs = fs.Crash(rng)
		images = append(images, img)
	})
	db := open(t, "db", small(fs))
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			rng := rand.New(rand.NewPCG(uint64(w), 3))
			pad := make([]byte, 400)
			for i := range uint64(rounds) {
				policy := []engine.Sync{engine.SyncPerWrite, engine.SyncPerSecond, engine.SyncNone}[rng.IntN(3)]
				value := binary.BigEndian.AppendUint64(nil, i+1)
				value = append(value, pad...)
				if err := db.Put(fmt.Appendf(nil, "w%02d", w), value, &engine.WriteOptions{Sync: policy}); err != nil {
					t.Errorf("writer %d: %v", w, err)
					return
				}
				if policy == engine.SyncPerWrite {
					durable[w].Store(i + 1)
				}
				if w == 0 && i%8 == 7 {
					if err := db.Flush(); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	require.NoError(t, db.Close())
	fs.SetSyncHook(nil)
	for i, img := range images {
		db, err := engine.Open("db", small(img.fs))
		require.NoError(t, err, "image %d", i)
		sum := uint64(0)
		for w := range writers {
			got := uint64(0)
			if v, err := db.Get(fmt.Appendf(nil, "w%02d", w)); err == nil {
				got = binary.BigEndian.Uint64(v)
			} else {
				require.ErrorIs(t, err, engine.ErrNotFound)
			}
			require.GreaterOrEqual(t, got, img.least[w], "image %d: writer %d had this much acknowledged per write", i, w)
			sum += got
		}
		require.Equal(t, db.Metrics().VisibleSeq, sum, "image %d: a hole in the commit order", i)
		require.NoError(t, db.Close())
	}
	t.Logf("%d power cuts over %d mixed writes", len(images), writers*rounds)
}
