package perf

import (
	"context"
	"fmt"
	"sort"
	"strings"
	"time"
)

// Engine is what a storage engine must offer to be measured. All methods may be called by many
// goroutines at once. Slices passed in belong to the caller again when the call returns; slices
// passed to callbacks are valid during the callback only.
type Engine interface {
	// Put stores value under key with the durability of Config.Sync.
	Put(key, value []byte) error
	// Delete removes key; an absent key is no error.
	Delete(key []byte) error
	// Apply performs all operations atomically, with the durability of Config.Sync.
	Apply(ops []Op) error
	// Get calls use with key's value and reports whether there was one.
	Get(key []byte, use func(value []byte)) (found bool, err error)
	// Scan makes a new iterator, seeks to the first key >= start and visits at most limit
	// entries in order; it returns how many there were.
	Scan(start []byte, limit int, visit func(key, value []byte)) (n int, err error)
	// Settle writes everything in memory to tables and waits until background work has nothing
	// left to do.
	Settle(ctx context.Context) error
	// Stats returns the engine's own counters. What it does not know stays zero.
	Stats() Stats
	// Close releases everything; the directory can be opened again.
	Close() error
}

// Teller is an Engine that tells of its background work.
type Teller interface {
	// TakeJobs returns the flushes and compactions that ended since the last call.
	TakeJobs() []EndedJob
}

// Expirer is an Engine whose values may have a time to live.
type Expirer interface {
	// PutTTL is Put with a value that is absent from ttl after the write on.
	PutTTL(key, value []byte, ttl time.Duration) error
}

// Pinner is an Engine with snapshots.
type Pinner interface {
	// Pin fixes the present state until the Pinned is closed.
	Pin() Pinned
}

// Pinned is a state of an engine that does not change.
type Pinned interface {
	// Get is Engine.Get as of the pinned state.
	Get(key []byte, use func(value []byte)) (found bool, err error)
	Close() error
}

// EndedJob is a Job and when it began; At is not set.
type EndedJob struct {
	Job
	Began time.Time
}

// Op is one operation of Engine.Apply.
type Op struct {
	Key    []byte
	Value  []byte
	Delete bool
}

// Opener opens or creates an engine in dir.
type Opener func(dir string, cfg Config) (Engine, error)

// Engines maps the names that --engine takes to openers.
type Engines map[string]Opener

// Find returns the opener called name, or a usage error that lists the names there are.
func (e Engines) Find(name string) (Opener, error) {
	if open, ok := e[name]; ok {
		return open, nil
	}
	names := make([]string, 0, len(e))
	for n := range e {
		names = append(names, n)
	}
	sort.Strings(names)
	return nil, Usagef("--engine %q is not built into this kvbench: it has %s", name, strings.Join(names, ", "))
}

// Stats are an engine's own counters since it was opened. Bytes are bytes on the device.
type Stats struct {
	Writes []WriteRow   // every byte handed to the device, by cause
	Levels []LevelStats // the tree now
	Stalls StallStats
	Reads  ReadStats
	Debt   int64 // bytes that background work still has to rewrite
	// FlushBytes is the memory that a flush takes together while writes keep coming.
	FlushBytes int64
}

// WriteRow counts the bytes written for one cause.
type WriteRow struct {
	Cause  string `json:"cause"`            // "wal", "flush", "ingest", "compaction", "blob", "manifest"
	Level  int    `json:"level"`            // the level written to; -1 where there is none
	Reason string `json:"reason,omitempty"` // of compactions: "l0files", "size", ...
	Bytes  int64  `json:"bytes"`
}

// LevelStats describes one level of a tree.
type LevelStats struct {
	Level  int   `json:"level"`
	Tables int   `json:"tables"`
	Bytes  int64 `json:"bytes"`
	Runs   int   `json:"runs"` // sorted runs a get may have to look at
}

// StallStats says how long writes were held back.
type StallStats struct {
	Count   int64                    `json:"count"`
	Total   time.Duration            `json:"total_ns"`
	Longest time.Duration            `json:"longest_ns"` // since the engine was opened
	Worst   string                   `json:"longest_cause,omitempty"`
	ByCause map[string]time.Duration `json:"by_cause_ns,omitempty"`
}

// ReadStats counts the work of reads.
type ReadStats struct {
	Gets                 int64 `json:"gets"`
	TablesProbed         int64 `json:"tables_probed"` // tables whose filter or index a get consulted
	FilterChecks         int64 `json:"filter_checks"`
	FilterNegatives      int64 `json:"filter_negatives"`
	FilterFalsePositives int64 `json:"filter_false_positives"`
	BlockReads           int64 `json:"block_reads"` // from the device
	BlockBytes           int64 `json:"block_bytes"`
	CacheHits            int64 `json:"cache_hits"`
	CacheMisses          int64 `json:"cache_misses"`
}

// Runs is the number of sorted runs in the tree.
func (s Stats) Runs() int {
	var n int
	for _, l := range s.Levels {
		n += l.Runs
	}
	return n
}

// Since returns what the counters gained since earlier; Levels, Debt, FlushBytes and the
// longest stall are those of s.
func (s Stats) Since(earlier Stats) Stats {
	d := s
	d.Writes = subtractRows(s.Writes, earlier.Writes)
	d.Stalls.Count -= earlier.Stalls.Count
	d.Stalls.Total -= earlier.Stalls.Total
	d.Stalls.ByCause = nil
	for cause, t := range s.Stalls.ByCause {
		if t -= earlier.Stalls.ByCause[cause]; t > 0 {
			if d.Stalls.ByCause == nil {
				d.Stalls.ByCause = map[string]time.Duration{}
			}
			d.Stalls.ByCause[cause] = t
		}
	}
	if d.Stalls.Count == 0 && d.Stalls.Total == 0 {
		d.Stalls.Longest, d.Stalls.Worst = 0, ""
	}
	r, e := &d.Reads, earlier.Reads
	r.Gets -= e.Gets
	r.TablesProbed -= e.TablesProbed
	r.FilterChecks -= e.FilterChecks
	r.FilterNegatives -= e.FilterNegatives
	r.FilterFalsePositives -= e.FilterFalsePositives
	r.BlockReads -= e.BlockReads
	r.BlockBytes -= e.BlockBytes
	r.CacheHits -= e.CacheHits
	r.CacheMisses -= e.CacheMisses
	return d
}

func subtractRows(now, earlier []WriteRow) []WriteRow {
	was := map[WriteRow]int64{}
	for _, r := range earlier {
		n := r.Bytes
		r.Bytes = 0
		was[r] += n
	}
	var out []WriteRow
	for _, r := range now {
		id := r
		id.Bytes = 0
		if r.Bytes -= was[id]; r.Bytes != 0 {
			out = append(out, r)
		}
	}
	return out
}

// UsageError is a mistake in flags or arguments; commands exit with 2.
type UsageError struct{ msg string }

// Error says which flag or argument and what it may be.
func (e *UsageError) Error() string { return e.msg }

// Usagef makes a UsageError.
func Usagef(format string, args ...any) error {
	return &UsageError{msg: fmt.Sprintf(format, args...)}
}

// CheckError is a measurement that ran but whose own checks failed: a wrong value, a missing
// key, or a ledger that disagrees with the kernel; commands exit with 1.
type CheckError struct{ Problems []string }

// Error lists the problems, one a line.
func (e *CheckError) Error() string { return strings.Join(e.Problems, "\n") }
