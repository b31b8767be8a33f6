// Package perf measures storage engines: workloads that are the same for every engine, open-loop
// latency, and where each written byte went. cmd/kvbench is its command line.
//
//	cfg := perf.DefaultConfig()
//	cfg.Keys, cfg.ValueSize = 1_000_000, 1000
//	bench := perf.Bench{Open: perf.OpenCambium, Config: cfg}
//	run, err := bench.Run(ctx, dir, []string{"fillrandom", "readrandom"})
//	perf.NewText(os.Stdout).Run(run)
//
// # What is the same for everyone
//
// Operation i of a workload is a pure function of (workload, seed, i): which key, what is done
// with it and, for a write, every byte of the value. Threads only decide who performs it. So
// two engines, or one engine at two settings, meet the identical stream; StreamHash proves it.
//
// An engine comes in through the Engine interface; perf/peers implements it for others in a
// module of its own. The bytes accepted from the caller (U) and the space of the directory are
// counted here, not by the engine, and the kernel's count of written bytes stands beside the
// engine's own ledger.
//
// # Keys and values
//
// The key with index i is the decimal number 2i, zero-padded to the key size; odd numbers are
// the absent keys between them. The records of YCSB have hashed keys instead, in hexadecimal (see
// AppendHashedKey), and what is drawn from them follows the distributions of YCSB's own source. A value of 16 bytes or more carries its key's tag (8 bytes)
// and its version (8 bytes, little-endian), and the rest follows from both, so that a reader
// can tell a wrong value from a right one without remembering anything: see Values.
//
// # Concurrency
//
// A Bench runs one sequence at a time. An Engine must allow its methods to be called by many
// goroutines. Progress may be updated by many. Everything else belongs to one goroutine.
//
// # Results
//
// Report is written as JSON with "schema": "cambium.kvbench/1"; fields are only added within
// a schema number. Durations are nanoseconds, sizes are bytes.
package perf
