package tidy

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"go/ast"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/record"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/internal/zstd"
)

// documented is a row of a table in docs/errors.md: the shapes of messages, in which … stands
// for anything, and what errors.Is says.
type documented struct {
	shape    string
	pattern  *regexp.Regexp
	sentinel string // "" where the row has none
	met      bool
}

// begins is the length of what the message always begins with.
func (d *documented) begins() int { return strings.Index(d.shape+"…", "…") }

// documentedErrors reads the rows whose first cell holds messages in backticks.
func documentedErrors(t *testing.T) (rows []*documented) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "errors.md"))
	require.NoError(t, err)
	quoted := regexp.MustCompile("`([^`]+)`")
	for _, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(line, "|")
		if len(cells) != 6 {
			continue
		}
		sentinel := quoted.FindStringSubmatch(cells[3])
		for _, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
			pattern := "^(?s:" + strings.ReplaceAll(regexp.QuoteMeta(m[1]), "…", ".+") + ")$"
			row := &documented{shape: m[1], pattern: regexp.MustCompile(pattern)}
			if sentinel != nil {
				row.sentinel = sentinel[1]
			}
			rows = append(rows, row)
		}
	}
	require.Greater(t, len(rows), 20)
	return rows
}

var sentinels = map[string]error{
	"ErrNotFound": engine.ErrNotFound, "ErrClosed": engine.ErrClosed, "ErrReadOnly": engine.ErrReadOnly,
	"ErrInvalidArgument": engine.ErrInvalidArgument, "ErrExists": engine.ErrExists, "ErrNotDatabase": engine.ErrNotDatabase,
	"ErrUnsupported": engine.ErrUnsupported, "ErrNoSpace": engine.ErrNoSpace, "ErrLocked": engine.ErrLocked,
	"ErrStalled":    engine.ErrStalled,
	"ErrCorruption": engine.ErrCorruption, "fs.ErrPermission": fs.ErrPermission, "context.DeadlineExceeded": context.DeadlineExceeded,
}

// TestErrorsAreDocumented meets errors as a user would, and wants for each a row of docs/errors.md
// with its message and its sentinel, and no row that was not met.
func TestErrorsAreDocumented(t *testing.T) {
	rows := documentedErrors(t)
	check := func(name string, err error) {
		t.Helper()
		require.Error(t, err, name)
		var row *documented // of those that fit the one with the longest beginning, then the longest
		for _, r := range rows {
			if r.pattern.MatchString(err.Error()) && (row == nil || cmp.Or(r.begins()-row.begins(), len(r.shape)-len(row.shape)) > 0) {
				row = r
			}
		}
		require.NotNil(t, row, "%s: docs/errors.md has no row for: %v", name, err)
		row.met = true
		for sentinel, value := range sentinels {
			require.Equal(t, sentinel == row.sentinel, errors.Is(err, value), "%s: %v: row %q, errors.Is %s", name, err, row.shape, sentinel)
		}
	}
	badArguments(t, check)
	badTables(t, check)
	badDirectories(t, check)
	foreignDatabases(t, check)
	damagedDatabases(t, check)
	failingDevices(t, check)
	for _, r := range rows {
		if !r.met {
			t.Errorf("docs/errors.md: no scene of this test leads to: %s", r.shape)
		}
	}
}

// TestSentinelsAreDocumented reads the names from the source, so that none is forgotten above.
func TestSentinelsAreDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "docs", "errors.md"))
	require.NoError(t, err)
	found := 0
	for _, f := range repository(t) {
		if f.pkg != "engine" || f.test {
			continue
		}
		for _, decl := range f.ast.Decls {
			group, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range group.Specs {
				v, ok := spec.(*ast.ValueSpec)
				if !ok || !strings.HasPrefix(v.Names[0].Name, "Err") {
					continue
				}
				found++
				require.Contains(t, sentinels, v.Names[0].Name)
				require.Contains(t, string(text), "`"+v.Names[0].Name+"`")
			}
		}
	}
	require.Equal(t, 11, found)
}

type checkFunc func(name string, err error)

func second[T any](_ T, err error) error { return err }

func open(t *testing.T, dir string, opts *engine.Options) *engine.DB {
	db, err := engine.Open(dir, opts)
	require.NoError(t, err)
	return db
}

// filled makes a database with a table and closes it.
func filled(t *testing.T) (dir string) {
	dir = filepath.Join(t.TempDir(), "data")
	db := open(t, dir, nil)
	for i := range 100 {
		require.NoError(t, db.Put(fmt.Appendf(nil, "key%03d", i), bytes.Repeat([]byte("v"), 100), nil))
	}
	require.NoError(t, db.Flush())
	require.NoError(t, db.Close())
	return dir
}

// withLargeValue makes a database with a blob file and closes it.
func withLargeValue(t *testing.T) (dir string) {
	dir = filepath.Join(t.TempDir(), "data")
	db := open(t, dir, &engine.Options{ValueThreshold: 500, Compression: engine.NoCompression})
	for i := range 3 {
		require.NoError(t, db.Put(fmt.Appendf(nil, "key%03d", i), bytes.Repeat([]byte("v"), 500), nil))
	}
	require.NoError(t, db.Flush())
	require.NoError(t, db.Close())
	return dir
}

// only returns the one file in dir that the pattern names.
func only(t *testing.T, dir, pattern string) string {
	names, err := filepath.Glob(filepath.Join(dir, pattern))
	require.NoError(t, err)
	require.Len(t, names, 1)
	return names[0]
}

// change rewrites a file.
func change(t *testing.T, name string, edit func(b []byte) []byte) {
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(name, edit(b), 0o644))
}

func badArguments(t *testing.T, check checkFunc) {
	dir := t.TempDir()
	db := open(t, dir, &engine.Options{MemoryBudget: engine.MinMemoryBudget})
	other := open(t, t.TempDir(), nil)
	long, huge := bytes.Repeat([]byte("k"), engine.DefaultMaxKeyBytes+1), make([]byte, engine.DefaultMaxValueBytes+1)
	k, v := []byte("k"), []byte("v")
	check("empty key", db.Put(nil, v, nil))
	check("get of an empty key", second(db.Get(nil)))
	check("get of several", second(db.MultiGet([][]byte{k, nil})))
	check("explain", second(db.Explain(nil)))
	check("long key", db.Put(long, v, nil))
	check("long value", db.Put(k, huge, nil))
	check("ttl", db.Put(k, v, &engine.WriteOptions{TTL: -1}))
	check("range", db.DeleteRange([]byte("b"), []byte("a"), nil))
	check("compact", db.Compact([]byte("b"), []byte("a")))
	check("sync", db.Put(k, v, &engine.WriteOptions{Sync: 99}))
	b := db.NewBatch()
	b.Put(k, v)
	b.Put(nil, v)
	check("batch", db.Apply(b, nil))
	b.Reset()
	for range 3 {
		b.Put(k, huge[1:])
	}
	check("large batch", db.Apply(b, nil))
	check("foreign batch", db.Apply(other.NewBatch(), nil))
	check("batch with ttl", db.Apply(db.NewBatch(), &engine.WriteOptions{TTL: time.Second}))
	snap := other.NewSnapshot()
	it := db.NewIterator(&engine.IterOptions{Snapshot: snap})
	check("foreign snapshot", it.Err())
	check("option", second(engine.Open(t.TempDir(), &engine.Options{MemoryBudget: 1})))
	check("absent", second(db.Get(k)))
	check("checkpoint onto itself", db.Checkpoint(dir))
	require.NoError(t, os.MkdirAll(dir+"-copy.partial", 0o755))
	require.NoError(t, os.WriteFile(dir+"-copy.partial/letter.txt", nil, 0o644))
	check("checkpoint over files", db.Checkpoint(dir+"-copy"))
	ctx, cancel := context.WithDeadline(context.Background(), time.Unix(1, 0))
	defer cancel()
	check("deadline", db.WaitIdle(ctx))
	require.NoError(t, errors.Join(snap.Close(), other.Close(), db.Close()))
	check("closed", db.Put(k, v, nil))
	check("read of a closed one", second(db.Get(k)))
}

// tableFile makes a table for any database with one key.
func tableFile(t *testing.T) (path string) {
	path = filepath.Join(t.TempDir(), "t.sst")
	w, err := engine.NewTableWriter(path, nil)
	require.NoError(t, err)
	require.NoError(t, w.Put([]byte("x"), []byte("v")))
	require.NoError(t, w.Close())
	return path
}

func badTables(t *testing.T, check checkFunc) {
	for name, do := range map[string]func(w *engine.TableWriter) error{
		"empty key": func(w *engine.TableWriter) error { return w.Put(nil, nil) },
		"same key":  func(w *engine.TableWriter) error { return errors.Join(w.Put([]byte("k"), nil), w.Delete([]byte("k"))) },
		"lower range": func(w *engine.TableWriter) error {
			return errors.Join(w.DeleteRange([]byte("b"), []byte("c")), w.DeleteRange([]byte("a"), []byte("c")))
		},
		"nothing":  func(w *engine.TableWriter) error { return w.Close() },
		"finished": func(w *engine.TableWriter) error { w.Abort(); return w.Put([]byte("k"), nil) },
	} {
		w, err := engine.NewTableWriter(filepath.Join(t.TempDir(), "t.sst"), nil)
		require.NoError(t, err)
		check(name, do(w))
		w.Abort()
	}

	dir := filled(t)
	db := open(t, dir, nil)
	check("no name", db.Ingest(""))
	check("no file", db.Ingest(t.TempDir()))
	check("own file", db.Ingest(dir+"/CURRENT"))
	check("blob references", db.Ingest(only(t, withLargeValue(t), "*.sst")))
	table := tableFile(t)
	change(t, table, func(b []byte) []byte { b[5]++; return b })
	check("damaged table", db.Ingest(table))
	change(t, table, func(b []byte) []byte { binary.LittleEndian.PutUint32(b[len(b)-12:], 7); return b })
	check("foreign table", db.Ingest(table))
	require.NoError(t, db.Close())

	fault := vfs.NewFault(vfs.OS(nil))
	db = open(t, dir, &engine.Options{FS: fault})
	fault.Add(vfs.Rule{Ops: vfs.OpSync, Path: "*.sst", Err: errors.New("input/output error")})
	check("device", db.Ingest(tableFile(t)))
	before, err := os.ReadFile(only(t, dir, "MANIFEST-*"))
	require.NoError(t, err)
	require.NoError(t, db.Ingest(tableFile(t)))
	require.NoError(t, db.Put([]byte("k"), nil, nil))
	copied := filepath.Join(t.TempDir(), "data") // as a killed process leaves it
	require.NoError(t, os.CopyFS(copied, os.DirFS(dir)))
	require.NoError(t, db.Close())
	change(t, only(t, copied, "MANIFEST-*"), func([]byte) []byte { return before })
	check("lost edit", second(engine.Open(copied, nil)))
}

func badDirectories(t *testing.T, check checkFunc) {
	dir := filled(t)
	db := open(t, dir, nil)
	check("second opener", second(engine.Open(dir, nil)))
	require.NoError(t, db.Close())
	check("exists", second(engine.Open(dir, &engine.Options{ErrorIfExists: true})))
	ro, err := engine.OpenReadOnly(dir, nil)
	require.NoError(t, err)
	check("read-only", ro.Put([]byte("k"), nil, nil))
	require.NoError(t, ro.Close())
	check("missing", second(engine.OpenReadOnly(dir+"x", nil)))
	check("empty", second(engine.OpenReadOnly(t.TempDir(), nil)))
	letters := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(letters, "letter.txt"), nil, 0o644))
	check("somebody's files", second(engine.Open(letters, nil)))
	denied := vfs.NewFault(vfs.NewMem())
	denied.Add(vfs.Rule{Ops: vfs.OpLock, Err: os.ErrPermission})
	hidden := vfs.NewFault(vfs.NewMem())
	hidden.Add(vfs.Rule{Ops: vfs.OpList, Forever: true, Err: os.ErrPermission})
	check("unreadable", second(engine.OpenReadOnly("data", &engine.Options{FS: hidden})))
	check("permission", second(engine.Open("data", &engine.Options{FS: denied})))
}

func foreignDatabases(t *testing.T, check checkFunc) {
	for _, line := range []string{
		"merge_operator={id=UInt64AddOperator;}", "comparator=rocksdb.ReverseBytewiseComparator", "prefix_extractor=rocksdb.FixedPrefix.3",
		"compaction_style=kCompactionStyleFIFO", "num_levels=3", "cf_paths={{path=/x;target_size=1}}", "wal_dir=/other/logs", "db_paths={{path=/x;target_size=1}}",
		`[CFOptions "users"]`,
	} {
		dir := filled(t)
		section := `[CFOptions "default"]`
		if strings.HasPrefix(line, "wal_dir") || strings.HasPrefix(line, "db_paths") {
			section = "[DBOptions]"
		}
		require.NoError(t, os.WriteFile(filepath.Join(dir, "OPTIONS-000099"), []byte(section+"\n  "+line+"\n"), 0o644))
		check(line, second(engine.Open(dir, nil)))
	}

	dir := filled(t)
	change(t, only(t, dir, "MANIFEST-*"), func(b []byte) []byte {
		edit := append([]byte{200, 1, 1}, 201, 1, 5) // column family 1, added as
		edit = append(edit, "users"...)
		return record.AppendRecord(b, len(b)%record.BlockSize, 0, false, edit)
	})
	check("column family", second(engine.Open(dir, nil)))

	dir = filled(t)
	change(t, only(t, dir, "*.log"), func(b []byte) []byte {
		rep := batch.AppendOp(make([]byte, batch.HeaderLen), ikey.KindMerge, []byte("k"), []byte("v"))
		batch.SetHeader(rep, 101, 1)
		return record.AppendRecord(b, len(b), logNumber(t, dir), true, zstd.AppendStored(nil, rep))
	})
	check("merge in the log", second(engine.Open(dir, nil)))

	dir = filled(t)
	change(t, only(t, dir, "*.sst"), func(b []byte) []byte {
		binary.LittleEndian.PutUint32(b[len(b)-12:], 7) // of the footer
		return b
	})
	check("format version", second(engine.Open(dir, nil)))
}

// logNumber returns the number in the name of the only log in dir.
func logNumber(t *testing.T, dir string) (num uint32) {
	_, err := fmt.Sscanf(filepath.Base(only(t, dir, "*.log")), "%d.log", &num)
	require.NoError(t, err)
	return num
}

func damagedDatabases(t *testing.T, check checkFunc) {
	for name, damage := range map[string]func(dir string){
		"cut table":     func(dir string) { change(t, only(t, dir, "*.sst"), func(b []byte) []byte { return b[:len(b)/2] }) },
		"missing table": func(dir string) { require.NoError(t, os.Remove(only(t, dir, "*.sst"))) },
		"missing log":   func(dir string) { require.NoError(t, os.Remove(only(t, dir, "*.log"))) },
		"bad footer":    func(dir string) { change(t, only(t, dir, "*.sst"), func(b []byte) []byte { b[len(b)-1]++; return b }) },
		"bad CURRENT":   func(dir string) { change(t, dir+"/CURRENT", func([]byte) []byte { return []byte("x") }) },
		"bad manifest":  func(dir string) { change(t, only(t, dir, "MANIFEST-*"), func(b []byte) []byte { b[10]++; return b }) },
	} {
		dir := filled(t)
		damage(dir)
		check(name, second(engine.Open(dir, nil)))
	}

	dir := filled(t)
	change(t, only(t, dir, "*.sst"), func(b []byte) []byte { b[5]++; return b })
	db := open(t, dir, nil)
	check("bad block", second(db.Get([]byte("key000"))))
	require.NoError(t, db.Close())
	check("check", engine.Check(dir))

	for name, at := range map[string]int{"bad value": 100, "bad blob footer": -1} {
		dir := withLargeValue(t)
		change(t, only(t, dir, "*.blob"), func(b []byte) []byte { b[(at+len(b))%len(b)]++; return b })
		db, err := engine.Open(dir, nil)
		if err == nil {
			err = second(db.Get([]byte("key000")))
			require.NoError(t, db.Close())
		}
		check(name, err)
	}
	dir = withLargeValue(t)
	ro, err := engine.OpenReadOnly(dir, nil)
	require.NoError(t, err)
	require.NoError(t, open(t, dir, nil).Close()) // a writer, which may give the value's space back
	change(t, only(t, dir, "*.blob"), func(b []byte) []byte { clear(b[80:200]); return b })
	check("value given back", second(ro.Get([]byte("key000"))))
	require.NoError(t, ro.Close())
	dir = withLargeValue(t)
	set, err := manifest.Recover(vfs.OS(nil), dir, manifest.Options{})
	require.NoError(t, err)
	var garbage manifest.BlobGarbage
	_, err = fmt.Sscanf(filepath.Base(only(t, dir, "*.blob")), "%d.blob", &garbage.Num)
	require.NoError(t, err)
	garbage.Count, garbage.Bytes = 1, 500
	require.NoError(t, errors.Join(set.Apply(&manifest.Edit{BlobGarbage: []manifest.BlobGarbage{garbage}}), set.Close()))
	check("wrong count of values", engine.Check(dir))

	// A log whose first page is damaged, and whose next fillers say that it had been synced.
	dir = filepath.Join(t.TempDir(), "data")
	db = open(t, dir, nil)
	for range 5 {
		require.NoError(t, db.Put([]byte("k"), []byte("v"), nil))
	}
	copied := filepath.Join(t.TempDir(), "data") // as a killed process leaves it
	require.NoError(t, os.CopyFS(copied, os.DirFS(dir)))
	require.NoError(t, db.Close())
	change(t, only(t, copied, "*.log"), func(b []byte) []byte { b[4096+20]++; return b })
	check("bad log", second(engine.Open(copied, nil)))
}

func failingDevices(t *testing.T, check checkFunc) {
	hangs := vfs.NewFault(vfs.NewMem())
	back := make(chan struct{})
	hangs.SetSleep(func(time.Duration) { <-back })
	hangs.Add(vfs.Rule{Ops: vfs.OpWrite, Path: "*.sst", Delay: 1, Forever: true})
	stalled := open(t, "data", &engine.Options{FS: hangs, MemoryBudget: engine.MinMemoryBudget, MemtableSize: 64 << 10, MaxStall: time.Millisecond})
	var err error
	for err == nil {
		err = stalled.Put([]byte("k"), make([]byte, 10_000), nil)
	}
	check("hanging device", err)
	close(back)
	require.NoError(t, stalled.Close())

	mem := vfs.NewMem()
	fault := vfs.NewFault(mem)
	db := open(t, "data", &engine.Options{FS: fault, MemoryBudget: engine.MinMemoryBudget})
	fail := fault.Add(vfs.Rule{Ops: vfs.OpSync | vfs.OpCreate | vfs.OpWrite, Forever: true, Err: errors.New("input/output error")})
	check("sync", db.Put([]byte("k"), []byte("v"), nil))
	fail.Remove()
	put := func() bool { return db.Put([]byte("k"), []byte("v"), nil) == nil }
	require.Eventually(t, put, time.Minute, 5*time.Millisecond)
	fail = fault.Add(vfs.Rule{Ops: vfs.OpCreate, Path: "*.sst", Forever: true, Err: errors.New("input/output error")})
	check("flush", db.Flush())
	check("wait idle", db.WaitIdle(t.Context()))
	check("compact", db.Compact(nil, nil))
	fail.Remove()
	require.Eventually(t, func() bool { return db.Flush() == nil }, time.Minute, 5*time.Millisecond)
	mem.SetCapacity(1)
	check("full", db.Put([]byte("k"), bytes.Repeat([]byte("v"), 3<<20), nil))
	mem.SetCapacity(1 << 30)
	require.Eventually(t, put, time.Minute, 5*time.Millisecond)
	require.NoError(t, db.Close())
}
