//go:build cgo && !norocksdb

// What RocksDB's C API does not tell: bytes written by cause and level, and single counters.
#ifndef CAMBIUM_PEERS_ROCKSDB_LEDGER_H
#define CAMBIUM_PEERS_ROCKSDB_LEDGER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { peers_levels = 7, peers_reasons = 32 };

typedef struct {
  uint64_t flush;                                   // bytes of tables, written from memtables
  uint64_t other;                                   // bytes of tables, recovered or ingested
  uint64_t compaction[peers_levels][peers_reasons]; // bytes of tables, by output level and CompactionReason
  uint64_t blob;                                    // bytes of blob files
  uint64_t wal;                                     // bytes of logs
  uint64_t stalls;                                  // how often writes began to be slowed or stopped
  uint64_t stall_micros;                            // waits of all writers, summed
  uint64_t keys_read;
  uint64_t filter_negatives;
  uint64_t filter_positives;
  uint64_t filter_true_positives;
  uint64_t cache_hits;
  uint64_t cache_misses;
  uint64_t cache_bytes_read_in; // into the cache on misses
} peers_counts;

// peers_ledger_attach makes every database that is opened with options (a rocksdb_options_t)
// report to the ledger returned. Timers and histograms stay off: counters cost next to nothing.
void *peers_ledger_attach(void *options);

// peers_ledger_read copies the counters. Any thread may call it.
void peers_ledger_read(void *ledger, peers_counts *out);

// peers_ledger_free is called after the databases were closed.
void peers_ledger_free(void *ledger);

#ifdef __cplusplus
}
#endif

#endif
