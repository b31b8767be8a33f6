package inspect_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/engine/inspect"
	"github.com/cambiumdb/cambium/internal/batch"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/record"
	"github.com/cambiumdb/cambium/internal/vfs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	tinyUpper = tiny + "/000008.sst"
	tinyLower = tiny + "/000006.sst"
	tinyLog   = tiny + "/000007.log"
	tinyTree  = tiny + "/MANIFEST-000001"
)

// damaged writes a copy of a file, changed, under the same name, and returns its path.
func damaged(t *testing.T, path string, change func([]byte) []byte) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	out := filepath.Join(t.TempDir(), filepath.Base(path))
	require.NoError(t, os.WriteFile(out, change(b), 0o644))
	return out
}

func flip(at int) func([]byte) []byte {
	return func(b []byte) []byte {
		b[at] ^= 0x40
		return b
	}
}

func TestTableEntries(t *testing.T) {
	tab, err := inspect.OpenTable(tinyUpper)
	require.NoError(t, err)
	defer tab.Close()
	show := func(r inspect.Range) string {
		var out bytes.Buffer
		require.NoError(t, tab.Entries(r, func(e *inspect.Entry) error {
			e.WriteText(&out, inspect.Style{})
			return nil
		}))
		return out.String()
	}
	require.Equal(t, `b#8,SET => new b
c#9,DEL
session#11,ENTITY => expires long after (expires 2225-11-15T03:04:05.000Z)
stale#12,ENTITY => has expired (expires 2026-01-02T04:04:05.000Z)
`, show(inspect.Range{}))
	require.Equal(t, "c#9,DEL\n", show(inspect.Range{From: []byte("c"), To: []byte("d")}))
	require.Equal(t, "b#8,SET => new b\n", show(inspect.Range{Limit: 1}))
	stop := errors.New("stop")
	require.Equal(t, stop, tab.Entries(inspect.Range{}, func(*inspect.Entry) error { return stop }))

	d, err := tab.Describe(true)
	require.NoError(t, err)
	require.Len(t, d.Blocks, 1)
	require.Len(t, d.RangeDels, 1)
	require.Equal(t, "g", string(d.RangeDels[0].From.Bytes()))
	require.Equal(t, []uint64{10}, d.RangeDels[0].Seqs)
	require.EqualValues(t, 5, d.Properties.Entries)
	require.EqualValues(t, 2, d.Properties.ExpiryCount)
	require.True(t, d.Filter.Used)
}

// TestEveryFlippedByteOfATable flips a bit in each byte in turn: whatever is not noticed must
// not have changed what the table says.
func TestEveryFlippedByteOfATable(t *testing.T) {
	b, err := os.ReadFile(tinyUpper)
	require.NoError(t, err)
	want := entriesOf(t, tinyUpper)
	noticed := 0
	for at := range b {
		path := damaged(t, tinyUpper, flip(at))
		check, err := inspect.VerifyTable(t.Context(), path)
		require.NotNil(t, check)
		require.Equal(t, err == nil, check.OK)
		if err == nil {
			require.Equal(t, want, entriesOf(t, path), "byte %#x", at)
			continue
		}
		noticed++
		require.True(t, errors.Is(err, engine.ErrCorruption) || errors.Is(err, engine.ErrUnsupported), "byte %#x: %v", at, err)
		require.Equal(t, err.Error(), check.Problem)
	}
	// The padding of the footer's handles has no checksum.
	require.Greater(t, noticed, len(b)-40)
}

func entriesOf(t *testing.T, path string) string {
	t.Helper()
	tab, err := inspect.OpenTable(path)
	require.NoError(t, err)
	defer tab.Close()
	var out bytes.Buffer
	require.NoError(t, tab.Entries(inspect.Range{}, func(e *inspect.Entry) error {
		e.WriteText(&out, inspect.Style{})
		return nil
	}))
	return out.String()
}

func TestNotATable(t *testing.T) {
	_, err := inspect.OpenTable(tinyLog)
	require.ErrorIs(t, err, engine.ErrCorruption)
	_, err = inspect.OpenTable(filepath.Join(t.TempDir(), "000001.sst"))
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = inspect.OpenTable(damaged(t, tinyUpper, func([]byte) []byte { return nil }))
	require.ErrorIs(t, err, engine.ErrCorruption)
	newer := damaged(t, tinyUpper, func(b []byte) []byte {
		b[len(b)-12] = 7 // format_version
		return b
	})
	_, err = inspect.OpenTable(newer)
	require.ErrorIs(t, err, engine.ErrUnsupported)
	require.ErrorContains(t, err, "format_version 7")
}

func dumpLog(t *testing.T, path string) (*inspect.Log, []inspect.LogRecord, error) {
	t.Helper()
	var recs []inspect.LogRecord
	sum, err := inspect.DumpLog(path, func(r *inspect.LogRecord) error {
		recs = append(recs, *r)
		return nil
	})
	require.NotNil(t, sum)
	require.Equal(t, len(recs), sum.Records)
	return sum, recs, err
}

func TestLogRecords(t *testing.T) {
	sum, recs, err := dumpLog(t, tinyLog)
	require.NoError(t, err)
	types := ""
	for _, r := range recs {
		types += r.Type + ";"
	}
	require.Equal(t, "log header;filler;batch;filler;batch;", types)
	require.Equal(t, inspect.EndClean, sum.State)
	require.EqualValues(t, 7, sum.Number)
	require.EqualValues(t, 13, sum.FirstSeq)
	require.EqualValues(t, 16, sum.LastSeq)
	require.EqualValues(t, 12, *recs[0].PrevLastSeq)
	ops := recs[2].Ops
	require.Len(t, ops, 3)
	require.Equal(t, "DEL", ops[1].Kind)
	require.EqualValues(t, 14, ops[1].Seq)
	require.False(t, ops[2].Value.None(), "an empty value is a value")

	renamed := filepath.Join(t.TempDir(), "copy.bin")
	b, err := os.ReadFile(tinyLog)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(renamed, b, 0o644))
	again, _, err := dumpLog(t, renamed)
	require.NoError(t, err)
	require.EqualValues(t, 7, again.Number, "a file of another name says its number itself")
	require.Equal(t, sum.Ops, again.Ops)
}

func TestTornLog(t *testing.T) {
	b, err := os.ReadFile(tinyLog)
	require.NoError(t, err)
	for _, cut := range []int{len(b) - 1, len(b) - 10, 0x2001} {
		sum, _, err := dumpLog(t, damaged(t, tinyLog, func(b []byte) []byte { return b[:cut] }))
		require.NoError(t, err)
		require.Equal(t, inspect.EndTorn, sum.State, "cut at %#x", cut)
		require.EqualValues(t, 15, sum.LastSeq)
		require.EqualValues(t, 0x2000, sum.End)
		var text bytes.Buffer
		sum.WriteText(&text, inspect.Style{})
		require.Contains(t, text.String(), "torn tail at 0x2000")
	}
	sum, _, err := dumpLog(t, damaged(t, tinyLog, func([]byte) []byte { return nil }))
	require.NoError(t, err)
	require.Equal(t, inspect.EndClean, sum.State)
}

// logOf writes a log of plain records, as RocksDB frames them.
func logOf(t *testing.T, recs ...[]byte) string {
	t.Helper()
	var b bytes.Buffer
	w := record.NewWriter(&b, 9, false)
	for _, rec := range recs {
		require.NoError(t, w.Write(rec))
	}
	path := filepath.Join(t.TempDir(), "000009.log")
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o644))
	return path
}

func newBatch(seq uint64, count uint32, ops ...batch.Op) []byte {
	rep := make([]byte, batch.HeaderLen)
	for _, op := range ops {
		rep = batch.AppendOp(rep, op.Kind, op.Key, op.Value)
	}
	batch.SetHeader(rep, seq, count)
	return rep
}

func TestCorruptAndUnsupportedBatches(t *testing.T) {
	set := batch.Op{Kind: ikey.KindSet, Key: []byte("k"), Value: []byte("v")}
	merge := append(newBatch(2, 2, set), 2, 1, 'm', 1, 'o')
	sum, recs, err := dumpLog(t, logOf(t, newBatch(1, 1, set), merge))
	require.ErrorIs(t, err, engine.ErrUnsupported)
	require.NotErrorIs(t, err, engine.ErrCorruption)
	require.ErrorContains(t, err, `merge of key "m"`)
	require.Equal(t, inspect.EndClean, sum.State)
	require.Len(t, recs[1].Ops, 1, "what comes before is shown")
	require.Contains(t, recs[1].Problem, "merge")

	sum, recs, err = dumpLog(t, logOf(t, newBatch(1, 3, set), newBatch(4, 1, set)))
	require.ErrorIs(t, err, engine.ErrCorruption)
	require.ErrorContains(t, err, "000009.log: record at 0x0: write batch: header counts 3 ops, found 1")
	require.Equal(t, inspect.EndCorrupt, sum.State)
	require.Len(t, recs, 2, "the records after are shown too")

	del := batch.Op{Kind: ikey.KindRangeDelete, Key: []byte("a"), Value: []byte("b")}
	note := batch.Op{Kind: ikey.KindLogData, Value: []byte("a note")}
	_, recs, err = dumpLog(t, logOf(t, newBatch(5, 1, note, del)))
	require.NoError(t, err)
	var text bytes.Buffer
	recs[0].WriteText(&text, inspect.Style{})
	require.Equal(t, "0x00000000      25 bytes  seq 5, 1 ops\n            LOGDATA => a note\n            a#5,RANGEDEL .. b (exclusive)\n", text.String())
}

func dumpManifest(t *testing.T, path string) (*inspect.Manifest, []*inspect.Edit, error) {
	t.Helper()
	var edits []*inspect.Edit
	sum, err := inspect.DumpManifest(path, func(e *inspect.Edit) error {
		edits = append(edits, e)
		return nil
	})
	require.NotNil(t, sum)
	require.Equal(t, len(edits), sum.Edits)
	return sum, edits, err
}

// TestManifestAgreesWithRecovery: the tool's fold of the edits is the engine's. The tests of
// kvctl do the same for RocksDB's databases.
func TestManifestAgreesWithRecovery(t *testing.T) {
	set, err := manifest.Recover(vfs.OS(nil), tiny, manifest.Options{})
	require.NoError(t, err)
	defer set.Close()
	sum, _, err := dumpManifest(t, tinyTree)
	require.NoError(t, err)
	require.Equal(t, set.DBID(), sum.DBID)
	require.Equal(t, set.LastSeq(), sum.LastSeq)
	require.Equal(t, set.LogNum(), sum.LogNum)
	v := set.Current()
	defer v.Unref()
	var want, got []string
	for level, tables := range v.Levels {
		for _, tab := range tables {
			want = append(want, fmt.Sprintf("L%d %06d %d", level, tab.Num, tab.Size))
		}
	}
	for _, tab := range sum.Tables {
		got = append(got, fmt.Sprintf("L%d %06d %d", tab.Level, tab.Num, tab.Size))
	}
	require.NotEmpty(t, want)
	require.Equal(t, want, got)
}

// manifestOf writes a manifest of the given edits.
func manifestOf(t *testing.T, edits ...*manifest.Edit) string {
	t.Helper()
	var b bytes.Buffer
	w := record.NewWriter(&b, 0, false)
	for _, e := range edits {
		require.NoError(t, w.Write(e.Encode(nil)))
	}
	path := filepath.Join(t.TempDir(), "MANIFEST-000003")
	require.NoError(t, os.WriteFile(path, b.Bytes(), 0o644))
	return path
}

func table(num uint64, lo, hi string) *manifest.Table {
	return &manifest.Table{Num: num, Size: 100, SmallestSeq: num, LargestSeq: num,
		Smallest: ikey.Make([]byte(lo), num, ikey.KindSet), Largest: ikey.Make([]byte(hi), num, ikey.KindSet)}
}

func TestManifestThatBreaksTheRules(t *testing.T) {
	add := func(level int, tables ...*manifest.Table) *manifest.Edit {
		e := &manifest.Edit{}
		for _, x := range tables {
			e.Added = append(e.Added, manifest.AddedTable{Level: level, Table: x})
		}
		return e
	}
	sum, _, err := dumpManifest(t, manifestOf(t, add(1, table(5, "a", "m"), table(6, "k", "z"))))
	require.ErrorIs(t, err, engine.ErrCorruption)
	require.ErrorContains(t, err, "does not end before")
	require.Equal(t, inspect.EndCorrupt, sum.State)
	require.Len(t, sum.Tables, 2, "the tree is shown all the same")

	_, _, err = dumpManifest(t, manifestOf(t, &manifest.Edit{Deleted: []manifest.DeletedTable{{Level: 2, Num: 9}}}))
	require.ErrorIs(t, err, engine.ErrCorruption)
	require.ErrorContains(t, err, "table 000009 is deleted from level 2, where it is not")

	_, _, err = dumpManifest(t, manifestOf(t, &manifest.Edit{BlobGarbage: []manifest.BlobGarbage{{Num: 4, Count: 1, Bytes: 1}}}))
	require.ErrorIs(t, err, engine.ErrCorruption)

	_, _, err = dumpManifest(t, manifestOf(t, add(9, table(5, "a", "m"))))
	require.ErrorIs(t, err, engine.ErrUnsupported)
	require.ErrorContains(t, err, "level 9")

	sum, edits, err := dumpManifest(t, manifestOf(t, &manifest.Edit{ColumnFamily: 3, Added: add(0, table(5, "a", "m")).Added}))
	require.NoError(t, err)
	require.EqualValues(t, 3, edits[0].ColumnFamily)
	require.Empty(t, sum.Tables, "another column family's table is not in the tree")
}

func TestTornAndCorruptManifest(t *testing.T) {
	b, err := os.ReadFile(tinyTree)
	require.NoError(t, err)
	sum, _, err := dumpManifest(t, damaged(t, tinyTree, func(b []byte) []byte { return b[:len(b)-1] }))
	require.NoError(t, err)
	require.Equal(t, inspect.EndTorn, sum.State)
	require.Equal(t, 4, sum.Edits)
	var text bytes.Buffer
	sum.WriteText(&text, inspect.Style{})
	require.Contains(t, text.String(), "torn tail at ")

	sum, _, err = dumpManifest(t, damaged(t, tinyTree, flip(0x55)))
	require.ErrorIs(t, err, engine.ErrCorruption)
	require.Equal(t, 1, sum.Edits, "what comes before the damage is shown")
	require.Less(t, 0x55, len(b))
}

func TestBlobsInTheTree(t *testing.T) {
	with := table(7, "a", "c")
	with.OldestBlob = 4
	path := manifestOf(t,
		&manifest.Edit{BlobsAdded: []manifest.Blob{{Num: 3, Count: 1, Bytes: 9}, {Num: 4, Count: 2, Bytes: 80}, {Num: 5, Count: 1, Bytes: 40}},
			Added: []manifest.AddedTable{{Level: 0, Table: with}}},
		&manifest.Edit{BlobGarbage: []manifest.BlobGarbage{{Num: 4, Count: 1, Bytes: 40}, {Num: 5, Count: 1, Bytes: 40}}})
	sum, edits, err := dumpManifest(t, path)
	require.NoError(t, err)
	require.Len(t, sum.Blobs, 1, "3 lies before every table's first, 5 is all garbage")
	require.Equal(t, "000004.blob  2 values, 80 B, garbage 1 values, 40 B", blobText(t, sum))
	require.Len(t, edits[1].BlobGarbage, 2)
}

func blobText(t *testing.T, m *inspect.Manifest) string {
	t.Helper()
	var text bytes.Buffer
	m.WriteText(&text, inspect.Style{})
	_, line, ok := strings.Cut(text.String(), "\n  blob file ")
	require.True(t, ok)
	return strings.TrimSpace(line)
}
