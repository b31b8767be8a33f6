//go:build cgo && !norocksdb

package peers

import (
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/linxGnu/grocksdb"
	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
)

// absentGets is how many missing keys RocksDB looks for.
const absentGets = 20_000

// TestRocksDBFindsEveryKey lets RocksDB's library read a database of ours with a filter policy
// set, so that it asks our filters before it looks into a table: a filter bit in the wrong
// place is a key that is not found.
func TestRocksDBFindsEveryKey(t *testing.T) {
	dir := t.TempDir()
	db, err := engine.Open(dir, &engine.Options{MemtableSize: 4 << 20})
	require.NoError(t, err)
	pairs, origin := realPairs(t)
	want := fillCambium(t, db, pairs)
	require.NoError(t, db.Flush()) // filters are in tables
	require.NoError(t, db.Close())
	t.Logf("loaded %s: %d keys", origin, len(want))

	used := readWithRocksDB(t, dir, want)
	t.Logf("after a clean close: %v", used)
	require.Greater(t, used.useful, int64(absentGets/2), "most absent keys meet a table's filter")

	db, err = engine.Open(dir, nil)
	require.NoError(t, err)
	require.NoError(t, db.Compact(nil, nil))
	require.NoError(t, db.Close())
	used = readWithRocksDB(t, dir, want)
	t.Logf("fully compacted: %v", used)
	// One sorted run: a filter is asked once for each key, and one absent key in a hundred
	// passes it. Keys before the first and after the last of a table need no filter at all.
	require.EqualValues(t, len(want), used.truePositive, "every key went through a filter")
	require.Greater(t, used.useful, int64(absentGets*97/100))
	require.Less(t, used.positive-used.truePositive, int64(absentGets*2/100), "false positives")
}

// filterUse is what RocksDB counts about filters while it reads.
type filterUse struct {
	useful       int64 // a filter ruled the key out
	positive     int64 // a filter let the key pass
	truePositive int64 // and it was there
}

// readerOptions are RocksDB's options for reading our tables: filters are only consulted where a
// filter policy is set, whatever its number of bits.
func readerOptions(t *testing.T) *grocksdb.Options {
	table := grocksdb.NewDefaultBlockBasedTableOptions()
	table.SetFilterPolicy(grocksdb.NewBloomFilter(10))
	cache := grocksdb.NewLRUCache(128 << 20)
	table.SetBlockCache(cache)
	opts := grocksdb.NewDefaultOptions()
	opts.SetBlockBasedTableFactory(table)
	opts.SetParanoidChecks(true)
	opts.EnableStatistics()
	t.Cleanup(func() {
		opts.Destroy()
		table.Destroy()
		cache.Destroy()
	})
	return opts
}

// readWithRocksDB reads everything in dir in every way that RocksDB has and compares.
func readWithRocksDB(t *testing.T, dir string, want content) filterUse {
	t.Helper()
	opts := readerOptions(t)
	db, err := grocksdb.OpenDbForReadOnly(opts, dir, false)
	require.NoError(t, err)
	defer db.Close()
	ro := grocksdb.NewDefaultReadOptions()
	defer ro.Destroy()
	ro.SetVerifyChecksums(true)

	start := filterUseOf(opts)
	for k, v := range want {
		got, err := db.GetPinned(ro, []byte(k))
		require.NoError(t, err)
		require.True(t, got.Exists(), "RocksDB does not find %q", k)
		if string(got.Data()) != v {
			require.Equal(t, v, string(got.Data()), "value of %q", k)
		}
		got.Destroy()
	}
	for _, k := range want.absent(absentGets, rand.New(rand.NewPCG(9, 9))) {
		got, err := db.GetPinned(ro, k)
		require.NoError(t, err)
		require.False(t, got.Exists(), "RocksDB finds %q, which was never written", k)
		got.Destroy()
	}
	used := filterUseOf(opts)
	used = filterUse{used.useful - start.useful, used.positive - start.positive, used.truePositive - start.truePositive}

	iterateRocksDB(t, db, ro, want)
	multiGetRocksDB(t, db, ro, want)
	return used
}

func iterateRocksDB(t *testing.T, db *grocksdb.DB, ro *grocksdb.ReadOptions, want content) {
	t.Helper()
	keys := want.keys()
	it := db.NewIterator(ro)
	defer it.Close()
	check := func(i int) {
		k, v := string(it.Key().Data()), string(it.Value().Data())
		if k != keys[i] || v != want[k] {
			require.Equal(t, keys[i], k, "key %d", i)
			require.Equal(t, want[k], v, "value of %q", k)
		}
	}
	i := 0
	for it.SeekToFirst(); it.Valid(); it.Next() {
		require.Less(t, i, len(keys), "more keys than were written")
		check(i)
		i++
	}
	require.NoError(t, it.Err())
	require.Equal(t, len(keys), i, "keys forward")
	for it.SeekToLast(); it.Valid(); it.Prev() {
		i--
		require.GreaterOrEqual(t, i, 0, "more keys than were written")
		check(i)
	}
	require.NoError(t, it.Err())
	require.Zero(t, i, "keys left backward")
	for i := 0; i < len(keys); i += 97 {
		it.Seek([]byte(keys[i]))
		require.True(t, it.Valid())
		check(i)
		it.SeekForPrev([]byte(keys[i] + "\x00"))
		require.True(t, it.Valid())
		check(i)
	}
}

// multiGetRocksDB gets every key and as many absent ones in calls of 64.
func multiGetRocksDB(t *testing.T, db *grocksdb.DB, ro *grocksdb.ReadOptions, want content) {
	t.Helper()
	for chunk := range slices.Chunk(want.keys(), 32) {
		var keys [][]byte
		for _, k := range chunk {
			keys = append(keys, []byte(k), []byte(k+"\x00"))
		}
		got, err := db.MultiGet(ro, keys...)
		require.NoError(t, err)
		for i, s := range got {
			v, ok := want[string(keys[i])]
			if s.Exists() != ok || string(s.Data()) != v {
				require.Equal(t, ok, s.Exists(), "MultiGet of %q", keys[i])
				require.Equal(t, v, string(s.Data()), "MultiGet of %q", keys[i])
			}
		}
		got.Destroy()
	}
}

// ticker finds a counter in RocksDB's statistics.
var ticker = regexp.MustCompile(`(?m)^(rocksdb\.\S+) COUNT : (\d+)$`)

func filterUseOf(opts *grocksdb.Options) filterUse {
	count := map[string]int64{}
	for _, m := range ticker.FindAllStringSubmatch(opts.GetStatisticsString(), -1) {
		count[m[1]], _ = strconv.ParseInt(m[2], 10, 64)
	}
	return filterUse{
		useful:       count["rocksdb.bloom.filter.useful"],
		positive:     count["rocksdb.bloom.filter.full.positive"],
		truePositive: count["rocksdb.bloom.filter.full.true.positive"],
	}
}
