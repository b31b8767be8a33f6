package inspect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable"
	"github.com/cambiumdb/cambium/sstable/block"
)

// Table describes a table file.
type Table struct {
	File          string           `json:"file"`
	Size          int64            `json:"size"`
	FormatVersion uint32           `json:"format_version"`
	Checksum      string           `json:"checksum"`
	Metaindex     Place            `json:"metaindex"`
	Index         Index            `json:"index"`
	Filter        Filter           `json:"filter"`
	MetaBlocks    []MetaBlock      `json:"meta_blocks"`
	Data          Data             `json:"data"`
	GlobalSeq     *uint64          `json:"global_seq,omitempty"` // of an ingested table
	Properties    Properties       `json:"properties"`
	RangeDels     []RangeTombstone `json:"range_tombstones"`
	Blocks        []Block          `json:"blocks,omitempty"`
	Problem       string           `json:"problem,omitempty"` // why Data and Blocks end early
}

// Place is where a block's payload lies in its file.
type Place struct {
	Offset uint64 `json:"offset"`
	Size   uint64 `json:"size"`
}

func newPlace(h block.Handle) Place { return Place{h.Offset, h.Size} }

// String formats the place for people.
func (p Place) String() string { return fmt.Sprintf("%d bytes at %#x", p.Size, p.Offset) }

// Index describes a table's index.
type Index struct {
	Place
	Type       string `json:"type"`
	Partitions int    `json:"partitions"`
	UserKeys   bool   `json:"user_keys"` // its keys carry no sequence numbers
	Delta      bool   `json:"delta"`     // its handles are delta-encoded
}

// Filter describes a table's filter.
type Filter struct {
	Kind        string `json:"kind"` // "none" where there is none
	Bytes       int    `json:"bytes"`
	Partitioned bool   `json:"partitioned"`
	Used        bool   `json:"used"` // false: never asked, since it is unknown or not about whole keys
}

// MetaBlock is a block that the metaindex names.
type MetaBlock struct {
	Name string `json:"name"`
	Place
}

// Data sums up the data blocks.
type Data struct {
	Blocks        int            `json:"blocks"`
	Bytes         uint64         `json:"bytes"` // payloads
	ByCompression map[string]int `json:"by_compression"`
}

// Block is one data block, as the index sees it.
type Block struct {
	Place
	Compression string `json:"compression"`
	Separator   Key    `json:"separator"` // at or above every key of the block
}

// RangeTombstone deletes what is older than each of Seqs in [From, To).
type RangeTombstone struct {
	From Key      `json:"from"`
	To   Key      `json:"to"`
	Seqs []uint64 `json:"seqs"`
}

// WriteText writes the tombstone as one line.
func (r RangeTombstone) WriteText(w io.Writer, s Style) {
	fmt.Fprintf(w, "[%s, %s) %s\n", s.Bytes(r.From.Bytes()), s.Bytes(r.To.Bytes()), seqText(r.Seqs))
}

func seqText(seqs []uint64) string {
	parts := make([]string, len(seqs))
	for i, q := range seqs {
		parts[i] = fmt.Sprintf("#%d", q)
	}
	return strings.Join(parts, " ")
}

// Properties is what a table says about itself. Fields that it does not state are zero.
type Properties struct {
	Entries        uint64            `json:"entries"` // range tombstones included
	Deletions      uint64            `json:"deletions"`
	RangeDeletions uint64            `json:"range_deletions"`
	MergeOperands  uint64            `json:"merge_operands"`
	DataBlocks     uint64            `json:"data_blocks"`
	RawKeyBytes    uint64            `json:"raw_key_bytes"`
	RawValueBytes  uint64            `json:"raw_value_bytes"`
	DataBytes      uint64            `json:"data_bytes"`
	IndexBytes     uint64            `json:"index_bytes"`
	FilterBytes    uint64            `json:"filter_bytes"`
	Compression    string            `json:"compression"`
	Comparator     string            `json:"comparator"`
	FilterPolicy   string            `json:"filter_policy"`
	MergeOperator  string            `json:"merge_operator"`
	PrefixExtract  string            `json:"prefix_extractor"`
	ColumnFamily   string            `json:"column_family"`
	DBID           string            `json:"db_id"`
	SessionID      string            `json:"session_id"`
	OriginalFile   uint64            `json:"original_file"`
	Created        *time.Time        `json:"created,omitempty"`
	ExpiryCount    uint64            `json:"expiring_entries"`
	ExpiryMin      *time.Time        `json:"first_expiry,omitempty"`
	ExpiryMax      *time.Time        `json:"last_expiry,omitempty"`
	Other          map[string]string `json:"other,omitempty"` // escaped
}

func newProperties(p sstable.Properties) Properties {
	out := Properties{
		Entries: p.NumEntries, Deletions: p.NumDeletions, RangeDeletions: p.NumRangeDeletions, MergeOperands: p.NumMergeOperands,
		DataBlocks: p.NumDataBlocks, RawKeyBytes: p.RawKeySize, RawValueBytes: p.RawValueSize,
		DataBytes: p.DataSize, IndexBytes: p.IndexSize, FilterBytes: p.FilterSize,
		Compression: p.Compression, Comparator: p.Comparator, FilterPolicy: p.FilterPolicy, MergeOperator: p.MergeOperator,
		PrefixExtract: p.PrefixExtractor, ColumnFamily: p.ColumnFamilyName, DBID: p.DBID, SessionID: p.SessionID,
		OriginalFile: p.OriginalFile, Created: seconds(p.FileCreationTime), ExpiryCount: p.ExpiryCount,
	}
	if out.Created == nil {
		out.Created = seconds(p.CreationTime)
	}
	if p.ExpiryCount > 0 {
		lo, hi := time.UnixMilli(int64(p.ExpiryMin)).UTC(), time.UnixMilli(int64(p.ExpiryMax)).UTC()
		out.ExpiryMin, out.ExpiryMax = &lo, &hi
	}
	for name, v := range p.User {
		if out.Other == nil {
			out.Other = map[string]string{}
		}
		out.Other[name] = Escape([]byte(v))
	}
	return out
}

// seconds returns a time for Unix seconds, nil for 0.
func seconds(n uint64) *time.Time {
	if n == 0 || n > 1<<40 {
		return nil
	}
	t := time.Unix(int64(n), 0).UTC()
	return &t
}

// TableFile is an open table file.
type TableFile struct {
	path string
	r    *sstable.Reader
}

// OpenTable opens the table in the file at path. The caller must Close it.
func OpenTable(path string) (*TableFile, error) {
	f, err := vfs.OS(nil).Open(path, vfs.Direct)
	if err != nil {
		return nil, err
	}
	_, num, _ := filename.Parse(filepath.Base(path))
	r, err := sstable.Open(f, sstable.ReaderOptions{FileNum: num})
	if err != nil {
		return nil, classify(err)
	}
	return &TableFile{path: path, r: r}, nil
}

// Close closes the file.
func (t *TableFile) Close() error { return t.r.Close() }

var indexTypes = map[uint32]string{0: "binary search", 1: "hash", 2: "partitioned", 3: "binary search with first keys"}

// Describe reads everything but the entries. With blocks the report lists every data block. The
// report stands even where a data block is damaged, which is also the error.
func (t *TableFile) Describe(blocks bool) (*Table, error) {
	l, err := t.r.Layout(0)
	p := t.r.Properties()
	out := &Table{
		File: l.File, Size: l.Size, FormatVersion: l.FormatVersion, Checksum: l.Checksum.String(),
		Metaindex:  newPlace(l.Metaindex),
		Index:      Index{Place: newPlace(l.Index), Type: indexTypes[p.IndexType], Partitions: l.Partitions, UserKeys: p.IndexKeyIsUserKey, Delta: p.IndexValueIsDelta},
		Filter:     Filter{Kind: l.Filter.Description, Bytes: l.Filter.Bytes, Partitioned: l.Filter.Partitioned, Used: l.Filter.Present && l.Filter.Known},
		Data:       Data{ByCompression: map[string]int{}},
		Properties: newProperties(p),
		RangeDels:  []RangeTombstone{},
	}
	if err != nil {
		out.Problem = err.Error()
	}
	if l.Ingested {
		out.GlobalSeq = &l.GlobalSeq
	}
	for _, m := range l.Meta {
		out.MetaBlocks = append(out.MetaBlocks, MetaBlock{m.Name, newPlace(m.Handle)})
	}
	for _, b := range l.Blocks {
		out.Data.Blocks++
		out.Data.Bytes += b.Handle.Size
		out.Data.ByCompression[b.Compression.String()]++
		if blocks {
			out.Blocks = append(out.Blocks, Block{newPlace(b.Handle), b.Compression.String(), NewKey(b.Separator)})
		}
	}
	for _, s := range t.r.RangeDels() {
		out.RangeDels = append(out.RangeDels, RangeTombstone{NewKey(s.Start), NewKey(s.End), slices.Clone(s.Seqs)})
	}
	return out, classify(err)
}

// Range bounds what a dump shows. The zero value is everything.
type Range struct {
	From, To []byte // user keys in [From, To); nil is open
	Limit    int    // entries; 0 is all
}

// Entries calls visit for the point entries of the range in order, and stops at its first
// error. Range tombstones are in Describe's report.
func (t *TableFile) Entries(r Range, visit func(*Entry) error) error {
	it := t.r.NewIterator(sstable.IterOptions{Compaction: true})
	defer it.Close()
	ok := false
	if r.From != nil {
		ok = it.SeekGE(ikey.Seek(r.From, ikey.MaxSeq))
	} else {
		ok = it.First()
	}
	for n := 0; ok && (r.Limit <= 0 || n < r.Limit); n++ {
		k := it.Key()
		if r.To != nil && bytes.Compare(k.User, r.To) >= 0 {
			break
		}
		if err := visit(newEntry(k, it.Value())); err != nil {
			return err
		}
		ok = it.Next()
	}
	return classify(it.Err())
}

// TableCheck is what reading every byte of a table has shown.
type TableCheck struct {
	File       string `json:"file"`
	OK         bool   `json:"ok"`
	Problem    string `json:"problem,omitempty"` // the first one
	Size       int64  `json:"size"`
	Blocks     uint64 `json:"blocks"`  // data blocks read
	Entries    uint64 `json:"entries"` // range tombstones included
	Deletions  uint64 `json:"deletions"`
	RangeDels  uint64 `json:"range_deletions"`
	FilterKeys uint64 `json:"filter_keys"` // keys that the filter was asked about
}

// VerifyTable checks checksums, order, counts and the filter of the table file at path. The
// report stands even where the table is damaged, which is also the error.
func VerifyTable(ctx context.Context, path string) (*TableCheck, error) {
	out := &TableCheck{File: filepath.Base(path)}
	t, err := OpenTable(path)
	if err != nil {
		out.Problem = err.Error()
		return out, err
	}
	stats, err := t.r.Verify(ctx)
	out.Size = t.r.Size()
	out.Blocks, out.Entries, out.Deletions, out.RangeDels, out.FilterKeys = stats.Blocks, stats.Entries, stats.Deletions, stats.RangeDels, stats.FilterKeys
	if err = errors.Join(err, t.Close()); err != nil {
		out.Problem = err.Error()
		return out, classify(err)
	}
	out.OK = true
	return out, nil
}

// WriteText writes the check as one line.
func (c *TableCheck) WriteText(w io.Writer, s Style) {
	state := "ok"
	if !c.OK {
		state = s.problem("DAMAGED")
	}
	fmt.Fprintf(w, "%s: %s, %s, %d blocks, %d entries (%d deletions, %d of them ranges), %d keys found by the filter\n",
		c.File, state, size(c.Size), c.Blocks, c.Entries, c.Deletions, c.RangeDels, c.FilterKeys)
}

// WriteText writes the report, a fact on a line.
func (t *Table) WriteText(w io.Writer, s Style) {
	fmt.Fprintln(w, s.heading(t.File))
	l := list{w, 16}
	l.line("size", "%s", size(t.Size))
	l.line("format_version", "%d, checksum %s", t.FormatVersion, t.Checksum)
	l.line("metaindex", "%v", t.Metaindex)
	index := fmt.Sprintf("%v, %s", t.Index.Place, t.Index.Type)
	if t.Index.Partitions > 0 {
		index += fmt.Sprintf(" (%d partitions)", t.Index.Partitions)
	}
	if t.Index.UserKeys {
		index += ", user keys"
	}
	if t.Index.Delta {
		index += ", delta-encoded handles"
	}
	l.line("index", "%s", index)
	filter := t.Filter.Kind
	if filter != "none" {
		filter += fmt.Sprintf(", %s", size(t.Filter.Bytes))
		if !t.Filter.Used {
			filter += ", not used"
		}
	}
	l.line("filter", "%s", filter)
	l.line("data", "%d blocks, %s: %s", t.Data.Blocks, size(t.Data.Bytes), countText(t.Data.ByCompression))
	if t.Problem != "" {
		l.line("then", "%s", s.problem(t.Problem))
	}
	for _, m := range t.MetaBlocks {
		l.line("meta block", "%s, %v", m.Name, m.Place)
	}
	if t.GlobalSeq != nil {
		l.line("ingested", "every entry has sequence number %d", *t.GlobalSeq)
	}
	t.Properties.writeText(l)
	for _, r := range t.RangeDels {
		fmt.Fprint(w, "  range tombstone   ")
		r.WriteText(w, s)
	}
	if len(t.Blocks) > 0 {
		g := s.newGrid(2, 3)
		g.Indent = "  "
		g.Row("offset", "bytes", "compression", "up to key")
		for _, b := range t.Blocks {
			g.Row(fmt.Sprintf("%#x", b.Offset), b.Size, b.Compression, s.Bytes(b.Separator.Bytes()))
		}
		g.Print(w)
	}
}

func (p *Properties) writeText(l list) {
	l.line("entries", "%d, %d deletions, %d of them ranges", p.Entries, p.Deletions, p.RangeDeletions)
	if p.MergeOperands > 0 {
		l.line("merge operands", "%d", p.MergeOperands)
	}
	l.line("raw", "%s keys, %s values", size(p.RawKeyBytes), size(p.RawValueBytes))
	l.line("stored", "%s data, %s index, %s filter", size(p.DataBytes), size(p.IndexBytes), size(p.FilterBytes))
	for _, f := range []struct{ name, value string }{
		{"compression", p.Compression}, {"comparator", p.Comparator}, {"filter policy", p.FilterPolicy},
		{"merge operator", p.MergeOperator}, {"prefix extractor", p.PrefixExtract}, {"column family", p.ColumnFamily},
		{"db id", p.DBID}, {"session id", p.SessionID},
	} {
		if f.value != "" && f.value != "nullptr" {
			l.line(f.name, "%s", f.value)
		}
	}
	if p.OriginalFile != 0 {
		l.line("written as", "%06d.sst", p.OriginalFile)
	}
	if p.Created != nil {
		l.line("created", "%s", p.Created.Format(time.RFC3339))
	}
	if p.ExpiryCount > 0 {
		l.line("expiring", "%d entries, %s to %s", p.ExpiryCount, p.ExpiryMin.Format(timeFormat), p.ExpiryMax.Format(timeFormat))
	}
	for _, name := range slices.Sorted(maps.Keys(p.Other)) {
		l.line("property", "%s = %s", name, p.Other[name])
	}
}

// countText formats counts in the order of their names: "3 snappy, 1 zstd".
func countText(counts map[string]int) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		parts = append(parts, fmt.Sprintf("%d %s", counts[name], name))
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
