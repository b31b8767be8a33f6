package engine

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/cambiumdb/cambium/compaction"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable/block"
	"github.com/cambiumdb/cambium/wal"
)

// Sync says when a write may be reported as done. In every mode recovery after a crash yields
// a prefix of the commit order: never a hole, never part of a batch.
type Sync uint8

const (
	// SyncDefault is the database's own setting in WriteOptions, and SyncPerWrite in Options.
	SyncDefault Sync = iota
	// SyncPerWrite: a write that returned is on the device. A power cut loses nothing that was
	// acknowledged. Writers that wait together share one sync.
	SyncPerWrite
	// SyncPerSecond: at most one second of acknowledged writes is lost by a crash of the
	// process or the machine. A write waits while the oldest unsynced one is older than that.
	SyncPerSecond
	// SyncNone: no write waits for the device. The log is still written in commit order, at the
	// latest after 1 MiB or one second: a killed process loses at most that, a power cut what
	// the device had not received.
	SyncNone
)

// String returns the name that kvbench's --sync takes.
func (s Sync) String() string {
	switch s {
	case SyncDefault:
		return "default"
	case SyncPerWrite:
		return "per-write"
	case SyncPerSecond:
		return "per-second"
	case SyncNone:
		return "none"
	}
	return fmt.Sprintf("Sync(%d)", uint8(s))
}

func (s Sync) policy() wal.Policy {
	switch s {
	case SyncPerSecond:
		return wal.PerSecond
	case SyncNone:
		return wal.None
	}
	return wal.PerWrite
}

// Compaction names a compaction policy. A database may be opened with another one than before:
// compaction then brings the tree into the new shape as it goes.
type Compaction uint8

const (
	// Leveled keeps one sorted run a level, each up to 16 times the one above: the fewest runs
	// a read must look at and little space, for more bytes rewritten.
	Leveled Compaction = iota
	// Tiered lets up to about 14 sorted runs pile up, and up to 0.6 times the last level above
	// it: the fewest bytes rewritten, for more runs to read and up to twice the space.
	Tiered
	// LazyLeveled is tiered above a last level that holds nearly everything: the space of
	// Leveled for fewer bytes rewritten, with up to about 8 sorted runs to read.
	LazyLeveled
)

// String returns the name that kvbench's --compaction takes.
func (c Compaction) String() string {
	switch c {
	case Leveled:
		return "leveled"
	case Tiered:
		return "tiered"
	case LazyLeveled:
		return "lazy"
	}
	return fmt.Sprintf("Compaction(%d)", uint8(c))
}

// Compression names how table blocks are compressed.
type Compression uint8

const (
	// DefaultCompression is snappy for the levels that are rewritten often and zstd for the
	// last two, where most of the data lies.
	DefaultCompression Compression = iota
	// NoCompression stores blocks as they are.
	NoCompression
	// Snappy on every level.
	Snappy
	// Zstd on every level.
	Zstd
)

// String returns the name that kvbench's --compression takes.
func (c Compression) String() string {
	switch c {
	case DefaultCompression:
		return "default"
	case NoCompression:
		return "none"
	case Snappy:
		return "snappy"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("Compression(%d)", uint8(c))
}

// Clock tells the time of expiries. Only its Now is used; it may jump.
type Clock interface{ Now() time.Time }

// Options configures a database. The zero value is right for most programs and is what the
// benchmarks run.
type Options struct {
	// Sync is the policy of writes that do not choose one. Default SyncPerWrite. Cheaper
	// policies trade the last moments before a crash for speed: see the constants.
	Sync Sync
	// ErrorIfExists makes Open fail on a directory that already holds a database.
	ErrorIfExists bool
	// Compaction is the policy by which tables are merged. Default Leveled.
	Compaction Compaction
	// Compression of table blocks, blob files and, with DefaultCompression and Zstd, the log. Default
	// DefaultCompression. NoCompression costs space and device bandwidth, Zstd on all levels costs CPU.
	Compression Compression

	// MemoryBudget, in bytes, is the one number that memtables, block cache, table indexes and
	// filters, iterators and compaction buffers live under. Default: a quarter of what the
	// cgroup or the machine allows, at most 1 GiB. At least 8 MiB. Raising it costs that memory.
	MemoryBudget int64
	// MemtableSize, in bytes, is when a memtable is sealed. Default 64 MiB, at most a quarter of
	// MemoryBudget. Up to 16 sealed ones, while they hold at most 128 MiB and the budget has
	// room, are written as one table. Larger means fewer bytes rewritten and a longer replay
	// after a crash.
	MemtableSize int64
	// MaxKeyBytes bounds the keys that may be written. Default 1 KiB, at most 64 KiB. Long keys
	// make indexes and filters large.
	MaxKeyBytes int
	// MaxValueBytes bounds the values that may be written. Default 10 MiB, at most 64 MiB. A
	// value is held in memory several times while it travels.
	MaxValueBytes int
	// ValueThreshold, in bytes, is the length from which a value without TTL is written to a blob
	// file instead of a table. Default 4 KiB; negative: no value is. Merges of tables then never
	// copy it, which saves most of what a large value would be rewritten; the price is a second
	// read for it in gets and scans, and for values below 16 KiB, or on a file system without
	// holes, up to 1.5x its space while overwritten ones wait for their blob files to be emptied.
	// It holds for what is written from now on.
	ValueThreshold int64
	// CompactionThreads is how many workers may compact at once, at plans of their own or at parts of
	// a large one. Default half the CPUs, at
	// least 1 and at most 4. More take CPU and device time from the foreground.
	CompactionThreads int
	// CompactionRate, in bytes a second, bounds what compactions write together; flushes are not
	// counted. Default 0: it follows the load, without a bound while little is written, else what
	// keeps debt falling. Less leaves the device to reads, and holds writes back once it is less
	// than what they cost; more than the device can do is no bound.
	CompactionRate int64
	// MaxStall is how long a write waits at most while flushes and compaction do not keep up, as
	// when the device hangs; it then fails with ErrStalled. Default one minute. Less tells callers
	// sooner and fails writes that would have gone through; more suits a bulk load.
	MaxStall time.Duration

	// FS is where the files are. Default: the operating system's, with direct I/O.
	FS vfs.FS
	// Logger receives what an operator wants to know. Default: nothing is logged.
	Logger *slog.Logger
	// Events receives callbacks about background work. Default: none.
	Events *Events
	// Clock decides when values expire. Default: the system's.
	Clock Clock
	// Filter may drop or shrink entries during compaction: the one hook for a layer above.
	Filter compaction.Filter

	tuning tuning
}

// WriteOptions modifies one write. nil means: the database's sync policy, no expiry.
type WriteOptions struct {
	// Sync overrides Options.Sync for this write.
	Sync Sync
	// TTL, if positive, makes the value absent that long after the write. It applies to Put
	// and to CompareAndSwap's new value; a Batch carries TTLs by PutTTL. Resolution 1 ms.
	TTL time.Duration
}

// The limits of Options' fields.
const (
	DefaultMaxKeyBytes   = 1 << 10
	DefaultMaxValueBytes = 10 << 20
	LimitKeyBytes        = 64 << 10
	LimitValueBytes      = 64 << 20
	DefaultMemtableSize  = 64 << 20
	// DefaultValueThreshold is Options.ValueThreshold where that is 0.
	DefaultValueThreshold = 4 << 10
	MinMemoryBudget       = 8 << 20
	// DefaultMaxStall is Options.MaxStall where that is 0.
	DefaultMaxStall  = time.Minute
	maxDefaultBudget = 1 << 30
)

// withDefaults returns a copy of o (nil = zero) with every field set, or an error that names
// the first field out of range.
func (o *Options) withDefaults() (Options, error) {
	var r Options
	if o != nil {
		r = *o
	}
	if r.Sync == SyncDefault {
		r.Sync = SyncPerWrite
	}
	if r.Sync > SyncNone {
		return r, badOption("Sync", r.Sync, "one of the Sync constants")
	}
	if r.Compaction > LazyLeveled {
		return r, badOption("Compaction", r.Compaction, "one of the Compaction constants")
	}
	if r.Compression > Zstd {
		return r, badOption("Compression", r.Compression, "one of the Compression constants")
	}
	if r.MemoryBudget == 0 {
		r.MemoryBudget = min(maxDefaultBudget, max(MinMemoryBudget, availableMemory()/4))
	}
	if r.MemoryBudget < MinMemoryBudget {
		return r, badOption("MemoryBudget", r.MemoryBudget, fmt.Sprintf("at least %d bytes (8 MiB)", MinMemoryBudget))
	}
	if r.MemtableSize < 0 {
		return r, badOption("MemtableSize", r.MemtableSize, "0 for the default, or bytes")
	}
	if r.MemtableSize == 0 {
		r.MemtableSize = DefaultMemtableSize
	}
	r.MemtableSize = max(64<<10, min(r.MemtableSize, r.MemoryBudget/4))
	if r.MaxKeyBytes == 0 {
		r.MaxKeyBytes = DefaultMaxKeyBytes
	}
	if r.MaxKeyBytes < 1 || r.MaxKeyBytes > LimitKeyBytes {
		return r, badOption("MaxKeyBytes", r.MaxKeyBytes, fmt.Sprintf("1 to %d", LimitKeyBytes))
	}
	if r.MaxValueBytes == 0 {
		r.MaxValueBytes = DefaultMaxValueBytes
	}
	if r.MaxValueBytes < 1 || r.MaxValueBytes > LimitValueBytes {
		return r, badOption("MaxValueBytes", r.MaxValueBytes, fmt.Sprintf("1 to %d", LimitValueBytes))
	}
	if r.ValueThreshold == 0 {
		r.ValueThreshold = DefaultValueThreshold
	}
	if r.CompactionThreads == 0 {
		r.CompactionThreads = defaultCompactionThreads()
	}
	if r.CompactionThreads < 1 || r.CompactionThreads > 64 {
		return r, badOption("CompactionThreads", r.CompactionThreads, "1 to 64")
	}
	if r.CompactionRate < 0 {
		return r, badOption("CompactionRate", r.CompactionRate, "0 to follow the load, or bytes a second")
	}
	if r.MaxStall == 0 {
		r.MaxStall = DefaultMaxStall
	}
	if r.MaxStall < 0 {
		return r, badOption("MaxStall", r.MaxStall, "0 for the default, or a duration")
	}
	if r.Logger == nil {
		r.Logger = slog.New(slog.DiscardHandler)
	}
	if r.FS == nil {
		r.FS = vfs.OS(r.Logger)
	}
	if r.Events == nil {
		r.Events = &Events{}
	}
	if r.Clock == nil {
		r.Clock = systemClock{}
	}
	r.tuning = r.tuning.withDefaults()
	return r, nil
}

func badOption(name string, got any, want string) error {
	return fmt.Errorf("option %s is %v, want %s: %w", name, got, want, ErrInvalidArgument)
}

type systemClock struct{}

func (systemClock) Now() time.Time { return time.Now() }

// valueCompression returns the compression of blob files. A value goes there once, in the
// foreground of a flush, so the default is the fast one.
func (c Compression) valueCompression() block.Compression { return c.blockCompression(0, 0) }

// compressesLog reports whether the log is compressed: zstd is the one type that RocksDB reads there.
func (c Compression) compressesLog() bool { return c == DefaultCompression || c == Zstd }

// blockCompression returns the compression for tables written to level, where lastLevel is
// the deepest level that holds data.
func (c Compression) blockCompression(level, lastLevel int) block.Compression {
	switch c {
	case NoCompression:
		return block.None
	case Snappy:
		return block.Snappy
	case Zstd:
		return block.Zstd
	}
	if level >= 2 && level >= lastLevel-1 {
		return block.Zstd
	}
	return block.Snappy
}
