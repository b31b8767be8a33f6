//go:build cgo && !norocksdb

package peers

/*
#cgo CXXFLAGS: -std=c++17 -O2
#cgo LDFLAGS: -lrocksdb -lstdc++
#include "rocksdb_ledger.h"
*/
import "C"

import (
	"time"
	"unsafe"

	"github.com/linxGnu/grocksdb"

	"github.com/cambiumdb/cambium/perf"
)

// rocksLedger counts what RocksDB writes, by cause and level.
type rocksLedger struct{ c unsafe.Pointer }

// attachLedger makes databases opened with opts report to a new ledger.
func attachLedger(opts *grocksdb.Options) rocksLedger {
	// The binding keeps RocksDB's rocksdb_options_t in its first field and has no accessor.
	native := *(*unsafe.Pointer)(unsafe.Pointer(opts))
	return rocksLedger{C.peers_ledger_attach(native)}
}

func (l rocksLedger) free() { C.peers_ledger_free(l.c) }

// rocksReasons are the names of RocksDB's CompactionReason values that its own choices give.
var rocksReasons = map[int]string{
	1: "l0files", 2: "size", 3: "space amplification", 4: "size ratio", 5: "sorted runs",
	9: "manual", 10: "marked", 11: "bottommost", 12: "ttl", 15: "periodic", 17: "blob garbage",
}

// stats returns all but the levels and the debt.
func (l rocksLedger) stats() perf.Stats {
	var c C.peers_counts
	C.peers_ledger_read(l.c, &c)
	var s perf.Stats
	add := func(cause string, level int, reason string, bytes C.uint64_t) {
		if bytes > 0 {
			s.Writes = append(s.Writes, perf.WriteRow{Cause: cause, Level: level, Reason: reason, Bytes: int64(bytes)})
		}
	}
	add("wal", -1, "", c.wal)
	add("flush", 0, "", c.flush)
	add("flush", 0, "recovery", c.other)
	for level := range c.compaction {
		for reason, bytes := range c.compaction[level] {
			add("compaction", level, rocksReasons[reason], bytes)
		}
	}
	add("blob", -1, "", c.blob)
	s.Stalls = perf.StallStats{Count: int64(c.stalls), Total: time.Duration(c.stall_micros) * time.Microsecond}
	if s.Stalls.Total > 0 {
		s.Stalls.ByCause = map[string]time.Duration{"write controller": s.Stalls.Total}
	}
	checks := int64(c.filter_negatives + c.filter_positives)
	s.Reads = perf.ReadStats{
		Gets: int64(c.keys_read), TablesProbed: checks,
		FilterChecks: checks, FilterNegatives: int64(c.filter_negatives),
		FilterFalsePositives: int64(c.filter_positives - c.filter_true_positives),
		BlockReads:           int64(c.cache_misses), BlockBytes: int64(c.cache_bytes_read_in),
		CacheHits: int64(c.cache_hits), CacheMisses: int64(c.cache_misses),
	}
	return s
}
