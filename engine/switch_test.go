package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
)

// TestSwitchCompaction reopens one directory under every policy after every other, with writes and
// ingests before each settling. Nothing is lost, and the tree is in order at each stage.
func TestSwitchCompaction(t *testing.T) {
	dir := t.TempDir()
	rng := rand.New(rand.NewPCG(1, 2))
	model := map[string][]byte{}
	for i, policy := range []engine.Compaction{
		engine.Leveled, engine.Tiered, engine.LazyLeveled, engine.Leveled,
		engine.LazyLeveled, engine.Tiered, engine.Leveled,
	} {
		db := open(t, dir, engine.FlushOften(engine.Options{Compaction: policy, MemtableSize: 64 << 10, MemoryBudget: 8 << 20, Sync: engine.SyncNone}))
		for n := range 4000 {
			if n%400 == 399 {
				ingestInto(t, db, rng, model)
			}
			key := fmt.Sprintf("key%06d", rng.IntN(8000))
			if rng.IntN(10) == 0 {
				delete(model, key)
				require.NoError(t, db.Delete([]byte(key), nil))
				continue
			}
			value := make([]byte, 100+rng.IntN(200))
			for j := range value {
				value[j] = byte(rng.Uint32())
			}
			model[key] = value
			require.NoError(t, db.Put([]byte(key), value, nil))
		}
		require.NoError(t, db.Flush())
		require.NoError(t, db.WaitIdle(context.Background()))
		sameAs(t, db, model, "stage %d, %s", i, policy)
		require.NoError(t, db.Close())
		require.NoError(t, engine.Check(dir), "stage %d, %s", i, policy)
		if ldb, err := exec.LookPath("ldb"); err == nil {
			out, err := exec.Command(ldb, "--db="+dir, "checkconsistency").CombinedOutput()
			require.NoError(t, err, "stage %d, %s: %s", i, policy, out)
			require.Contains(t, string(out), "OK", "stage %d, %s", i, policy)
		}
	}
}

// ingestInto takes in a table that deletes a range and sets keys, in a stretch that is long or short.
func ingestInto(t *testing.T, db *engine.DB, rng *rand.Rand, model map[string][]byte) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "t.sst")
	w, err := engine.NewTableWriter(path, nil)
	require.NoError(t, err)
	at, step := rng.IntN(8000), 1+rng.IntN(100)
	lo, hi := fmt.Sprintf("key%06d", at), fmt.Sprintf("key%06d", at+20)
	require.NoError(t, w.DeleteRange([]byte(lo), []byte(hi)))
	for key := range model {
		if key >= lo && key < hi {
			delete(model, key)
		}
	}
	for ; at < 8000; at += step {
		key, value := fmt.Sprintf("key%06d", at), fmt.Appendf(nil, "ingested %d", rng.Int())
		require.NoError(t, w.Put([]byte(key), value))
		model[key] = value
	}
	require.NoError(t, w.Close())
	require.NoError(t, db.Ingest(path))
}

func sameAs(t *testing.T, db *engine.DB, model map[string][]byte, format string, args ...any) {
	t.Helper()
	it := db.NewIterator(nil)
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		n++
		if want, ok := model[string(it.Key())]; !ok || !bytes.Equal(want, it.Value()) {
			require.Fail(t, "wrong value", "%s: key %q", fmt.Sprintf(format, args...), it.Key())
		}
	}
	require.NoError(t, it.Err())
	require.NoError(t, it.Close())
	require.Equal(t, len(model), n, fmt.Sprintf(format, args...))
}

func TestCompactionNames(t *testing.T) {
	require.Equal(t, "leveled tiered lazy", fmt.Sprint(engine.Leveled, engine.Tiered, engine.LazyLeveled))
	_, err := engine.Open(t.TempDir(), &engine.Options{Compaction: engine.LazyLeveled + 1})
	require.ErrorIs(t, err, engine.ErrInvalidArgument)
}
