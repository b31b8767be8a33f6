// Package peers lets package perf measure other storage engines, Pebble, Badger and RocksDB, with
// the same workloads and the same report as cambium, and proves that RocksDB's own library reads
// what cambium writes, and the other way round.
//
//	open, err := peers.Engines().Find("pebble")
//	bench := perf.Bench{Open: open, Config: cfg}
//	run, err := bench.Run(ctx, dir, workloads)
//
// It is a module of its own, so that none of these engines becomes a dependency of cambium. Its
// command is kvbench-peers. RocksDB is linked from the system (Debian: librocksdb-dev, g++); without
// cgo, or with the build tag norocksdb, the package has Pebble and Badger only.
//
// # What is made equal
//
// Every engine gets the same memory budget, memtable size, class of compression, bits a key in its
// filters, and the sync policy that gives the same guarantee. Of the budget memtables get what is
// customary with the peer: up to four of them. Cambium keeps more where they are small and flushes
// several together; an engine named -same-memory gets as much for its memtables and flushes as
// much at once. What cannot be made equal is in Fairness, a table that reports print. Everything
// else is the peer's own default.
//
// # Bytes written
//
// Rows of a peer's ledger come from its own counters. By how much the kernel's count differs is a
// row of its own, so that the sum is what the device got: pages of the log that a sync left half
// full and the next wrote again, manifests, less the pages of recycled logs that were overwritten
// before they left the page cache; for Badger everything but compactions.
//
// # Concurrency
//
// The engines opened here keep perf.Engine's promise: any number of goroutines.
package peers
