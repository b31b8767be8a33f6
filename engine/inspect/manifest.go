package inspect

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/record"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// TableMeta is what the tree knows about a table.
type TableMeta struct {
	Level       int        `json:"level"`
	Num         uint64     `json:"num"`
	File        string     `json:"file"`
	Size        uint64     `json:"size"`
	Smallest    Bound      `json:"smallest"`
	Largest     Bound      `json:"largest"`
	SmallestSeq uint64     `json:"smallest_seq"`
	LargestSeq  uint64     `json:"largest_seq"`
	OldestBlob  uint64     `json:"oldest_blob,omitempty"`
	Created     *time.Time `json:"created,omitempty"`
	Marked      bool       `json:"marked_for_compaction,omitempty"`
}

func newTableMeta(level int, t *manifest.Table) TableMeta {
	return TableMeta{
		Level: level, Num: t.Num, File: filename.Base(filename.Table, t.Num), Size: t.Size,
		Smallest: newBound(t.Smallest), Largest: newBound(t.Largest), SmallestSeq: t.SmallestSeq, LargestSeq: t.LargestSeq,
		OldestBlob: t.OldestBlob, Created: seconds(t.CreationTime), Marked: t.MarkedForCompaction,
	}
}

func (t *TableMeta) text(s Style) string {
	text := fmt.Sprintf("%s  %s  %s .. %s  seq %d..%d", t.File, size(t.Size), t.Smallest.text(s), t.Largest.text(s), t.SmallestSeq, t.LargestSeq)
	if t.OldestBlob != 0 {
		text += fmt.Sprintf("  blob files from %06d", t.OldestBlob)
	}
	if t.Marked {
		text += "  marked for compaction"
	}
	return text
}

// BlobMeta is what the tree knows about a blob file.
type BlobMeta struct {
	Num          uint64 `json:"num"`
	File         string `json:"file"`
	Values       uint64 `json:"values"`
	Bytes        uint64 `json:"bytes"`
	Garbage      uint64 `json:"garbage_values"`
	GarbageBytes uint64 `json:"garbage_bytes"`
}

func newBlobMeta(b *manifest.Blob) BlobMeta {
	return BlobMeta{b.Num, filename.Base(filename.Blob, b.Num), b.Count, b.Bytes, b.GarbageCount, b.GarbageBytes}
}

// Edit is one record of a manifest. What it does not mention is absent.
type Edit struct {
	Offset        int64       `json:"offset"`
	DBID          string      `json:"db_id,omitempty"`
	Comparator    *string     `json:"comparator,omitempty"`
	LogNum        *uint64     `json:"log_number,omitempty"`
	PrevLogNum    *uint64     `json:"prev_log,omitempty"`
	NextFileNum   *uint64     `json:"next_file,omitempty"`
	MinLogToKeep  *uint64     `json:"min_log_to_keep,omitempty"`
	LastSeq       *uint64     `json:"last_seq,omitempty"`
	ColumnFamily  uint32      `json:"column_family,omitempty"`
	DeletedTables []TableRef  `json:"deleted,omitempty"`
	AddedTables   []TableMeta `json:"added,omitempty"`
	AddedBlobs    []BlobMeta  `json:"added_blobs,omitempty"`
	BlobGarbage   []BlobMeta  `json:"blob_garbage,omitempty"` // only num, file and garbage are set
	Other         []string    `json:"other,omitempty"`        // the rest, a fact each
}

// TableRef names a table on a level.
type TableRef struct {
	Level int    `json:"level"`
	Num   uint64 `json:"num"`
}

func newEdit(e *manifest.Edit, offset int64) *Edit {
	out := &Edit{
		Offset: offset, DBID: e.DBID, Comparator: e.Comparator, LogNum: e.LogNum, PrevLogNum: e.PrevLogNum,
		NextFileNum: e.NextFileNum, MinLogToKeep: e.MinLogToKeep, LastSeq: e.LastSeq, ColumnFamily: e.ColumnFamily,
	}
	for _, d := range e.Deleted {
		out.DeletedTables = append(out.DeletedTables, TableRef{d.Level, d.Num})
	}
	for _, a := range e.Added {
		out.AddedTables = append(out.AddedTables, newTableMeta(a.Level, a.Table))
	}
	for i := range e.BlobsAdded {
		out.AddedBlobs = append(out.AddedBlobs, newBlobMeta(&e.BlobsAdded[i]))
	}
	for _, g := range e.BlobGarbage {
		out.BlobGarbage = append(out.BlobGarbage, BlobMeta{Num: g.Num, File: filename.Base(filename.Blob, g.Num), Garbage: g.Count, GarbageBytes: g.Bytes})
	}
	rest := *e
	rest.DBID, rest.Comparator, rest.LogNum, rest.PrevLogNum, rest.NextFileNum, rest.MinLogToKeep, rest.LastSeq = "", nil, nil, nil, nil, nil, nil
	rest.ColumnFamily, rest.Deleted, rest.Added, rest.BlobsAdded, rest.BlobGarbage = 0, nil, nil, nil, nil
	if text := strings.TrimSuffix(rest.String(), "\n"); text != "" {
		out.Other = strings.Split(text, "\n")
	}
	return out
}

// WriteText writes a line for the record and one for each fact.
func (e *Edit) WriteText(w io.Writer, s Style) {
	fmt.Fprintln(w, s.heading(fmt.Sprintf("edit at %#x", e.Offset)))
	if e.DBID != "" {
		fmt.Fprintf(w, "  db_id %s\n", e.DBID)
	}
	if e.Comparator != nil {
		fmt.Fprintf(w, "  comparator %s\n", *e.Comparator)
	}
	for _, n := range []struct {
		name  string
		value *uint64
	}{
		{"log_number", e.LogNum}, {"prev_log", e.PrevLogNum}, {"next_file", e.NextFileNum},
		{"min_log_to_keep", e.MinLogToKeep}, {"last_seq", e.LastSeq},
	} {
		if n.value != nil {
			fmt.Fprintf(w, "  %s %d\n", n.name, *n.value)
		}
	}
	if e.ColumnFamily != 0 {
		fmt.Fprintf(w, "  column_family %d\n", e.ColumnFamily)
	}
	for _, d := range e.DeletedTables {
		fmt.Fprintf(w, "  - L%d %s\n", d.Level, filename.Base(filename.Table, d.Num))
	}
	for i := range e.AddedTables {
		fmt.Fprintf(w, "  + L%d %s\n", e.AddedTables[i].Level, e.AddedTables[i].text(s))
	}
	for _, b := range e.AddedBlobs {
		fmt.Fprintf(w, "  + %s  %d values, %s\n", b.File, b.Values, size(b.Bytes))
	}
	for _, b := range e.BlobGarbage {
		fmt.Fprintf(w, "  garbage in %s: %d values, %s\n", b.File, b.Garbage, size(b.GarbageBytes))
	}
	for _, line := range e.Other {
		fmt.Fprintf(w, "  %s\n", line)
	}
}

// Manifest sums up a manifest: the tree that its edits lead to.
type Manifest struct {
	File         string      `json:"file"`
	Size         int64       `json:"size"`
	Edits        int         `json:"edits"`
	DBID         string      `json:"db_id"`
	Comparator   string      `json:"comparator"`
	LogNum       uint64      `json:"log_number"`
	NextFileNum  uint64      `json:"next_file"`
	MinLogToKeep uint64      `json:"min_log_to_keep"`
	LastSeq      uint64      `json:"last_seq"`
	Tables       []TableMeta `json:"tables"`
	Blobs        []BlobMeta  `json:"blobs"`
	State        string      `json:"state"` // as a Log's
	Reason       string      `json:"reason,omitempty"`
}

// DumpManifest calls visit for each edit of the manifest file at path, in order, and stops at
// its first error. The summary stands even where the manifest is damaged or leads to a tree
// that breaks the rules, which is also the error; a torn tail is none.
func DumpManifest(path string, visit func(*Edit) error) (*Manifest, error) {
	fs := vfs.OS(nil)
	info, err := fs.Stat(path)
	if err != nil {
		return nil, err
	}
	sum := &Manifest{File: filepath.Base(path), Size: info.Size(), State: EndClean}
	tree := newFold()
	var visitErr error
	err = manifest.Read(fs, path, func(e *manifest.Edit, offset int64) error {
		sum.add(e)
		tree.add(e)
		visitErr = visit(newEdit(e, offset))
		return visitErr
	})
	if visitErr != nil {
		return sum, visitErr
	}
	v := tree.version()
	sum.Tables, sum.Blobs = tablesOf(v), blobsOf(v)
	var torn *record.TornError
	switch {
	case errors.As(err, &torn):
		sum.State, sum.Reason = EndTorn, fmt.Sprintf("at %#x: %s", torn.Offset, torn.Reason)
		err = nil
	case err != nil:
		err = classify(err)
	default:
		if bad := errors.Join(append(tree.problems, v.Check())...); bad != nil {
			err = treeError(path, bad)
		}
	}
	if err != nil {
		sum.State, sum.Reason = EndCorrupt, err.Error()
	}
	return sum, err
}

// treeError is for edits that can be read and lead to a tree that cannot be.
func treeError(path string, err error) error {
	if isUnsupported(err) {
		return classify(fmt.Errorf("%s: %w", path, err))
	}
	return &fileError{fmt.Errorf("corruption: %s: %w", path, err), engine.ErrCorruption}
}

func (m *Manifest) add(e *manifest.Edit) {
	m.Edits++
	if e.DBID != "" {
		m.DBID = e.DBID
	}
	if e.Comparator != nil && e.ColumnFamily == 0 {
		m.Comparator = *e.Comparator
	}
	for _, n := range []struct {
		to   *uint64
		from *uint64
	}{{&m.LogNum, e.LogNum}, {&m.NextFileNum, e.NextFileNum}, {&m.MinLogToKeep, e.MinLogToKeep}, {&m.LastSeq, e.LastSeq}} {
		if n.from != nil {
			*n.to = max(*n.to, *n.from)
		}
	}
}

func tablesOf(v *manifest.Version) []TableMeta {
	out := []TableMeta{}
	for level, tables := range v.Levels {
		for _, t := range tables {
			out = append(out, newTableMeta(level, t))
		}
	}
	return out
}

func blobsOf(v *manifest.Version) []BlobMeta {
	out := []BlobMeta{}
	for _, b := range v.Blobs {
		out = append(out, newBlobMeta(b))
	}
	slices.SortFunc(out, func(a, b BlobMeta) int { return cmp.Compare(a.Num, b.Num) })
	return out
}

// WriteText writes the summary and the final tree.
func (m *Manifest) WriteText(w io.Writer, s Style) {
	fmt.Fprintf(w, "%s: %s, %d edits\n", s.heading(m.File), size(m.Size), m.Edits)
	l := list{w, 15}
	if m.DBID != "" {
		l.line("db_id", "%s", m.DBID)
	}
	l.line("comparator", "%s", m.Comparator)
	l.line("log_number", "%d", m.LogNum)
	l.line("min_log_to_keep", "%d", m.MinLogToKeep)
	l.line("next_file", "%d", m.NextFileNum)
	l.line("last_seq", "%d", m.LastSeq)
	for i := range m.Tables {
		l.line(fmt.Sprintf("L%d", m.Tables[i].Level), "%s", m.Tables[i].text(s))
	}
	for _, b := range m.Blobs {
		l.line("blob file", "%s", b.text())
	}
	switch m.State {
	case EndTorn:
		fmt.Fprintf(w, "%s %s (a crash leaves this; the edits before are good)\n", s.problem("torn tail"), m.Reason)
	case EndCorrupt:
		fmt.Fprintln(w, s.problem(m.Reason))
	}
}

func (b BlobMeta) text() string {
	return fmt.Sprintf("%s  %d values, %s, garbage %d values, %s", b.File, b.Values, size(b.Bytes), b.Garbage, size(b.GarbageBytes))
}
