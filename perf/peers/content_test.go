//go:build cgo && !norocksdb

package peers

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/perf"
)

// dataSet is where the real data set lies beside a checkout.
const dataSet = "../../../shared/data/real/debian-packages.jsonl.zst"

// content is what a database must hold: a map beside the database under test, so that neither
// engine is asked what the other should have.
type content map[string]string

// keys returns the keys in order.
func (c content) keys() []string { return slices.Sorted(maps.Keys(c)) }

// deleteRange removes the keys in [lo, hi).
func (c content) deleteRange(lo, hi string) {
	maps.DeleteFunc(c, func(k, _ string) bool { return lo <= k && k < hi })
}

// absent returns n keys that c does not hold, each right behind one that it does.
func (c content) absent(n int, rng *rand.Rand) [][]byte {
	present := c.keys()
	var out [][]byte
	for i := 0; len(out) < n; i++ {
		k := fmt.Sprintf("%s\x00%d", present[rng.IntN(len(present))], i)
		if _, ok := c[k]; !ok {
			out = append(out, []byte(k))
		}
	}
	return out
}

// realPairs returns the real data set where it is present, else a generated one, and its name.
func realPairs(t *testing.T) (pairs []perf.Pair, origin string) {
	t.Helper()
	src, err := perf.OpenPairs(dataSet)
	origin = "the real data set " + dataSet
	if err != nil {
		src = perf.GeneratePairs(60_000, 1)
		origin = "a generated data set: the real one is not here"
	}
	for {
		p, err := src.Next()
		if err == io.EOF {
			require.NoError(t, src.Close())
			return pairs, origin
		}
		require.NoError(t, err)
		pairs = append(pairs, perf.Pair{Key: bytes.Clone(p.Key), Value: bytes.Clone(p.Value)})
	}
}

// fillCambium loads pairs, then overwrites, deletes, deletes ranges and sets values with a time
// to live, and returns what must be there.
func fillCambium(t *testing.T, db *engine.DB, pairs []perf.Pair) content {
	t.Helper()
	none := &engine.WriteOptions{Sync: engine.SyncNone}
	want := content{}
	b := db.NewBatch()
	for _, p := range pairs {
		want[string(p.Key)] = string(p.Value)
		if b.Put(p.Key, p.Value); b.Len() == 100 {
			require.NoError(t, db.Apply(b, none))
			b.Reset()
		}
	}
	require.NoError(t, db.Apply(b, none))

	rng := rand.New(rand.NewPCG(7, 7))
	for i, p := range pairs {
		k := string(p.Key)
		switch {
		case i%7 == 0:
			v := fmt.Sprintf("overwritten %d %s", i, bytes.Repeat([]byte("ab"), rng.IntN(300)))
			require.NoError(t, db.Put(p.Key, []byte(v), none))
			want[k] = v
		case i%11 == 0:
			require.NoError(t, db.Delete(p.Key, none))
			delete(want, k)
		case i%1009 == 0:
			hi := k[:len(k)/2+1] + "z"
			if hi <= k {
				hi = k + "z"
			}
			require.NoError(t, db.DeleteRange(p.Key, []byte(hi), none))
			want.deleteRange(k, hi)
		case i%13 == 0:
			v := fmt.Sprintf("expires %d", i)
			require.NoError(t, db.Put(p.Key, []byte(v), &engine.WriteOptions{Sync: engine.SyncNone, TTL: 24 * time.Hour}))
			want[k] = v
		case i%1013 == 0:
			require.NoError(t, db.Put(p.Key, nil, none))
			want[k] = ""
		}
	}
	require.NoError(t, db.Put([]byte("zz last"), []byte("per write"), nil))
	want["zz last"] = "per write"
	return want
}
