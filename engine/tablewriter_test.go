package engine_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// TestTableWriter writes many keys in each compression and finds them in a database.
func TestTableWriter(t *testing.T) {
	for _, c := range []engine.Compression{engine.DefaultCompression, engine.NoCompression, engine.Snappy, engine.Zstd} {
		fs := vfs.NewMem()
		w, err := engine.NewTableWriter("t.sst", &engine.Options{FS: fs, Compression: c})
		require.NoError(t, err)
		const n = 5000
		value := func(i int) []byte { return bytes.Repeat(fmt.Appendf(nil, "%d ", i), 1+i%40) }
		for i := range n {
			require.NoError(t, w.Put(fmt.Appendf(nil, "key%06d", i), value(i)))
			if i%100 == 0 { // beside the keys, and over them: what the table puts stays
				require.NoError(t, w.DeleteRange(fmt.Appendf(nil, "key%06d", i), fmt.Appendf(nil, "key%06dz", i+50)))
			}
		}
		require.NoError(t, w.Close())
		w.Abort() // does nothing
		_, err = fs.Stat("t.sst.partial")
		require.Error(t, err)

		db := open(t, "db", small(fs))
		put(t, db, "key000010x=hidden key000070x=shown")
		require.NoError(t, db.Ingest("t.sst"))
		seen := 0
		for k, v := range db.All(nil) {
			if string(k) == "key000070x" {
				continue
			}
			require.Equal(t, fmt.Sprintf("key%06d", seen), string(k))
			require.Equal(t, value(seen), v)
			seen++
		}
		require.Equal(t, n, seen)
		require.NoError(t, db.Close())
	}
}

// TestTableWriterKeepsWhatIsThere: until Close a table does not touch the file of its name, which a
// database may share, and after an error it never does.
func TestTableWriterKeepsWhatIsThere(t *testing.T) {
	fs := vfs.NewMem()
	makeTable(t, fs, "t.sst", "a=1")
	db := open(t, "db", small(fs))
	require.NoError(t, db.Ingest("t.sst"))
	before := readFile(t, fs, "t.sst")
	for name, misuse := range map[string]func(w *engine.TableWriter) error{
		"descending": func(w *engine.TableWriter) error { return w.Put([]byte("a"), nil) },
		"the same":   func(w *engine.TableWriter) error { return w.Delete([]byte("k")) },
		"empty key":  func(w *engine.TableWriter) error { return w.Put(nil, nil) },
		"long value": func(w *engine.TableWriter) error {
			return w.Put([]byte("z"), make([]byte, engine.DefaultMaxValueBytes+1))
		},
		"no range":         func(w *engine.TableWriter) error { return w.DeleteRange([]byte("b"), []byte("b")) },
		"empty start":      func(w *engine.TableWriter) error { return w.DeleteRange(nil, []byte("b")) },
		"descending range": func(w *engine.TableWriter) error { return w.DeleteRange([]byte("a"), []byte("b")) },
	} {
		w, err := engine.NewTableWriter("t.sst", &engine.Options{FS: fs})
		require.NoError(t, err)
		require.NoError(t, w.Put([]byte("k"), []byte("v")))
		require.NoError(t, w.DeleteRange([]byte("b"), []byte("c")))
		err = misuse(w)
		require.ErrorIs(t, err, engine.ErrInvalidArgument, name)
		require.Equal(t, err, w.Put([]byte("zz"), nil), "%s: the first error stays", name)
		require.Equal(t, err, w.Close(), name)
		require.Equal(t, before, readFile(t, fs, "t.sst"), name)
		_, err = fs.Stat("t.sst.partial")
		require.Error(t, err, name)
	}
	w, err := engine.NewTableWriter("t.sst", &engine.Options{FS: fs})
	require.NoError(t, err)
	require.ErrorIs(t, w.Close(), engine.ErrInvalidArgument, "an empty table")

	makeTable(t, fs, "t.sst", "a=2 b=2")
	require.Equal(t, "a=1", content(t, db, nil), "the database keeps the old file")
	require.NoError(t, db.Ingest("t.sst"))
	require.Equal(t, "a=2 b=2", content(t, db, nil))
	require.NoError(t, db.Close())
}

// TestTableWriterErrors lets each file operation fail in its turn: there is a whole table or none.
func TestTableWriterErrors(t *testing.T) {
	for n := 0; ; n++ {
		mem := vfs.NewMem()
		fault := vfs.NewFault(mem)
		injection := fault.Add(vfs.Fail(vfs.OpChange, n))
		w, err := engine.NewTableWriter("t.sst", &engine.Options{FS: fault})
		if err == nil {
			for i := range 300 {
				_ = w.Put(fmt.Appendf(nil, "k%03d", i), make([]byte, 10_000)) // Close returns the first error
			}
			err = w.Close()
		}
		if injection.Hits() == 0 {
			require.NoError(t, err)
			require.Greater(t, n, 4)
			return
		}
		require.ErrorIs(t, err, vfs.ErrInjected, "call %d", n)
		require.ErrorContains(t, err, "write table t.sst: ")
		_, err = mem.Stat("t.sst.partial")
		require.Error(t, err, "call %d", n)
	}
}
