package inspect

import (
	"fmt"
	"io"
	"path/filepath"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// Tree is the shape of a database's tree.
type Tree struct {
	Levels []Level     `json:"levels"`
	Tables []TreeTable `json:"tables,omitempty"`
	Blobs  []BlobMeta  `json:"blobs"`
	// Writes is what the database wrote since it was opened, by cause; empty for a reader.
	Writes   *Writes   `json:"writes,omitempty"`
	Lifetime *Lifetime `json:"lifetime,omitempty"` // missing where nobody kept it
}

// Level is one level of the tree.
type Level struct {
	Level  int     `json:"level"`
	Tables int     `json:"tables"`
	Bytes  int64   `json:"bytes"`
	Runs   int     `json:"runs"`  // sorted runs: every table of L0 is one, a deeper level is one or none
	Score  float64 `json:"score"` // above 1 it wants compaction
}

// TreeTable is a table in the tree and what its properties say.
type TreeTable struct {
	TableMeta
	Entries        uint64 `json:"entries"`
	Deletions      uint64 `json:"deletions"`
	RangeDeletions uint64 `json:"range_deletions"`
	Compression    string `json:"compression"`
	Problem        string `json:"problem,omitempty"` // why the properties could not be read
}

// TreeOf describes the tree of db, which is open on dir. With tables it lists each of them and
// opens it for what its properties say.
func TreeOf(db *engine.DB, dir string, tables bool) (*Tree, error) {
	m := db.Metrics()
	out := &Tree{Blobs: []BlobMeta{}, Writes: WritesOf(m.Ledger), Lifetime: LifetimeOf(m.Lifetime)}
	for _, l := range m.Levels {
		out.Levels = append(out.Levels, Level{Level: l.Level, Tables: l.Tables, Bytes: l.Bytes, Runs: l.Runs, Score: l.Score})
	}
	set, err := manifest.Recover(vfs.OS(nil), dir, manifest.Options{})
	if err != nil {
		return nil, classify(err)
	}
	defer set.Close()
	v := set.Current()
	defer v.Unref()
	out.Blobs = blobsOf(v)
	if !tables {
		return out, nil
	}
	for _, t := range tablesOf(v) {
		out.Tables = append(out.Tables, treeTable(dir, t))
	}
	return out, nil
}

func treeTable(dir string, meta TableMeta) TreeTable {
	out := TreeTable{TableMeta: meta}
	t, err := OpenTable(filepath.Join(dir, filename.Base(filename.Table, meta.Num)))
	if err != nil {
		out.Problem = err.Error()
		return out
	}
	defer t.Close()
	p := t.r.Properties()
	out.Entries, out.Deletions, out.RangeDeletions, out.Compression = p.NumEntries, p.NumDeletions, p.NumRangeDeletions, p.Compression
	return out
}

// WriteText writes a line for each level that holds anything, and the totals.
func (t *Tree) WriteText(w io.Writer, s Style) {
	g := s.newGrid(0)
	g.Row("level", "tables", "size", "runs", "score")
	tables, runs, bytes := 0, 0, int64(0)
	for _, l := range t.Levels {
		tables, runs, bytes = tables+l.Tables, runs+l.Runs, bytes+l.Bytes
		if l.Tables > 0 {
			g.Row(fmt.Sprintf("L%d", l.Level), l.Tables, size(l.Bytes), l.Runs, fmt.Sprintf("%.2f", l.Score))
		}
	}
	g.Row("all", tables, size(bytes), runs, "")
	g.Print(w)
	if len(t.Blobs) > 0 {
		fmt.Fprintln(w)
		g := s.newGrid(0)
		g.Row("blob file", "values", "size", "garbage", "")
		for _, b := range t.Blobs {
			g.Row(b.File, b.Values, size(b.Bytes), b.Garbage, size(b.GarbageBytes))
		}
		g.Print(w)
	}
	if len(t.Tables) > 0 {
		fmt.Fprintln(w)
		t.writeTables(w, s)
	}
	if t.Writes != nil {
		fmt.Fprintln(w)
		t.Writes.WriteText(w, s)
	}
	if t.Lifetime != nil {
		fmt.Fprintln(w)
		t.Lifetime.WriteText(w, s)
	}
}

func (t *Tree) writeTables(w io.Writer, s Style) {
	g := s.newGrid(0, 1, 7, 8)
	g.Row("level", "table", "size", "entries", "deletions", "oldest seq", "newest seq", "compression", "keys")
	for i := range t.Tables {
		x := &t.Tables[i]
		keys := fmt.Sprintf("%s .. %s", s.Bytes(x.Smallest.Bytes()), s.Bytes(x.Largest.Bytes()))
		if x.Problem != "" {
			keys += "  " + x.Problem
		}
		g.Row(fmt.Sprintf("L%d", x.Level), x.File, size(x.Size), x.Entries, x.Deletions, x.SmallestSeq, x.LargestSeq, x.Compression, keys)
	}
	g.Print(w)
}
