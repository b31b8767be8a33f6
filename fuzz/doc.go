// Package fuzz holds the fuzz targets of every decoder that meets bytes from a disk: tables and
// their blocks, index, filter and properties, log records, batches, manifest edits, blob files
// and entities.
//
//	go test ./fuzz                                        # the seeds
//	go test -run '^$' -fuzz '^FuzzTable$' -fuzzminimizetime 10x ./fuzz
//
// Without -fuzzminimizetime the tool spends up to a minute on shortening each input that reaches
// new code, which for files of some kilobytes is nearly all of the time.
//
// Each target has two parts. The first gives the bytes to the decoder as they are and, where
// checksums would stop it at once, with checksums put right or switched off; whatever the
// bytes, there is no panic, the error is a typed one, and the memory allocated is bounded by the
// size of the input (see bounded). The second makes something valid from the bytes with our own
// writer and wants it back.
//
// Seeds come from our own writers, and from the files that RocksDB wrote in
// ../shared/data/rocksdb-7.8 where that directory exists.
package fuzz
