package engine

import "time"

// Metrics is a picture of the database at one moment; counters run since Open, but for Lifetime. Bytes are bytes
// on the device unless said otherwise.
type Metrics struct {
	Levels     []LevelMetrics `json:"levels"`
	Memtables  MemtableMetrics
	Cache      CacheMetrics
	Log        LogMetrics
	Ledger     Ledger
	Lifetime   Lifetime // the ledger over all opens of the directory
	Stalls     StallMetrics
	Reads      ReadMetrics
	Space      SpaceMetrics
	Compaction CompactionMetrics
	VisibleSeq uint64 // the sequence number that new reads see
	Snapshots  int    // open snapshots
	Iterators  int    // open iterators
}

// LevelMetrics describes one level of the tree.
type LevelMetrics struct {
	Level  int
	Tables int
	Bytes  int64
	Runs   int     // sorted runs: every table of L0 is one, a deeper level is one or none
	Score  float64 // above 1 it wants compaction
}

// MemtableMetrics describes what is in memory only (and in the log).
type MemtableMetrics struct {
	ActiveBytes int64
	Sealed      int
	SealedBytes int64
	Limit       int64 // bytes of the active one at which it is sealed
	FlushBytes  int64 // sealed bytes from which they are flushed, as one table
}

// CacheMetrics describes the block cache.
type CacheMetrics struct {
	Capacity, Bytes, PinnedBytes     int64
	Entries, Hits, Misses, Evictions int64
}

// LogMetrics describes the write-ahead log.
type LogMetrics struct {
	Segments int
	Bytes    int64 // handed to the device
	Records  int64
	Syncs    int64
	Groups   int64 // commit groups
	Commits  int64 // batches in them
	MaxGroup int64
}

// StallMetrics says how long writes were held back, why, and what would help.
type StallMetrics struct {
	Count   int64
	Total   time.Duration
	Longest time.Duration // of a single write
	// LongestCause is what that write waited for.
	LongestCause string
	ByCause      map[string]time.Duration // "memtables", "l0files", "debt", "log", "ingest"
	Now          string                   // the cause in force, "" for none
	Rate         int64                    // bytes a second that writes are held to now, 0 for no limit
	Bound        time.Duration            // a write that waits longer fails with ErrStalled
	Advice       string
}

// ReadMetrics counts the work of point reads and scans.
type ReadMetrics struct {
	Gets                 int64
	TablesProbed         int64 // tables whose filter or index a get consulted
	FilterChecks         int64
	FilterNegatives      int64
	FilterFalsePositives int64
	BlockReads           int64 // from the device
	BlockBytes           int64
}

// SpaceMetrics says what the directory holds.
type SpaceMetrics struct {
	Tables, Blobs, Logs int64 // bytes
	Disk                int64 // their sum and the manifest
}

// CompactionMetrics counts background merges.
type CompactionMetrics struct {
	Flushes, Compactions, Moves int64
	Running                     int
	Debt                        int64 // bytes still to be rewritten until settled
	Duration                    time.Duration
}
