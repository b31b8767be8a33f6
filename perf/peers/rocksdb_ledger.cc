//go:build cgo && !norocksdb

#include "rocksdb_ledger.h"

#include <map>
#include <memory>
#include <mutex>

#include "rocksdb/listener.h"
#include "rocksdb/options.h"
#include "rocksdb/statistics.h"

// As RocksDB's own C binding (db/c.cc) defines it.
struct rocksdb_options_t {
  rocksdb::Options rep;
};

namespace {

using namespace rocksdb;

class Listener : public EventListener {
 public:
  // A job writes its tables between OnCompactionBegin and OnCompactionCompleted; what a table was
  // written for is known by its job.
  void OnCompactionBegin(DB*, const CompactionJobInfo& job) override {
    std::lock_guard<std::mutex> lock(mu_);
    jobs_[job.job_id] = {job.output_level, static_cast<int>(job.compaction_reason)};
  }

  void OnCompactionCompleted(DB*, const CompactionJobInfo& job) override {
    std::lock_guard<std::mutex> lock(mu_);
    jobs_.erase(job.job_id);
  }

  void OnTableFileCreated(const TableFileCreationInfo& table) override {
    std::lock_guard<std::mutex> lock(mu_);
    if (table.reason == TableFileCreationReason::kFlush) {
      counts_.flush += table.file_size;
      return;
    }
    auto job = jobs_.find(table.job_id);
    if (table.reason != TableFileCreationReason::kCompaction || job == jobs_.end()) {
      counts_.other += table.file_size;
      return;
    }
    int level = job->second.level, reason = job->second.reason;
    if (level < 0 || level >= peers_levels) level = 0;
    if (reason < 0 || reason >= peers_reasons) reason = 0;
    counts_.compaction[level][reason] += table.file_size;
  }

  void OnBlobFileCreated(const BlobFileCreationInfo& blob) override {
    std::lock_guard<std::mutex> lock(mu_);
    counts_.blob += blob.total_blob_bytes;
  }

  void OnStallConditionsChanged(const WriteStallInfo& info) override {
    std::lock_guard<std::mutex> lock(mu_);
    if (info.condition.prev == WriteStallCondition::kNormal) counts_.stalls++;
  }

  peers_counts Counts() {
    std::lock_guard<std::mutex> lock(mu_);
    return counts_;
  }

 private:
  struct Job {
    int level;
    int reason;
  };
  std::mutex mu_;            // guards everything below
  std::map<int, Job> jobs_;  // running compactions
  peers_counts counts_ = {};
};

struct Ledger {
  std::shared_ptr<Listener> listener;
  std::shared_ptr<Statistics> statistics;
};

}  // namespace

void* peers_ledger_attach(void* options) {
  auto* ledger = new Ledger{std::make_shared<Listener>(), CreateDBStatistics()};
  ledger->statistics->set_stats_level(StatsLevel::kExceptHistogramOrTimers);
  Options& rep = static_cast<rocksdb_options_t*>(options)->rep;
  rep.listeners.push_back(ledger->listener);
  rep.statistics = ledger->statistics;
  return ledger;
}

void peers_ledger_read(void* p, peers_counts* out) {
  auto* ledger = static_cast<Ledger*>(p);
  *out = ledger->listener->Counts();
  auto ticker = [&](uint32_t t) { return ledger->statistics->getTickerCount(t); };
  out->wal = ticker(WAL_FILE_BYTES);
  out->stall_micros = ticker(STALL_MICROS);
  out->keys_read = ticker(NUMBER_KEYS_READ);
  out->filter_negatives = ticker(BLOOM_FILTER_USEFUL);
  out->filter_positives = ticker(BLOOM_FILTER_FULL_POSITIVE);
  out->filter_true_positives = ticker(BLOOM_FILTER_FULL_TRUE_POSITIVE);
  out->cache_hits = ticker(BLOCK_CACHE_HIT);
  out->cache_misses = ticker(BLOCK_CACHE_MISS);
  out->cache_bytes_read_in = ticker(BLOCK_CACHE_BYTES_WRITE);
}

void peers_ledger_free(void* p) { delete static_cast<Ledger*>(p); }
