// Package sstable writes and reads immutable sorted tables in RocksDB's block-based format.
//
//	w := sstable.NewWriter(vfs.NewSequentialWriter(f, vfs.WriterOptions{}), sstable.WriterOptions{
//		Compression: block.Zstd, BitsPerKey: 10,
//	})
//	w.Add(ikey.Make([]byte("k"), 7, ikey.KindSet), []byte("v"))
//	info, err := w.Finish()                      // durable but for its name
//
//	r, err := sstable.Open(f, sstable.ReaderOptions{Cache: c, FileNum: 12})
//	v, ok, err := r.Get([]byte("k"), ikey.MaxSeq)
//	defer v.Release()                            // v.Bytes lies in a pinned block
//
// A Writer belongs to one goroutine. A Reader may be used by any number; each iterator belongs
// to one.
//
// # Bytes
//
// A table is a run of blocks (package block), each at its own offset, then a footer:
//
//	data blocks   entries: encoded internal key -> value
//	filter        bloom filter over user keys
//	index         separator -> handle of a data block
//	range_del     start‖(seq, 0x0F) -> end, where there are any
//	properties    name -> value: Properties
//	metaindex     name -> handle of filter, range_del, properties, dictionary
//	footer        checksum type, handles of metaindex and index, version, magic
//
// The Writer makes format version 5 with CRC32C checksums, which every RocksDB from 6.6 on
// reads. The Reader takes versions 2 to 6, all checksum types, all compressions that RocksDB
// writes by default, one-level and partitioned indexes with or without first keys, and the
// built-in bloom filters; a filter of another kind is not asked. Any other version or a
// foreign comparator is an UnsupportedError; bytes that break the format are a corrupt.Error;
// an error of the file is neither. Source of the format: RocksDB, table/format.cc and
// table/block_based.
package sstable
