package engine

import (
	"sort"
	"sync"
	"time"
)

// Metrics is a picture of the database at one moment; counters run since Open. Bytes are bytes
// on the device unless said otherwise.
type Metrics struct {
	Levels     []LevelMetrics `json:"levels"`
	Memtables  MemtableMetrics
	Cache      CacheMetrics
	Log        LogMetrics
	Ledger     Ledger
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
	Longest time.Duration
	ByCause map[string]time.Duration // "memtables", "l0files", "debt", "log"
	Now     string                   // the cause in force, "" for none
	Advice  string
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

// Ledger counts every byte that the database handed to the device, by cause.
type Ledger struct {
	UserBytes int64       // accepted key + value bytes
	Rows      []LedgerRow // by cause, level and reason
}

// LedgerRow is one cause of writing.
type LedgerRow struct {
	Cause  string // "wal", "flush", "compaction", "blob", "manifest"
	Level  int    // the level written to; -1 where there is none
	Reason string // for compactions: "l0files", "size", "manual", ...
	Bytes  int64
}

// Total is the sum over all rows.
func (l Ledger) Total() int64 {
	var n int64
	for _, r := range l.Rows {
		n += r.Bytes
	}
	return n
}

// Cause is the sum over the rows of one cause.
func (l Ledger) Cause(cause string) int64 {
	var n int64
	for _, r := range l.Rows {
		if r.Cause == cause {
			n += r.Bytes
		}
	}
	return n
}

// WriteAmplification is Total / UserBytes; 0 before the first write.
func (l Ledger) WriteAmplification() float64 {
	if l.UserBytes == 0 {
		return 0
	}
	return float64(l.Total()) / float64(l.UserBytes)
}

// Sub returns what was added since earlier, a former value of the same ledger.
func (l Ledger) Sub(earlier Ledger) Ledger {
	type key struct {
		cause, reason string
		level         int
	}
	was := map[key]int64{}
	for _, r := range earlier.Rows {
		was[key{r.Cause, r.Reason, r.Level}] += r.Bytes
	}
	d := Ledger{UserBytes: l.UserBytes - earlier.UserBytes}
	for _, r := range l.Rows {
		if r.Bytes -= was[key{r.Cause, r.Reason, r.Level}]; r.Bytes != 0 {
			d.Rows = append(d.Rows, r)
		}
	}
	return d
}

// ledger collects the counts. Every file writer of the database reports to it.
type ledger struct {
	mu   sync.Mutex // guards the fields below
	user int64
	rows map[LedgerRow]int64 // keyed with Bytes = 0
}

func newLedger() *ledger { return &ledger{rows: map[LedgerRow]int64{}} }

func (l *ledger) add(cause string, level int, reason string, n int64) {
	l.mu.Lock()
	l.rows[LedgerRow{Cause: cause, Level: level, Reason: reason}] += n
	l.mu.Unlock()
}

func (l *ledger) addUser(n int64) {
	l.mu.Lock()
	l.user += n
	l.mu.Unlock()
}

func (l *ledger) snapshot() Ledger {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := Ledger{UserBytes: l.user}
	for r, n := range l.rows {
		r.Bytes = n
		out.Rows = append(out.Rows, r)
	}
	sort.Slice(out.Rows, func(i, j int) bool {
		a, b := out.Rows[i], out.Rows[j]
		if a.Cause != b.Cause {
			return causeOrder(a.Cause) < causeOrder(b.Cause)
		}
		if a.Level != b.Level {
			return a.Level < b.Level
		}
		return a.Reason < b.Reason
	})
	return out
}

func causeOrder(cause string) int {
	for i, c := range []string{"wal", "flush", "compaction", "blob", "manifest"} {
		if c == cause {
			return i
		}
	}
	return 99
}
