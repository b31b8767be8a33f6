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
		})
	}
}

func walkBack(t *testing.T, r *Reader, all []pair) {
	it := r.NewIterator(IterOptions{NoFill: true})
	defer it.Close()
	i := len(all)
	for ok := it.Last(); ok; ok = it.Prev() {
		i--
		require.Zero(t, ikey.Compare(all[i].key, it.Key()))
		require.Equal(t, all[i].val, string(it.Value()))
	}
	require.NoError(t, it.Err())
	require.Zero(t, i)
}

// getAll looks up every version of every key, the gaps between versions, and absent keys.
func getAll(t *testing.T, r *Reader, all []pair) {
	for i, e := range all {
		v, ok, err := r.Get(e.key.User, e.key.Seq())
		require.NoError(t, err)
		require.True(t, ok, "%v", e.key)
		require.Equal(t, e.key.Trailer, v.Trailer)
		require.Equal(t, e.val, string(v.Bytes))
		v.Release()
		first := i == 0 || string(all[i-1].key.User) != string(e.key.User)
		if first {
			v, ok, err = r.Get(e.key.User, ikey.MaxSeq)
			require.NoError(t, err)
			require.True(t, ok)
			require.Equal(t, e.key.Trailer, v.Trailer)
			v.Release()
		}
		absent := append(append([]byte{}, e.key.User...), 0)
		_, ok, err = r.Get(absent, ikey.MaxSeq)
		require.NoError(t, err)
		require.False(t, ok)
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
