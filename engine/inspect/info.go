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

	"github.com/cambiumdb/cambium/engine"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// Info describes a database directory as a whole.
type Info struct {
	DBID         string         `json:"db_id"`
	Manifest     string         `json:"manifest"`
	VisibleSeq   uint64         `json:"visible_seq"`  // the sequence number that new reads see
	ManifestSeq  uint64         `json:"manifest_seq"` // the one the manifest knows; beyond it are the logs
	NextFileNum  uint64         `json:"next_file"`
	LogNum       uint64         `json:"log_number"` // the oldest log that is still needed
	Levels       int            `json:"levels"`     // that hold tables
	Tables       int            `json:"tables"`
	Entries      uint64         `json:"entries"` // in tables, old versions and tombstones included
	Deletions    uint64         `json:"deletions"`
	BlobFiles    int            `json:"blob_files"`
	Replayed     int64          `json:"replayed_bytes"` // memory that holds what was only in logs
	Space        Space          `json:"space"`
	Memory       Memory         `json:"memory"`
	Files        map[string]int `json:"files"` // by type
	Options      *Options       `json:"options,omitempty"`
	LiveSnapshot int            `json:"snapshots"`
	LiveIterator int            `json:"iterators"`
}

// Space says what the directory takes on the device, in bytes.
type Space struct {
	Tables   int64 `json:"tables"`
	Blobs    int64 `json:"blobs"`
	Logs     int64 `json:"logs"`
	Total    int64 `json:"total"` // with the manifest
	DeviceOK bool  `json:"-"`
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
		VisibleSeq: m.VisibleSeq, Files: map[string]int{}, LiveSnapshot: m.Snapshots, LiveIterator: m.Iterators,
		Replayed: m.Memtables.ActiveBytes + m.Memtables.SealedBytes,
		Space:    Space{Tables: m.Space.Tables, Blobs: m.Space.Blobs, Logs: m.Space.Logs, Total: m.Space.Disk},
		Memory: Memory{Memtables: m.Memtables.ActiveBytes + m.Memtables.SealedBytes, MemtableLimit: m.Memtables.Limit,
			Cache: m.Cache.Bytes, CachePinned: m.Cache.PinnedBytes, CacheCapacity: m.Cache.Capacity},
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
