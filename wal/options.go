package wal

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/cambiumdb/cambium/internal/vfs"
)

// Policy is what Commit promises.
type Policy uint8

const (
	// PerWrite: when Commit returns nil the record is on the device.
	PerWrite Policy = iota
	// PerSecond: a crash of the process or the machine loses at most the last second of
	// committed records. Commit waits only while the oldest of these is older than that.
	PerSecond
	// None: no Commit waits for the device. A crash of the process loses at most the last
	// mebibyte or the last second, whichever is more, or the last 4 MiB where the sync of a sealed
	// segment takes longer; a power cut what the device had not got.
	None
)

// String returns the policy's name.
func (p Policy) String() string {
	switch p {
	case PerWrite:
		return "per-write"
	case PerSecond:
		return "per-second"
	case None:
		return "none"
	}
	return fmt.Sprintf("Policy(%d)", uint8(p))
}

// Position is a place in the log: behind the first Records records of a segment. Positions order by
// segment, then by records.
type Position struct {
	Segment uint64
	Records int64
}

// After reports whether p is behind q.
func (p Position) After(q Position) bool {
	return p.Segment > q.Segment || p.Segment == q.Segment && p.Records > q.Records
}

// Options configures a Log. FS, Dir, FileName and Filler are required.
type Options struct {
	FS  vfs.FS
	Dir string
	// FileName gives a segment's base name in Dir.
	FileName func(num uint64) string

	// SegmentBytes is what a segment is expected to hold; 0 is 64 MiB. It is preallocated as it
	// fills: first 1 MiB, then as much again as there is, at most 8 MiB at a time, and no more than
	// this unless the segment grows beyond it.
	SegmentBytes int64
	// MaxRecycled is how many released segments are kept for new ones; 0 removes them at once.
	// Each costs its size on disk and spares a new segment the extra device writes that make
	// blocks ready for cheap syncs; so only segments that a Commit waited for a sync of are kept.
	MaxRecycled int

	// Filler returns a record of exactly size bytes, at least MinFiller, that readers skip. last
	// holds the first 64 bytes of the last record appended, and syncedTo is the offset below
	// which the segment is on the device. It is called with the log's lock held.
	Filler    func(size int, last []byte, syncedTo int64) []byte
	MinFiller int

	// Compress makes the records, of at most MaxRecord bytes, zstd frames, as RocksDB's wal_compression does. What is appended
	// with PerWrite is framed, not compressed: a page is the least that is written, and somebody waits.
	Compress bool
	// Merge appends to dst, a record appended before, the one that came next, and returns it; ok is
	// false where they cannot be one record. What it returns is at most as long as both. nil is never.
	Merge func(dst, rec []byte) (merged []byte, ok bool)

	// OnWrite hears of the bytes of each write given to the device, padding included. Calls
	// come one at a time.
	OnWrite func(bytes int64)
	// OnFail is called once, in a goroutine of its own, when the log has failed: nobody may be
	// waiting for what the background goroutine writes.
	OnFail func()
	// Logger takes rare messages; nil is silence.
	Logger *slog.Logger
	// Now is the clock by which PerSecond and None measure ages; nil is time.Now.
	Now func() time.Time
}

// Metrics counts since Create.
type Metrics struct {
	Records     uint64 // appended, fillers not included
	RecordBytes uint64 // their lengths, without framing
	Bytes       uint64 // given to the device: records, frames, padding, zeros written ahead
	FillerBytes uint64 // of these, fillers with their frames
	ZeroBytes   uint64 // of these, zeros written ahead of the log
	Writes      uint64 // calls of WriteAt
	Syncs       uint64 // calls of Sync

	Groups         uint64 // syncs that at least one Commit waited for
	GroupedCommits uint64 // these Commits
	MaxGroup       uint64 // the most that one sync served

	Segments uint64 // files begun
	Recycled uint64 // of these, in a former segment's file
	Stalls   uint64 // Appends that waited since the backlog was full
	// StallTime is how long they waited in all, LongestStall the longest of them.
	StallTime, LongestStall time.Duration
	Backlog                 int64 // bytes of records that are not whole in the file, now
}
