// Package peers measures other storage engines with package perf's workloads and proves that
// RocksDB's own library reads what cambium writes, and the other way round.
package peers
