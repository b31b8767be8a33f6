package inspect

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// Info describes a database directory as a whole.
type Info struct {
	DBID        string         `json:"db_id"`
	Manifest    string         `json:"manifest"`
	VisibleSeq  uint64         `json:"visible_seq"`  // the sequence number that new reads see
	ManifestSeq uint64         `json:"manifest_seq"` // the one the manifest knows; beyond it are the logs
	LogNum      uint64         `json:"log_number"`   // the oldest log that is still needed
	Levels      int            `json:"levels"`       // that hold tables
	Tables      int            `json:"tables"`
	Entries     uint64         `json:"entries"` // in tables, old versions and tombstones included
	Deletions   uint64         `json:"deletions"`
	BlobFiles   int            `json:"blob_files"`
	Space       Space          `json:"space"`
	Memory      Memory         `json:"memory"`
	Files       map[string]int `json:"files"`              // number, by type
	Lifetime    *Lifetime      `json:"lifetime,omitempty"` // what was written; missing where nobody kept it
	Options     *Options       `json:"options,omitempty"`
}

// Space says what the directory takes on the device, in bytes.
type Space struct {
	Tables int64 `json:"tables"`
	Blobs  int64 `json:"blobs"`
	Logs   int64 `json:"logs"`
	Total  int64 `json:"total"` // with the manifest
}

// Memory says what an open database holds in memory, in bytes.
type Memory struct {
	Memtables     int64 `json:"memtables"`
	MemtableLimit int64 `json:"memtable_limit"` // of one memtable
	Cache         int64 `json:"cache"`
	CachePinned   int64 `json:"cache_pinned"` // indexes and filters of open tables
	CacheCapacity int64 `json:"cache_capacity"`
}

// Options is what the newest OPTIONS file of RocksDB says, where there is one: this engine
// writes none.
type Options struct {
	File   string            `json:"file"`
	Values map[string]string `json:"values"`
}

// shownOptions are the options that decide how RocksDB uses the directory.
var shownOptions = []string{
	"rocksdb_version", "comparator", "compaction_style", "compression", "bottommost_compression", "num_levels",
	"merge_operator", "prefix_extractor", "enable_blob_files", "write_buffer_size", "filter_policy", "format_version", "checksum", "block_size",
}

// InfoOf describes the database that db has open on dir.
func InfoOf(db *engine.DB, dir string) (*Info, error) {
	m := db.Metrics()
	out := &Info{
		VisibleSeq: m.VisibleSeq, Files: map[string]int{},
		Space: Space{Tables: m.Space.Tables, Blobs: m.Space.Blobs, Logs: m.Space.Logs, Total: m.Space.Disk},
		Memory: Memory{Memtables: m.Memtables.ActiveBytes + m.Memtables.SealedBytes, MemtableLimit: m.Memtables.Limit,
			Cache: m.Cache.Bytes, CachePinned: m.Cache.PinnedBytes, CacheCapacity: m.Cache.Capacity},
		Lifetime: LifetimeOf(m.Lifetime),
	}
	for _, l := range m.Levels {
		if out.Tables += l.Tables; l.Tables > 0 {
			out.Levels++
		}
	}
	set, err := manifest.Recover(vfs.OS(nil), dir, manifest.Options{})
	if err != nil {
		return nil, classify(err)
	}
	defer set.Close()
	out.DBID, out.Manifest = set.DBID(), filename.Base(filename.Manifest, set.ManifestNum())
	out.ManifestSeq, out.LogNum = set.LastSeq(), set.LogNum()
	v := set.Current()
	defer v.Unref()
	out.BlobFiles = len(v.Blobs)
	for _, t := range tablesOf(v) {
		x := treeTable(dir, t)
		out.Entries += x.Entries
		out.Deletions += x.Deletions
	}
	return out, out.files(dir)
}

// files counts the files of dir and reads the newest OPTIONS file.
func (x *Info) files(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	newest, found := uint64(0), false
	for _, e := range entries {
		t, num, ok := filename.Parse(e.Name())
		if !ok {
			t = filename.Unknown
		}
		x.Files[t.String()]++
		if t == filename.Options && (!found || num > newest) {
			newest, found = num, true
		}
	}
	if !found {
		return nil
	}
	x.Options, err = readOptions(filepath.Join(dir, filename.Base(filename.Options, newest)))
	return err
}

// readOptions picks the options that matter here out of an OPTIONS file: lines of name=value.
func readOptions(path string) (*Options, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	out := &Options{File: filepath.Base(path), Values: map[string]string{}}
	sc := bufio.NewScanner(io.LimitReader(f, 1<<20))
	sc.Buffer(nil, 1<<20)
	for sc.Scan() {
		name, value, ok := strings.Cut(strings.TrimSpace(sc.Text()), "=")
		if ok && slices.Contains(shownOptions, name) {
			out.Values[name] = value
		}
	}
	return out, sc.Err()
}

// WriteText writes a fact on a line.
func (x *Info) WriteText(w io.Writer, s Style) {
	l := list{w, 16}
	fmt.Fprintln(w, s.heading("database "+x.DBID))
	l.line("manifest", "%s, sequence number %d, logs from %06d.log", x.Manifest, x.ManifestSeq, x.LogNum)
	l.line("sequence number", "%d", x.VisibleSeq)
	l.line("tables", "%d on %d levels, %d entries, %d of them deletions", x.Tables, x.Levels, x.Entries, x.Deletions)
	if x.BlobFiles > 0 {
		l.line("blob files", "%d", x.BlobFiles)
	}
	l.line("space", "%s: tables %s, blob files %s, logs %s", size(x.Space.Total), size(x.Space.Tables), size(x.Space.Blobs), size(x.Space.Logs))
	l.line("memory", "memtables %s (limit of one %s), cache %s of %s, %s of it pinned",
		size(x.Memory.Memtables), size(x.Memory.MemtableLimit), size(x.Memory.Cache), size(x.Memory.CacheCapacity), size(x.Memory.CachePinned))
	if t := x.Lifetime; t != nil {
		written := fmt.Sprintf("%s since %s, %.2f for each byte accepted", size(t.Total), t.Since.Format(time.RFC3339), t.WriteAmplification)
		if t.Gaps > 0 {
			written += ", " + t.gaps() + " in the count"
		}
		l.line("written", "%s", written)
	}
	l.line("files", "%s", countText(x.Files))
	if x.Options == nil {
		return
	}
	l.line("options", "%s, as RocksDB left it", x.Options.File)
	for _, name := range slices.Sorted(maps.Keys(x.Options.Values)) {
		fmt.Fprintf(w, "    %s = %s\n", name, x.Options.Values[name])
	}
}

// Exists reports whether dir holds a database, of whatever state: the file CURRENT.
func Exists(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, filename.Base(filename.Current, 0)))
	return err == nil
}
