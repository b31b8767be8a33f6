package sstable

import (
	"context"
	"fmt"
	"sort"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/ikey"
)

// TestFixtures reads every table that RocksDB 7.8 wrote, in each way there is.
func TestFixtures(t *testing.T) {
	tables := fixtures(t)
	c := cache.New(32 << 20)
	defer c.Close()
	defer func() { require.Zero(t, c.Metrics().PinnedBytes, "every block was released") }()
	names := make([]string, 0, len(tables))
	for n := range tables {
		names = append(names, n)
	}
	sort.Strings(names)
	for i, name := range names {
		t.Run(name, func(t *testing.T) {
			counters := &Counters{}
			r, err := openBytes(t, name, tables[name], ReaderOptions{Cache: c, FileNum: uint64(i + 1), Counters: counters})
			require.NoError(t, err)
			defer func() { require.NoError(t, r.Close()) }()
			stats, err := r.Verify(context.Background())
			require.NoError(t, err)
			p := r.Properties()
			require.Equal(t, p.NumEntries, stats.Entries)
			require.Equal(t, p.NumDataBlocks, stats.Blocks)
			require.Equal(t, p.DataSize, stats.Bytes)
			l, err := r.Layout(0)
			require.NoError(t, err)
			require.Len(t, l.Blocks, int(p.NumDataBlocks))
			require.Equal(t, p.FilterSize > 0, r.filterBlock != nil)
			if r.filterBlock != nil {
				require.True(t, l.Filter.Known, l.Filter.Description)
				rejects(t, r)
			}

			all := collect(t, r.NewIterator(IterOptions{}))
			require.Len(t, all, int(p.NumEntries-p.NumRangeDeletions))
			require.Equal(t, all, collect(t, r.NewIterator(IterOptions{Compaction: true})))
			walkBack(t, r, all)
			getAll(t, r, all)
			pinned := int64(len(r.index.Bytes()))
			require.LessOrEqual(t, pinned, c.Metrics().PinnedBytes, "index and filter stay")
		})
	}
}

func walkBack(t *testing.T, r *Reader, all []pair) {
	t.Helper()
	it := r.NewIterator(IterOptions{NoFill: true})
	defer it.Close()
	i := len(all)
	for ok := it.Last(); ok; ok = it.Prev() {
		if i--; i < 0 || ikey.Compare(all[i].key, it.Key()) != 0 || all[i].val != string(it.Value()) {
			t.Fatalf("entry %d backward: %v", i, it.Key())
		}
	}
	require.NoError(t, it.Err())
	require.Zero(t, i)
}

// getAll looks up every version of every key, the newest version, and absent keys between.
func getAll(t *testing.T, r *Reader, all []pair) {
	t.Helper()
	look := func(user []byte, seq uint64, want *pair) {
		v, ok, err := r.Get(user, seq)
		switch {
		case err != nil || ok != (want != nil):
			t.Fatalf("get %q at %d: %v, %v", user, seq, ok, err)
		case ok && (v.Trailer != want.key.Trailer || string(v.Bytes) != want.val):
			t.Fatalf("get %q at %d: %v %q, want %v %q", user, seq, v.Trailer, v.Bytes, want.key, want.val)
		}
		v.Release()
	}
	for i := range all {
		user := all[i].key.User
		look(user, all[i].key.Seq(), &all[i])
		if i == 0 || string(all[i-1].key.User) != string(user) {
			look(user, ikey.MaxSeq, &all[i])
		}
		look(append(append([]byte{}, user...), 0), ikey.MaxSeq, nil)
	}
}

// rejects expects the filter to know most absent keys.
func rejects(t *testing.T, r *Reader) {
	t.Helper()
	positives := 0
	for i := range 1000 {
		may, err := r.MayContain(fmt.Appendf(nil, "k%d not there", i))
		require.NoError(t, err)
		if may {
			positives++
		}
	}
	require.Less(t, positives, 60)
}
