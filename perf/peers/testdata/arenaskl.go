package arenaskl

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/internal/base"
)

// The benchmarks of cambium's memtable (memtable/bench_test.go) over Pebble's skip list: the same keys,
// values and order. .ci/memtable-bench lays this file into a copy of the package, which nobody outside Pebble
// may import.

const benchEntries = 1 << 20

func benchKeys(n int) [][]byte {
	rng := rand.New(rand.NewPCG(1, 2))
	keys := make([][]byte, n)
	flat := make([]byte, 16*n)
	for i := range keys {
		keys[i] = flat[16*i : 16*i+16]
		binary.BigEndian.PutUint64(keys[i], rng.Uint64())
		binary.BigEndian.PutUint64(keys[i][8:], uint64(i))
	}
	return keys
}

func benchList(arena []byte, keys [][]byte) *Skiplist {
	list := NewSkiplist(NewArena(arena), bytes.Compare)
	var ins Inserter
	for i, k := range keys {
		if err := ins.Add(list, base.MakeInternalKey(k, base.SeqNum(i+1), base.InternalKeyKindSet), k[:8]); err != nil {
			panic(err)
		}
	}
	return list
}

func BenchmarkInsert(b *testing.B) {
	keys, arena := benchKeys(benchEntries), make([]byte, 256<<20)
	b.ResetTimer()
	for done := 0; done < b.N; done += len(keys) {
		benchList(arena, keys[:min(len(keys), b.N-done)])
	}
}

func BenchmarkLookup(b *testing.B) {
	keys := benchKeys(benchEntries)
	list := benchList(make([]byte, 256<<20), keys)
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		it := list.NewIter(nil, nil)
		defer it.Close()
		for i := rand.IntN(len(keys)); pb.Next(); i++ {
			key := keys[i*7919%len(keys)]
			if kv := it.SeekGE(key, base.SeekGEFlagsNone); kv == nil || !bytes.Equal(kv.K.UserKey, key) {
				panic("lost")
			}
		}
	})
}
