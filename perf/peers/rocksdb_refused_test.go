//go:build cgo && !norocksdb

package peers

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/linxGnu/grocksdb"
	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
)

// refused opens dir in every way and wants the same named refusal from each, and no change but
// for the LOCK file, where a writer leaves its process id.
func refused(t *testing.T, dir, name string) {
	t.Helper()
	before := listing(t, dir)
	_, err := engine.OpenReadOnly(dir, nil)
	require.ErrorIs(t, err, engine.ErrUnsupported)
	require.ErrorContains(t, err, name)
	require.Error(t, engine.Check(dir))
	require.Equal(t, before, listing(t, dir), "reading changes no file")

	_, err = engine.Open(dir, nil)
	require.ErrorIs(t, err, engine.ErrUnsupported)
	require.ErrorContains(t, err, name)
	isLock := func(f string) bool { return strings.HasPrefix(f, "LOCK ") }
	require.Equal(t, slices.DeleteFunc(before, isLock), slices.DeleteFunc(listing(t, dir), isLock), "a refused database stays as it is")
	t.Log(err)
}

// removeOptions removes RocksDB's OPTIONS files, so that only tables, logs and the manifest can
// tell what the database holds.
func removeOptions(t *testing.T, dir string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "OPTIONS-*"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		require.NoError(t, os.Remove(f))
	}
}

func openRocksDB(t *testing.T, dir string, set func(o *grocksdb.Options)) *grocksdb.DB {
	t.Helper()
	opts := grocksdb.NewDefaultOptions()
	opts.SetCreateIfMissing(true)
	if set != nil {
		set(opts)
	}
	db, err := grocksdb.OpenDb(opts, dir)
	require.NoError(t, err)
	return db
}

func TestRefusesMergeOperators(t *testing.T) {
	wo, fo := grocksdb.NewDefaultWriteOptions(), grocksdb.NewDefaultFlushOptions()
	for _, flushed := range []bool{false, true} {
		dir := t.TempDir()
		db := openRocksDB(t, dir, (*grocksdb.Options).SetUint64AddMergeOperator)
		require.NoError(t, db.Put(wo, []byte("a"), []byte("plain")))
		require.NoError(t, db.Merge(wo, []byte("n"), binary.LittleEndian.AppendUint64(nil, 1)))
		if flushed {
			require.NoError(t, db.Flush(fo))
		}
		db.Close()
		refused(t, dir, "merge operator UInt64AddOperator")

		removeOptions(t, dir)
		if !flushed {
			refused(t, dir, "merge")
			continue
		}
		// The table is met when it is read.
		ro, err := engine.OpenReadOnly(dir, nil)
		if err == nil {
			_, err = ro.Get([]byte("n"))
			require.NoError(t, ro.Close())
		}
		require.ErrorIs(t, err, engine.ErrUnsupported)
		require.ErrorContains(t, err, "merge operand")
		t.Log(err)
	}
}

func TestRefusesOtherColumnFamilies(t *testing.T) {
	dir := t.TempDir()
	db := openRocksDB(t, dir, nil)
	opts := grocksdb.NewDefaultOptions()
	cf, err := db.CreateColumnFamily(opts, "people")
	require.NoError(t, err)
	wo := grocksdb.NewDefaultWriteOptions()
	require.NoError(t, db.PutCF(wo, cf, []byte("a"), []byte("b")))
	cf.Destroy()
	db.Close()
	refused(t, dir, "people")
	removeOptions(t, dir)
	refused(t, dir, "people")
}

func TestRefusesOtherComparators(t *testing.T) {
	dir := t.TempDir()
	db := openRocksDB(t, dir, func(o *grocksdb.Options) {
		o.SetComparator(grocksdb.NewComparator("test.Reversed", func(a, b []byte) int { return bytes.Compare(b, a) }))
	})
	wo := grocksdb.NewDefaultWriteOptions()
	require.NoError(t, db.Put(wo, []byte("a"), []byte("b")))
	db.Close()
	refused(t, dir, "test.Reversed")
	removeOptions(t, dir)
	refused(t, dir, "test.Reversed")
}
