package memtable

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/cambiumdb/cambium/internal/ikey"
)

const benchEntries = 1 << 20

// benchKeys returns distinct 16-byte keys in random order.
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

func benchTable(keys [][]byte) *Memtable {
	m := New(Options{SizeBytes: 64 << 20})
	for i, k := range keys {
		m.Add(ikey.Make(k, uint64(i), ikey.KindSet), k[:8])
	}
	return m
}

// BenchmarkInsert adds a million entries each round; the figure is for one.
func BenchmarkInsert(b *testing.B) {
	keys := benchKeys(benchEntries)
	b.ResetTimer()
	for done := 0; done < b.N; done += len(keys) {
		m := benchTable(keys[:min(len(keys), b.N-done)])
		b.StopTimer()
		m.Unref()
		b.StartTimer()
	}
}

// BenchmarkOverwrite adds versions of keys that are there.
func BenchmarkOverwrite(b *testing.B) {
	const distinct = 20_000
	keys := benchKeys(distinct)
	value := make([]byte, 1000)
	var m *Memtable
	for i := 0; b.Loop(); i++ {
		if i%(4*distinct) == 0 {
			if m != nil {
				m.Unref()
			}
			m = New(Options{SizeBytes: 64 << 20})
		}
		m.Add(ikey.Make(keys[i*7919%distinct], uint64(i), ikey.KindSet), value)
	}
	m.Unref()
}

func BenchmarkInsertSorted(b *testing.B) {
	keys := make([][]byte, benchEntries)
	for i := range keys {
		keys[i] = binary.BigEndian.AppendUint64([]byte("prefixed"), uint64(i))
	}
	b.ResetTimer()
	for done := 0; done < b.N; done += len(keys) {
		m := benchTable(keys[:min(len(keys), b.N-done)])
		b.StopTimer()
		m.Unref()
		b.StartTimer()
	}
}

func benchReads(b *testing.B, read func(m *Memtable, it *Iterator, key []byte)) {
	keys := benchKeys(benchEntries)
	m := benchTable(keys)
	defer m.Unref()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		it := m.NewIterator()
		defer it.Close()
		for i := rand.IntN(len(keys)); pb.Next(); i++ {
			read(m, it, keys[i*7919%len(keys)])
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	benchReads(b, func(m *Memtable, _ *Iterator, key []byte) {
		if _, _, ok := m.Get(key, ikey.MaxSeq); !ok {
			panic("lost")
		}
	})
}

func BenchmarkLookupAbsent(b *testing.B) {
	benchReads(b, func(m *Memtable, _ *Iterator, key []byte) {
		if _, _, ok := m.Get(key[1:], ikey.MaxSeq); ok {
			panic("found")
		}
	})
}

func BenchmarkSeekGE(b *testing.B) {
	benchReads(b, func(_ *Memtable, it *Iterator, key []byte) {
		if !it.SeekGE(ikey.Seek(key, ikey.MaxSeq)) {
			panic("lost")
		}
	})
}

func BenchmarkNext(b *testing.B) {
	benchReads(b, func(_ *Memtable, it *Iterator, _ []byte) {
		if !it.Next() {
			it.First()
		}
	})
}
