// Package engine is an ordered, durable, crash-safe key-value store in one directory, in
// RocksDB's own format: RocksDB's tools open what it writes, and it opens what RocksDB wrote.
//
//	db, err := engine.Open("data", nil)
//	if err != nil { ... }
//	defer db.Close()
//	err = db.Put([]byte("user:1"), []byte("Ada"), nil)
//	v, err := db.Get([]byte("user:1"))
//	for k, v := range db.All(engine.Prefix([]byte("user:"))) { ... }
//
// Keys are 1 byte to 1 KiB, values up to 10 MiB (Options raises both), arbitrary bytes in
// bytewise order. A DB may be used by any number of goroutines. An Iterator belongs to one
// goroutine; a Batch is built by one goroutine and may be applied once.
//
// # Durability
//
// See the Sync constants. Whatever the policy, a database reopened after a crash holds a
// prefix of the commit order. A write that returned an error may reappear after a crash that
// happens before the next successful write; it never appears otherwise.
//
// # Files
//
// The directory holds CURRENT, MANIFEST-*, *.log, *.sst and *.blob as RocksDB 7.8 writes them, and
// CAMBIUM-LEDGER, which RocksDB leaves alone: see Lifetime.
// One process has it open for writing; any number may read it with OpenReadOnly while no
// writer has it.
package engine
