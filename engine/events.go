package engine

import "time"

// Events holds callbacks about background work. Any may be nil. They are called by the
// goroutines that do the work, or that wait for it: a slow one delays them, and one that calls a
// method of the database which writes, flushes, compacts or closes waits for itself.
type Events struct {
	// Flushed: a memtable became a table.
	Flushed func(FlushInfo)
	// Compacted: tables were merged, or one was moved down a level without rewriting.
	Compacted func(CompactionInfo)
	// Ingested: tables from outside became part of the database.
	Ingested func(IngestInfo)
	// Stalled: writes are being slowed or stopped; called when that begins and, with Ended,
	// when it is over.
	Stalled func(StallInfo)
	// BackgroundError: background work failed and will be tried again where that can help.
	BackgroundError func(error)
}

// FlushInfo describes one flush.
type FlushInfo struct {
	Table    uint64 // file number, 0 when nothing survived
	Bytes    int64  // size of the table
	Entries  uint64
	Duration time.Duration
}

// CompactionInfo describes one compaction.
type CompactionInfo struct {
	Reason       string // "l0files", "size", "manual", ...
	FromLevel    int
	ToLevel      int
	InputTables  int
	OutputTables int
	BytesRead    int64
	BytesWritten int64 // 0 for a move
	BlocksReused int   // data blocks written as they were stored, without compressing them again
	Start        time.Time
	Duration     time.Duration
}

// IngestInfo describes one call of Ingest.
type IngestInfo struct {
	Tables   int
	Linked   int   // of these, those that share their bytes with the given files
	Bytes    int64 // sizes of the tables
	Duration time.Duration
}

// StallInfo describes a time in which writes were slowed.
type StallInfo struct {
	Reason string // "memtables", "l0files", "debt", "ingest"
	Ended  bool
	Waited time.Duration // when Ended
}
