package manifest

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/record"
	"github.com/cambiumdb/cambium/internal/vfs"
)

func newDir(t *testing.T) *vfs.Mem {
	mem := vfs.NewMem()
	require.NoError(t, mem.MkdirAll("db"))
	require.NoError(t, mem.SyncDir(""))
	return mem
}

func create(t *testing.T, fs vfs.FS, opts Options) *Set {
	s, err := Create(fs, "db", opts)
	require.NoError(t, err)
	return s
}

func reopen(t *testing.T, fs vfs.FS) *Set {
	s, err := Recover(fs, "db", Options{})
	require.NoError(t, err)
	return s
}

// tree draws the current version.
func tree(s *Set) string {
	v := s.Current()
	defer v.Unref()
	return draw(v)
}

func TestCreateAndRecover(t *testing.T) {
	mem := newDir(t)
	var written int64
	s := create(t, mem, Options{DBID: "an-id", OnWrite: func(n int64) { written += n }})
	require.Equal(t, []string{"CURRENT", "IDENTITY", "MANIFEST-000001"}, listing(t, mem))
	require.Equal(t, "an-id", s.DBID())
	require.Equal(t, "empty\n", tree(s))
	require.EqualValues(t, 1, s.ManifestNum())
	var onDisk int64
	for _, name := range listing(t, mem) {
		info, err := mem.Stat("db/" + name)
		require.NoError(t, err)
		onDisk += info.Size()
	}
	require.Equal(t, onDisk, written)

	_, err := Create(mem, "db", Options{})
	require.ErrorIs(t, err, fs.ErrExist)

	num := s.NewFileNum()
	require.NoError(t, s.Apply(edit(t, fmt.Sprintf("add L0 %d:a#7..c#9", num), "log 3")))
	s.SetLastSeq(20)
	s.SetLastSeq(10)
	require.NoError(t, s.Apply(&Edit{MinLogToKeep: ptr[uint64](3)}))
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	require.ErrorIs(t, s.Apply(&Edit{}), ErrClosed)

	s = reopen(t, mem)
	require.Equal(t, "L0  3:a#7..c#9\n", tree(s))
	require.EqualValues(t, 20, s.LastSeq())
	require.EqualValues(t, 3, s.LogNum())
	require.EqualValues(t, 3, s.MinLogToKeep())
	require.Equal(t, "an-id", s.DBID())
	require.Greater(t, s.NewFileNum(), num)
}

func TestCreateRefusesLostDatabase(t *testing.T) {
	for _, base := range []string{"000004.sst", "000004.blob", "000004.log"} {
		mem := newDir(t)
		f, err := mem.Create("db/"+base, vfs.Buffered)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		_, err = Create(mem, "db", Options{})
		require.ErrorContains(t, err, base)
		require.Equal(t, []string{base}, listing(t, mem))
	}
	_, err := Create(vfs.NewMem(), "nowhere", Options{})
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = Recover(newDir(t), "db", Options{})
	require.ErrorIs(t, err, fs.ErrNotExist)
}

// What an edit says must not go back, and nothing is written where it does not fit.
func TestApplyRefuses(t *testing.T) {
	mem := newDir(t)
	s := create(t, mem, Options{})
	require.NoError(t, s.Apply(edit(t, "add L1 5:a#7..c#9", "log 9")))
	name := filename.Path("db", filename.Manifest, s.ManifestNum())
	before, err := mem.Stat(name)
	require.NoError(t, err)
	reverse := "rocksdb.ReverseBytewiseComparator"
	for want, e := range map[string]*Edit{
		"not in the tree":         edit(t, "del L1 6"),
		"does not end before":     edit(t, "add L1 6:b#1..d#2"),
		"from 9 to 8":             edit(t, "log 8"),
		"not a table":             {Added: []AddedTable{{Level: 1}}},
		"level -1":                {Added: []AddedTable{{Level: -1, Table: &Table{Num: 7}}}},
		"sequence number":         edit(t, "add L0 6:a#1..b#2 seq=1-72057594037927936"),
		"comparator":              {Comparator: &reverse},
		"column families":         {ColumnFamily: 2},
		"tracked logs":            {WalDeletion: 2},
		"atomic groups":           {InAtomicGroup: true},
		"database id":             {DBID: "other"},
		"blob file 4611686018427": {BlobsAdded: []Blob{{Num: 1 << 62, Count: 1}}},
		"garbage takes its own":   {BlobsAdded: []Blob{{Num: 8, Count: 1, GarbageCount: 1}}},
	} {
		require.ErrorContains(t, s.Apply(e), want)
	}
	after, err := mem.Stat(name)
	require.NoError(t, err)
	require.Equal(t, before.Size(), after.Size())
	require.Equal(t, "L1  5:a#7..c#9\n", tree(s))
	require.NoError(t, s.Apply(edit(t, "add L1 6:d#7..e#9")))
}

// The sequence number and the next file number of every record are those of the edit or above.
func TestEditsCarryNumbers(t *testing.T) {
	mem := newDir(t)
	s := create(t, mem, Options{})
	require.NoError(t, s.Apply(edit(t, "add L0 50:a#7..c#9")))
	require.NoError(t, s.Apply(edit(t, "seq 4", "blob 60 count=1", "add L0 61:a#10..c#12 blob=60")))
	require.NoError(t, s.Apply(&Edit{NextFileNum: ptr[uint64](70), LogNum: ptr[uint64](80)}))
	var got []string
	require.NoError(t, Read(mem, "db/MANIFEST-000001", func(e *Edit, _ int64) error {
		got = append(got, fmt.Sprintf("seq %d next %d", *e.LastSeq, *e.NextFileNum))
		return nil
	}))
	require.Equal(t, []string{"seq 0 next 3", "seq 9 next 51", "seq 12 next 62", "seq 12 next 81"}, got)
	require.EqualValues(t, 81, s.NewFileNum())
	s.MarkFileNumUsed(90)
	s.MarkFileNumUsed(85)
	require.EqualValues(t, 91, s.NewFileNum())
}

func TestRollWhenLong(t *testing.T) {
	mem := newDir(t)
	s := create(t, mem, Options{MaxBytes: 2000})
	manifests := map[uint64]bool{}
	for i := range 200 {
		num := s.NewFileNum()
		require.NoError(t, s.Apply(edit(t, fmt.Sprintf("add L1 %d:k%04d#1..k%04d#1", num, i, i))))
		manifests[s.ManifestNum()] = true
		old, err := s.ObsoleteManifests()
		require.NoError(t, err)
		for _, num := range old {
			require.NoError(t, mem.Remove(filename.Path("db", filename.Manifest, num)))
		}
	}
	// The state alone outgrows the limit, so only doubling it makes a new one.
	require.Greater(t, len(manifests), 3)
	require.Less(t, len(manifests), 15)
	want := tree(s)
	require.Equal(t, want, tree(reopen(t, mem)))
	require.Equal(t, 200, strings.Count(want, ".."))
}

// Fields of a foreign table that we do not understand outlive a roll of the manifest, as do the
// highest column family id and the mark that logs are tracked no longer.
func TestRollKeepsForeignFields(t *testing.T) {
	mem := newDir(t)
	table := fields(103, 3, 9, 1234, key("a", 7), key("b", 3), 3, 7, 7, "sum", 8, "Func", 12, "0123456789abcdef", 13, "\x05", 9, "\x02", 1)
	writeManifest(t, mem, fields(2, 4, 3, 10, 4, 8, 203, 6, 10, 4), table, fields(8199, string(fields(4, 2, 77, 1))), fields(8200, string(fields(3))))
	s := reopen(t, mem)
	require.NoError(t, s.Apply(&Edit{}))
	var all []*Edit
	name := filename.Path("db", filename.Manifest, s.ManifestNum())
	require.NoError(t, Read(mem, name, func(e *Edit, _ int64) error { all = append(all, e); return nil }))
	require.Len(t, all, 3)
	require.Equal(t, &Edit{WalDeletion: 5}, all[0])
	require.EqualValues(t, 6, *all[1].MaxColumnFamily)
	require.EqualValues(t, 4, *all[1].MinLogToKeep)
	require.Len(t, all[1].Added, 1)
	require.Equal(t, []Field{{7, []byte("sum")}, {8, []byte("Func")}, {9, []byte{2}}, {12, []byte("0123456789abcdef")}, {13, []byte{5}}}, all[1].Added[0].Table.Extra)
	require.NoError(t, s.Close())

	s = reopen(t, mem)
	require.NoError(t, s.Apply(&Edit{}))
	all = nil
	require.NoError(t, Read(mem, filename.Path("db", filename.Manifest, s.ManifestNum()), func(e *Edit, _ int64) error { all = append(all, e); return nil }))
	require.Len(t, all, 2, "logs are closed once")
}

// writeManifest makes MANIFEST-000005 of the records and lets CURRENT name it.
func writeManifest(t *testing.T, fs vfs.FS, records ...[]byte) {
	w, err := newWriter(fs, "db/MANIFEST-000005", nil)
	require.NoError(t, err)
	for _, rec := range records {
		require.NoError(t, w.records.Write(rec))
	}
	require.NoError(t, w.sync())
	require.NoError(t, w.close())
	require.NoError(t, filename.SetCurrent(fs, "db", 5))
}

func TestRecoverForeign(t *testing.T) {
	ok := fields(2, 4, 3, 10, 4, 8)
	table := func(level, num int, lo, hi string, more ...any) []byte {
		return fields(append([]any{103, level, num, 100, key(lo, 7), key(hi, 3), 3, 7, 1}, more...)...)
	}
	for _, c := range []struct {
		name    string
		records [][]byte
		want    string // the tree, or what the error says
		foreign bool
		bad     bool
	}{
		{"nothing at all", nil, "no log_number, next_file, last_seq in the manifest", false, true},
		{"no last_seq", [][]byte{fields(2, 4, 3, 10)}, "no last_seq in the manifest", false, true},
		{"numbers in several edits", [][]byte{fields(2, 4), fields(3, 10), fields(4, 8)}, "empty\n", false, false},
		{"comparator", [][]byte{ok, fields(1, Comparator)}, "empty\n", false, false},
		{"other comparator", [][]byte{fields(1, "rocksdb.ReverseBytewiseComparator"), ok}, `comparator "rocksdb.ReverseBytewiseComparator"`, true, false},
		{"column families", [][]byte{ok, fields(200, 2, 201, "meta"), fields(200, 1, 201, "a b")}, `column families "a b", "meta" beside the default one`, true, false},
		{"column family dropped", [][]byte{ok, fields(200, 1, 201, "meta", 1, "other"), table(0, 9, "a", "b", 200, 1), fields(200, 1, 202)}, "empty\n", false, false},
		{"column family added twice", [][]byte{ok, fields(200, 1, 201, "a"), fields(200, 1, 201, "b")}, "column family 1 is added twice", false, true},
		{"unknown column family", [][]byte{ok, fields(200, 1)}, "column family 1, which does not exist", false, true},
		{"default column family dropped", [][]byte{ok, fields(202)}, "default column family is dropped", false, true},
		{"a group", [][]byte{ok, table(1, 7, "a", "b", 300, 1), table(1, 8, "c", "d", 300, 0)}, "L1  7:a#7..b#3  8:c#7..d#3\n", false, false},
		{"a group of one", [][]byte{ok, table(1, 7, "a", "b", 300, 0)}, "L1  7:a#7..b#3\n", false, false},
		{"a group without its end", [][]byte{ok, table(1, 6, "a", "b"), table(1, 7, "c", "d", 300, 1)}, "L1  6:a#7..b#3\n", false, false},
		{"a group with a stranger", [][]byte{ok, table(1, 7, "a", "b", 300, 1), table(1, 8, "c", "d")}, "interrupted with 1 to come", false, true},
		{"a group that jumps", [][]byte{ok, table(1, 7, "a", "b", 300, 2), table(1, 8, "c", "d", 300, 0)}, "interrupted with 2 to come", false, true},
		{"level 7, for a while", [][]byte{ok, table(7, 9, "a", "b"), fields(6, 7, 9)}, "empty\n", false, false},
		{"level 7", [][]byte{ok, table(7, 9, "a", "b")}, "level 7 of table 000009", true, false},
		{"overlap", [][]byte{ok, table(1, 8, "a", "c"), table(1, 9, "b", "d")}, "does not end before", false, true},
		{"overlap, for a while", [][]byte{ok, table(1, 8, "a", "c"), table(1, 9, "b", "d"), fields(6, 1, 8)}, "L1  9:b#7..d#3\n", false, false},
		{"deleted twice", [][]byte{ok, table(1, 8, "a", "c"), fields(6, 1, 8, 6, 1, 8)}, "not in the tree", false, true},
		{"moved", [][]byte{ok, table(1, 8, "a", "c"), table(2, 8, "a", "c", 6, 1, 8)}, "L2  8:a#7..c#3\n", false, false},
		{"no edit", [][]byte{ok, []byte("junk")}, "unknown tag", false, true},
		{"last_seq too high", [][]byte{fields(2, 4, 3, 10, 4, 1<<56)}, "last sequence number", false, true},
		{"file number too high", [][]byte{fields(2, 4, 3, 1<<62, 4, 1)}, "file number", false, true},
		{"table number too high", [][]byte{ok, table(1, 1<<62, "a", "c")}, "not a table, a level or a number", false, true},
		{"last_seq and log number that go back", [][]byte{ok, fields(2, 3, 3, 9, 4, 7)}, "empty\n", false, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem := newDir(t)
			writeManifest(t, mem, c.records...)
			s, err := Recover(mem, "db", Options{})
			_, bad := corrupt.As(err)
			var foreign *UnsupportedError
			require.Equal(t, c.bad, bad, "%v", err)
			require.Equal(t, c.foreign, errors.As(err, &foreign), "%v", err)
			if c.bad || c.foreign {
				require.ErrorContains(t, err, c.want)
				require.ErrorContains(t, err, "MANIFEST-000005")
				return
			}
			require.NoError(t, err)
			require.Equal(t, c.want, tree(s))
			require.EqualValues(t, 4, s.LogNum())
			require.EqualValues(t, 8, s.LastSeq())
			require.NoError(t, s.Apply(&Edit{}))
			require.Equal(t, c.want, tree(reopen(t, mem)))
		})
	}
}

// Cut anywhere, the manifest gives a state that once was; damaged before its last record, it
// gives corruption and nothing else.
func TestTornAndDamaged(t *testing.T) {
	mem := newDir(t)
	s := create(t, mem, Options{})
	states := map[string]bool{}
	for i := range 5 {
		require.NoError(t, s.Apply(edit(t, fmt.Sprintf("add L1 %d:k%d#1..k%d#1", s.NewFileNum(), i, i))))
		states[tree(s)] = true
	}
	require.NoError(t, s.Close())
	states["empty\n"] = true
	var starts []int64
	name := "db/MANIFEST-000001"
	require.NoError(t, Read(mem, name, func(_ *Edit, offset int64) error { starts = append(starts, offset); return nil }))
	f, err := mem.OpenReadWrite(name, vfs.Buffered)
	require.NoError(t, err)
	size, err := f.Size()
	require.NoError(t, err)
	content := make([]byte, size)
	_, err = f.ReadAt(content, 0)
	require.NoError(t, err)

	for at := range content {
		damaged := append([]byte(nil), content...)
		damaged[at] ^= 0x40
		_, err := f.WriteAt(damaged, 0)
		require.NoError(t, err)
		got, err := Recover(mem, "db", Options{})
		if int64(at) < starts[len(starts)-1] {
			_, bad := corrupt.As(err)
			require.True(t, bad, "byte %d: %v", at, err)
		} else {
			require.NoError(t, err, "byte %d of the last record: as torn", at)
			require.True(t, states[tree(got)])
		}
	}
	_, err = f.WriteAt(content, 0)
	require.NoError(t, err)
	for n := size - 1; n >= starts[1]; n-- {
		require.NoError(t, f.Truncate(n))
		got, err := Recover(mem, "db", Options{})
		require.NoError(t, err, "%d bytes", n)
		require.True(t, states[tree(got)])
		if n == size-1 {
			err := Read(mem, name, func(*Edit, int64) error { return nil })
			var torn *record.TornError
			require.ErrorAs(t, err, &torn)
			require.Equal(t, starts[len(starts)-1], torn.Offset)
			require.NoError(t, got.Apply(&Edit{}), "the torn file is left behind")
			require.NotEqual(t, s.ManifestNum(), got.ManifestNum())
			require.NoError(t, filename.SetCurrent(mem, "db", 1))
		}
	}
}

// IDENTITY is made again where it is lost, and follows the manifest where they differ.
func TestIdentity(t *testing.T) {
	mem := newDir(t)
	s := create(t, mem, Options{})
	id := s.DBID()
	require.Regexp(t, `^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, id)
	require.NoError(t, mem.Remove("db/IDENTITY"))
	s = reopen(t, mem)
	require.Equal(t, id, s.DBID())
	require.NotContains(t, listing(t, mem), "IDENTITY")
	require.NoError(t, s.Apply(&Edit{}))
	require.Contains(t, listing(t, mem), "IDENTITY")

	require.NoError(t, filename.Publish(mem, "db", "IDENTITY", 99, []byte("another\n")))
	s = reopen(t, mem)
	require.Equal(t, id, s.DBID())
	require.NoError(t, s.Apply(&Edit{}))

	mem = newDir(t)
	writeManifest(t, mem, fields(2, 4, 3, 10, 4, 8))
	s = reopen(t, mem)
	require.Empty(t, s.DBID())
	require.NoError(t, filename.Publish(mem, "db", "IDENTITY", 99, []byte("theirs\n")))
	s = reopen(t, mem)
	require.Equal(t, "theirs", s.DBID())
	require.NoError(t, s.Apply(&Edit{}))
	require.Equal(t, "theirs", reopen(t, mem).DBID())
}

// Writers, readers and number givers at once. Run with -race.
func TestConcurrent(t *testing.T) {
	mem := newDir(t)
	var mu sync.Mutex
	reported := map[uint64]int{}
	s := create(t, mem, Options{MaxBytes: 4000, OnObsolete: func(tables, _ []uint64) {
		mu.Lock()
		defer mu.Unlock()
		for _, num := range tables {
			reported[num]++
		}
	}})
	const writers, rounds = 4, 50
	var writing, reading sync.WaitGroup
	done := make(chan struct{})
	for w := range writers {
		writing.Go(func() {
			last := uint64(0)
			for range rounds {
				num := s.NewFileNum()
				changes := []string{fmt.Sprintf("add L%d %d:a#1..b#1", w+1, num)}
				if last != 0 {
					changes = append(changes, fmt.Sprintf("del L%d %d", w+1, last))
				}
				if err := s.Apply(edit(t, changes...)); err != nil {
					t.Error(err)
				}
				last = num
			}
		})
	}
	for range 4 {
		reading.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				v := s.Current()
				for level := 1; level <= writers; level++ {
					if n := len(v.Find(level, []byte("a"))); n > 1 {
						t.Errorf("level %d holds %d tables", level, n)
					}
				}
				live := map[uint64]bool{}
				s.Live(func(tables, _ []uint64) {
					for _, num := range tables {
						live[num] = true
					}
				})
				for _, tables := range v.Levels {
					for _, table := range tables {
						if !live[table.Num] {
							t.Errorf("table %d of a held version is not live", table.Num)
						}
					}
				}
				s.SetLastSeq(s.LastSeq() + 1)
				v.Unref()
			}
		})
	}
	writing.Wait()
	close(done)
	reading.Wait()
	require.Equal(t, writers, strings.Count(tree(s), ".."))
	require.Len(t, reported, writers*(rounds-1))
	for num, times := range reported {
		require.Equal(t, 1, times, "table %d", num)
	}
	require.Equal(t, tree(s), tree(reopen(t, mem)))
}

// RocksDB 7.8 keeps a blob file until all of it is garbage. One that leaves our tree because no
// table names it any more is declared so in the same edit.
func TestBlobsThatLeaveAreClosed(t *testing.T) {
	mem := newDir(t)
	s := create(t, mem, Options{})
	require.NoError(t, s.Apply(edit(t, "blob 8 count=5", "add L0 9:c#10..z#19 blob=8", "garbage 8 count=2")))
	e := edit(t, "del L0 9")
	require.NoError(t, s.Apply(e))
	require.Empty(t, e.BlobGarbage, "the caller's edit is not changed")
	var last *Edit
	require.NoError(t, Read(mem, "db/MANIFEST-000001", func(e *Edit, _ int64) error { last = e; return nil }))
	require.Equal(t, []BlobGarbage{{Num: 8, Count: 3, Bytes: 30}}, last.BlobGarbage)
	require.Equal(t, "empty\n", tree(s))
	require.Equal(t, "empty\n", tree(reopen(t, mem)))
}

// Files that a crash left behind keep their numbers to themselves.
func TestNumbersOfLeftovers(t *testing.T) {
	mem := newDir(t)
	require.NoError(t, create(t, mem, Options{}).Close())
	for _, base := range []string{"000500.sst", "000600.log", "LOG.old.70000000", "MANIFEST-18446744073709551615", "9999.txt"} {
		f, err := mem.Create("db/"+base, vfs.Buffered)
		require.NoError(t, err)
		require.NoError(t, f.Close())
	}
	require.EqualValues(t, 601, reopen(t, mem).NewFileNum())
}
