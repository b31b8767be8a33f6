//go:build cgo && !norocksdb

package peers

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/linxGnu/grocksdb"
	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
)

// layout is one way in which RocksDB may be told to write a database.
type layout struct {
	name    string
	db      func(o *grocksdb.Options)
	table   func(t *grocksdb.BlockBasedTableOptions)
	compact bool
}

var layouts = []layout{
	{name: "defaults"},
	{name: "format version 5, bloom filter", compact: true, table: func(t *grocksdb.BlockBasedTableOptions) {
		t.SetFormatVersion(5)
		t.SetFilterPolicy(grocksdb.NewBloomFilterFull(10))
	}},
	{name: "format version 2, crc32c, bloom filter", table: func(t *grocksdb.BlockBasedTableOptions) {
		t.SetFormatVersion(2)
		t.SetChecksum(1)
		t.SetFilterPolicy(grocksdb.NewBloomFilterFull(10))
	}},
	{name: "ribbon filter", compact: true, table: func(t *grocksdb.BlockBasedTableOptions) {
		t.SetFilterPolicy(grocksdb.NewRibbonFilterPolicy(10))
	}},
	{name: "bloom above ribbon filters", table: func(t *grocksdb.BlockBasedTableOptions) {
		t.SetFilterPolicy(grocksdb.NewRibbonHybridFilterPolicy(10, 2))
	}},
	{name: "partitioned index and filters", compact: true, table: func(t *grocksdb.BlockBasedTableOptions) {
		t.SetIndexType(grocksdb.KTwoLevelIndexSearchIndexType)
		t.SetPartitionFilters(true)
		t.SetMetadataBlockSize(512)
		t.SetFilterPolicy(grocksdb.NewBloomFilterFull(10))
	}},
	{name: "hash index in data blocks, restart interval 4", table: func(t *grocksdb.BlockBasedTableOptions) {
		t.SetDataBlockIndexType(grocksdb.KDataBlockIndexTypeBinarySearchAndHash)
		t.SetBlockRestartInterval(4)
		t.SetIndexBlockRestartInterval(8)
	}},
	{name: "no delta encoding of keys, large blocks", table: func(t *grocksdb.BlockBasedTableOptions) {
		t.SetUseDeltaEncoding(false)
		t.SetBlockSize(64 << 10)
	}},
	{name: "zstd with a dictionary", compact: true, db: func(o *grocksdb.Options) {
		o.SetCompression(grocksdb.ZSTDCompression)
		o.SetCompressionOptions(grocksdb.NewCompressionOptions(-14, 3, 0, 16<<10))
		o.SetCompressionOptionsZstdMaxTrainBytes(256 << 10)
	}},
	{name: "another compression on each level", db: func(o *grocksdb.Options) {
		o.SetCompressionPerLevel([]grocksdb.CompressionType{
			grocksdb.NoCompression, grocksdb.LZ4Compression, grocksdb.LZ4HCCompression, grocksdb.ZLibCompression,
			grocksdb.Bz2Compression, grocksdb.SnappyCompression, grocksdb.ZSTDCompression,
		})
		o.SetMaxBytesForLevelBase(128 << 10)
		o.SetTargetFileSizeBase(64 << 10)
	}},
	{name: "blob files", db: func(o *grocksdb.Options) {
		o.EnableBlobFiles(true)
		o.SetMinBlobSize(256)
		o.SetBlobFileSize(128 << 10)
		o.SetBlobCompressionType(grocksdb.ZSTDCompression)
	}},
	{name: "blob files, collected", compact: true, db: func(o *grocksdb.Options) {
		o.EnableBlobFiles(true)
		o.SetMinBlobSize(64)
		o.SetBlobFileSize(64 << 10)
		o.EnableBlobGC(true)
		o.SetBlobGCAgeCutoff(0.5)
	}},
	{name: "universal compaction", db: func(o *grocksdb.Options) {
		o.SetCompactionStyle(grocksdb.UniversalCompactionStyle)
		o.SetUniversalCompactionOptions(grocksdb.NewDefaultUniversalCompactionOptions())
	}},
	{name: "recycled logs, pipelined writes", db: func(o *grocksdb.Options) {
		o.SetRecycleLogFileNum(2)
		o.SetEnablePipelinedWrite(true)
	}},
}

// TestReadsWhatRocksDBWrites lets RocksDB's library write databases with many options and
// compares what our engine sees in them with what was written.
func TestReadsWhatRocksDBWrites(t *testing.T) {
	for _, l := range layouts {
		t.Run(l.name, func(t *testing.T) {
			dir := t.TempDir()
			want := writeWithRocksDB(t, dir, l)
			before := listing(t, dir)
			opts := &engine.Options{MemoryBudget: 32 << 20}
			db, err := engine.OpenReadOnly(dir, opts)
			require.NoError(t, err)
			compareCambium(t, db, want)
			require.NoError(t, db.Close())
			require.Equal(t, before, listing(t, dir), "reading changes no file")
			require.NoError(t, engine.Check(dir))

			// Both go on writing to it in turn.
			db, err = engine.Open(dir, opts)
			require.NoError(t, err)
			for i := range 200 {
				k := fmt.Sprintf("key %05d", i*17)
				require.NoError(t, db.Put([]byte(k), []byte("from cambium"), &engine.WriteOptions{Sync: engine.SyncNone}))
				want[k] = "from cambium"
			}
			require.NoError(t, db.Flush())
			require.NoError(t, db.DeleteRange([]byte("key 00100"), []byte("key 00200"), nil))
			want.deleteRange("key 00100", "key 00200")
			require.NoError(t, db.Close())
			readWithRocksDB(t, dir, want)
		})
	}
}

// writeWithRocksDB fills dir by RocksDB with seeded operations: some tables, some of them
// compacted, and a rest in the log.
func writeWithRocksDB(t *testing.T, dir string, l layout) content {
	t.Helper()
	opts, table := grocksdb.NewDefaultOptions(), grocksdb.NewDefaultBlockBasedTableOptions()
	defer opts.Destroy()
	defer table.Destroy()
	opts.SetCreateIfMissing(true)
	opts.SetWriteBufferSize(256 << 10)
	if l.table != nil {
		l.table(table)
	}
	opts.SetBlockBasedTableFactory(table)
	if l.db != nil {
		l.db(opts)
	}
	db, err := grocksdb.OpenDb(opts, dir)
	require.NoError(t, err)
	defer db.Close()
	wo, fo := grocksdb.NewDefaultWriteOptions(), grocksdb.NewDefaultFlushOptions()
	defer wo.Destroy()
	defer fo.Destroy()

	want := content{}
	rng := rand.New(rand.NewPCG(11, uint64(len(l.name))))
	const rounds, each = 6, 1500
	for round := range rounds {
		for range each {
			writeOne(t, db, wo, rng, want)
		}
		if round < rounds-1 {
			require.NoError(t, db.Flush(fo))
		}
		if l.compact && round == rounds/2 {
			db.CompactRange(grocksdb.Range{})
		}
	}
	// Deleted once, never overwritten: the other kind of deletion that RocksDB has.
	require.NoError(t, db.Put(wo, []byte("single"), []byte("x")))
	require.NoError(t, db.SingleDelete(wo, []byte("single")))
	return want
}

// writeOne performs one operation by RocksDB and on the model.
func writeOne(t *testing.T, db *grocksdb.DB, wo *grocksdb.WriteOptions, rng *rand.Rand, want content) {
	t.Helper()
	const keys = 4000
	b := grocksdb.NewWriteBatch()
	defer b.Destroy()
	for range 1 + rng.IntN(3) {
		n := rng.IntN(keys)
		k := fmt.Sprintf("key %05d", n)
		switch p := rng.IntN(200); {
		case p == 0:
			hi := fmt.Sprintf("key %05d", n+1+rng.IntN(50))
			b.DeleteRange([]byte(k), []byte(hi))
			want.deleteRange(k, hi)
		case p < 20:
			b.Delete([]byte(k))
			delete(want, k)
		case p < 22:
			b.Put([]byte(k), nil)
			want[k] = ""
		default:
			v := rocksValue(rng)
			b.Put([]byte(k), v)
			want[k] = string(v)
		}
	}
	if rng.IntN(100) == 0 {
		b.PutLogData([]byte("a remark that only logs hold"))
	}
	require.NoError(t, db.Write(wo, b))
}

// rocksValue is a value of up to 1 KiB, seldom of 64 KiB, half of it noise.
func rocksValue(rng *rand.Rand) []byte {
	size := 8 + rng.IntN(1<<(1+rng.IntN(10)))
	if rng.IntN(1500) == 0 {
		size = 64 << 10
	}
	v := bytes.Repeat([]byte{'v', byte(rng.IntN(256))}, size/2)
	for i := 0; i+8 <= size/2; i += 8 {
		binary.LittleEndian.PutUint64(v[i:], rng.Uint64())
	}
	return v
}

// compareCambium checks every key by Get, both directions of an iterator, and absent keys.
func compareCambium(t *testing.T, db *engine.DB, want content) {
	t.Helper()
	for k, v := range want {
		got, err := db.Get([]byte(k))
		require.NoError(t, err, "get %q", k)
		require.Equal(t, v, string(got), "value of %q", k)
	}
	for _, k := range want.absent(1000, rand.New(rand.NewPCG(1, 2))) {
		_, err := db.Get(k)
		require.ErrorIs(t, err, engine.ErrNotFound)
	}
	keys, i := want.keys(), 0
	it := db.NewIterator(nil)
	for ok := it.First(); ok; ok = it.Next() {
		require.Less(t, i, len(keys))
		require.Equal(t, keys[i], string(it.Key()))
		require.Equal(t, want[keys[i]], string(it.Value()))
		i++
	}
	require.Equal(t, len(keys), i)
	for ok := it.Last(); ok; ok = it.Prev() {
		i--
		require.GreaterOrEqual(t, i, 0)
		require.Equal(t, keys[i], string(it.Key()))
	}
	require.Zero(t, i)
	require.NoError(t, it.Err())
	require.NoError(t, it.Close())
}

// listing is every file of dir with its size and time of change.
func listing(t *testing.T, dir string) (files []string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		info, err := e.Info()
		require.NoError(t, err)
		files = append(files, fmt.Sprintf("%s %d %s", e.Name(), info.Size(), info.ModTime()))
	}
	return files
}
