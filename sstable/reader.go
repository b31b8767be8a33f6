package sstable

import (
	"bytes"
	"fmt"
	"math"
	"sync/atomic"

	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/rangedel"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable/block"
)

// Counters counts what reading tables costs. One Counters may serve many readers.
type Counters struct {
	block.Counters
	FilterChecks         atomic.Uint64 // filters asked
	FilterNegatives      atomic.Uint64 // that said: certainly not here
	FilterFalsePositives atomic.Uint64 // that said maybe, and the key was not there
}

// ReaderOptions adjusts Open. The zero value reads a table by itself, without a cache.
type ReaderOptions struct {
	// Cache holds blocks of the table; FileNum names the table in it. No two tables may share
	// a number.
	Cache   *cache.Cache
	FileNum uint64
	// Name is how errors call the file; "" is its own name.
	Name string
	// Counters is where costs are counted; nil is nowhere.
	Counters *Counters
	// LargestSeq is the largest sequence number that the manifest gives for the table, 0 when
	// it is not known. An ingested table may carry its sequence number nowhere else.
	LargestSeq uint64
}

// Reader reads one table. All methods but Close may be called by several goroutines.
type Reader struct {
	src    *block.Source
	opts   ReaderOptions
	count  *Counters     // never nil
	quiet  *block.Source // src for compactions, whose reads Counters does not count
	foot   footer
	props  Properties
	meta   []MetaBlock
	global uint64 // sequence number + 1 of an ingested table; 0 = none

	index    *cache.Handle // pinned; the top of a partitioned index
	indexOff block.Origin
	format   block.IndexFormat

	filterBlock *cache.Handle // pinned; nil = none
	filterOff   block.Origin
	filter      filter
	partFilter  bool // filterBlock is an index of filter partitions

	dataEnd   int64 // data blocks lie below this offset
	rangeDels rangedel.List
}

// tailGuess is how much of a file of size bytes Open reads first: footer, properties, index and
// filter of a usual table.
func tailGuess(size int64) int { return int(min(8<<10+size/32, 512<<10, size)) }

// Open reads footer, properties, index, filter and range tombstones of the table in f, which
// it takes over, and keeps index and filter in memory until Close. After an error f is closed.
func Open(f vfs.File, opts ReaderOptions) (*Reader, error) {
	r := &Reader{opts: opts, count: opts.Counters}
	if r.count == nil {
		r.count = &Counters{}
	}
	if err := r.open(f); err != nil {
		r.release()
		_ = f.Close() // the first error is the one to report
		return nil, err
	}
	return r, nil
}

func (r *Reader) open(f vfs.File) error {
	size, err := f.Size()
	if err != nil {
		return err
	}
	r.src = block.NewSource(f, size)
	if r.opts.Name != "" {
		r.src.Label = r.opts.Name
	}
	r.src.Cache, r.src.FileNum, r.src.Counters = r.opts.Cache, r.opts.FileNum, &r.count.Counters
	if size < footerLen {
		return corrupt.Errorf(r.src.Label, 0, "%d bytes are no table", size)
	}
	var tail block.Readahead
	defer tail.Close()
	n := tailGuess(size)
	if err := tail.Load(r.src, size-int64(n), n); err != nil {
		return err
	}
	foot := tail.Bytes(size-footerLen, footerLen)
	if r.foot, err = decodeFooter(r.src.Label, foot, size-footerLen); err != nil {
		return err
	}
	r.src.Checksum, r.src.ContextBase = r.foot.checksum, r.foot.context
	if err := r.readMeta(&tail); err != nil {
		return err
	}
	if err := r.readProperties(&tail); err != nil {
		return err
	}
	if err := r.readRangeDels(&tail); err != nil {
		return err
	}
	if err := r.readDict(&tail); err != nil {
		return err
	}
	if err := r.readFilter(&tail); err != nil {
		return err
	}
	if err := r.readIndex(&tail); err != nil {
		return err
	}
	quiet := *r.src
	quiet.Counters = nil
	r.quiet = &quiet
	return nil
}

// readTail reads a meta block, from the tail where it lies there.
func (r *Reader) readTail(tail *block.Readahead, h block.Handle, p cache.Priority) (*cache.Handle, error) {
	o := block.ReadOptions{Priority: p, NoFill: p != cache.High}
	if tail.Holds(h) {
		o.Ahead = tail
	}
	return r.src.Read(h, o)
}

// MetaBlock is a block that the metaindex names.
type MetaBlock struct {
	Name   string
	Handle block.Handle
}

func (r *Reader) readMeta(tail *block.Readahead) error {
	b, err := r.readTail(tail, r.foot.metaindex, cache.Normal)
	if err != nil {
		return err
	}
	defer b.Release()
	origin := r.src.Origin(r.foot.metaindex)
	var it block.RawIter
	if err := it.Init(b.Bytes(), origin); err != nil {
		return err
	}
	r.dataEnd = int64(min(r.foot.metaindex.Offset, math.MaxInt64))
	for it.Next() {
		h, n := block.DecodeHandle(it.Value())
		if n == 0 {
			return origin.Errorf("metaindex: bad handle for %q", it.Key())
		}
		r.meta = append(r.meta, MetaBlock{Name: string(it.Key()), Handle: h})
		r.dataEnd = min(r.dataEnd, int64(min(h.Offset, math.MaxInt64)))
	}
	if err := it.Err(); err != nil {
		return err
	}
	if r.foot.version >= contextVersion {
		h, ok := r.findMeta(metaIndex)
		if !ok {
			return origin.Errorf("metaindex: no %s", metaIndex)
		}
		r.foot.index = h
	}
	r.dataEnd = min(r.dataEnd, int64(min(r.foot.index.Offset, math.MaxInt64)))
	return nil
}

func (r *Reader) findMeta(name string) (block.Handle, bool) {
	for _, m := range r.meta {
		if m.Name == name {
			return m.Handle, true
		}
	}
	return block.Handle{}, false
}

func (r *Reader) readProperties(tail *block.Readahead) error {
	h, ok := r.findMeta(metaProperties)
	if !ok {
		return corrupt.Errorf(r.src.Label, int64(r.foot.metaindex.Offset), "table has no properties")
	}
	var own block.Readahead
	defer own.Close()
	if !tail.Holds(h) {
		tail = &own
	}
	data, err := r.propertyBlock(tail, h)
	if err != nil {
		return err
	}
	if r.props, err = decodeProperties(data, r.src.Origin(h)); err != nil {
		return err
	}
	p := &r.props
	if p.Comparator != "" && p.Comparator != comparatorName {
		return &UnsupportedError{r.src.Label, "comparator " + p.Comparator}
	}
	if p.IndexType > 3 {
		return &UnsupportedError{r.src.Label, fmt.Sprintf("index type %d", p.IndexType)}
	}
	r.format = block.IndexFormat{
		UserKeys:   p.IndexKeyIsUserKey,
		DeltaValue: p.IndexValueIsDelta,
		FirstKey:   p.IndexType == indexFirstKey,
	}
	return r.applyGlobalSeq(r.src.Origin(h))
}

// propertyBlock reads the block of properties. RocksDB may write the sequence number of a table that
// it ingests over the 0 there and leave the checksum as it was (7.8 does so by default); then the
// block must be right with the 0.
func (r *Reader) propertyBlock(ra *block.Readahead, h block.Handle) ([]byte, error) {
	var scratch []byte
	data, err := r.src.ReadPrivate(h, ra, &scratch)
	if _, damaged := corrupt.As(err); !damaged {
		return bytes.Clone(data), err
	}
	altered, other := r.src.ReadAltered(h, ra, func(payload []byte) {
		var it block.RawIter
		if it.Init(payload, r.src.Origin(h)) != nil {
			return
		}
		for it.Next() {
			if string(it.Key()) == propGlobalSeq {
				clear(it.Value())
			}
		}
	})
	if other != nil {
		return nil, err
	}
	return altered, nil
}

// Index types that are read apart.
const (
	indexPartitioned = 2
	indexFirstKey    = 3
)

// applyGlobalSeq finds the sequence number of an ingested table (RocksDB
// block_based_table_reader.cc, GetGlobalSequenceNumber).
func (r *Reader) applyGlobalSeq(origin block.Origin) error {
	p := &r.props
	if p.ExternalVersion == 0 {
		if p.Has(propGlobalSeq) {
			return origin.Errorf("%s in a table that is not external", propGlobalSeq)
		}
		return nil
	}
	if p.ExternalVersion == 1 {
		if p.Has(propGlobalSeq) {
			return origin.Errorf("external table of version 1 with %s", propGlobalSeq)
		}
		return nil
	}
	seq := p.GlobalSeq
	if want := r.opts.LargestSeq; want != 0 {
		if seq == 0 {
			seq = want
		}
		if seq != want {
			return origin.Errorf("global sequence number %d, manifest says %d", seq, want)
		}
	}
	if seq > ikey.MaxSeq {
		return origin.Errorf("global sequence number %d", seq)
	}
	r.global = seq + 1
	return nil
}

func (r *Reader) readDict(tail *block.Readahead) error {
	h, ok := r.findMeta(metaDict)
	if !ok {
		return nil
	}
	b, err := r.readTail(tail, h, cache.Normal)
	if err != nil {
		return err
	}
	defer b.Release()
	r.src.Dict = block.NewDict(append([]byte(nil), b.Bytes()...))
	return nil
}

// readFilter pins the filter. One that says nothing about whole keys, or that this package
// does not know, is left alone.
func (r *Reader) readFilter(tail *block.Readahead) error {
	if !r.props.WholeKeyFiltering {
		return nil
	}
	h, ok := r.findMeta(metaFullFilter)
	if !ok {
		if h, ok = r.findMeta(metaPartFilter); !ok {
			return nil
		}
		r.partFilter = true
	}
	b, err := r.readTail(tail, h, cache.High)
	if err != nil {
		return err
	}
	r.filterBlock, r.filterOff = b, r.src.Origin(h)
	if r.partFilter {
		var it block.IndexIter
		return it.Init(b.Bytes(), r.filterFormat(), r.filterOff)
	}
	r.filter = parseFilter(b.Bytes())
	return nil
}

// filterFormat is how the index of filter partitions is encoded.
func (r *Reader) filterFormat() block.IndexFormat {
	return block.IndexFormat{UserKeys: r.format.UserKeys, DeltaValue: r.format.DeltaValue}
}

func (r *Reader) readIndex(tail *block.Readahead) error {
	b, err := r.readTail(tail, r.foot.index, cache.High)
	if err != nil {
		return err
	}
	r.index, r.indexOff = b, r.src.Origin(r.foot.index)
	var it block.IndexIter
	if err := it.Init(b.Bytes(), r.topFormat(), r.indexOff); err != nil {
		return err
	}
	if r.props.IndexType == indexPartitioned && it.First() {
		// The partitions lie before the top.
		r.dataEnd = min(r.dataEnd, int64(min(it.Handle().Offset, math.MaxInt64)))
	}
	return it.Err()
}

// topFormat is how the block that the footer names is encoded; only the lowest level of an
// index holds first keys.
func (r *Reader) topFormat() block.IndexFormat {
	f := r.format
	f.FirstKey = f.FirstKey && r.props.IndexType != indexPartitioned
	return f
}

func (r *Reader) readRangeDels(tail *block.Readahead) error {
	h, ok := r.findMeta(metaRangeDel)
	if !ok {
		return nil
	}
	b, err := r.readTail(tail, h, cache.Normal)
	if err != nil {
		return err
	}
	defer b.Release()
	ts, err := r.decodeRangeDels(b.Bytes(), r.src.Origin(h))
	if err != nil {
		return err
	}
	r.rangeDels = rangedel.Fragment(ts)
	return nil
}

// decodeRangeDels reads the block of range tombstones; the result owns its bytes.
func (r *Reader) decodeRangeDels(data []byte, origin block.Origin) ([]rangedel.Tombstone, error) {
	data = append([]byte(nil), data...)
	var it block.RawIter
	if err := it.Init(data, origin); err != nil {
		return nil, err
	}
	var ts []rangedel.Tombstone
	for it.Next() {
		k, ok := ikey.Decode(it.Key())
		if !ok || k.Kind() != ikey.KindRangeDelete {
			return nil, origin.Errorf("range tombstone with key %x", it.Key())
		}
		seq := k.Seq()
		if r.global != 0 {
			seq = r.global - 1
		}
		ts = append(ts, rangedel.Tombstone{Start: append([]byte(nil), k.User...), End: it.Value(), Seq: seq})
	}
	return ts, it.Err()
}

// RangeDels returns the table's range tombstones, not truncated to its bounds. It reads
// nothing; the list must not be changed.
func (r *Reader) RangeDels() rangedel.List { return r.rangeDels }

// FormatVersion is RocksDB's version of the table's format, from 2 to 6.
func (r *Reader) FormatVersion() uint32 { return r.foot.version }

// Properties returns what the table says about itself.
func (r *Reader) Properties() Properties { return r.props }

// Size is the size of the file in bytes.
func (r *Reader) Size() int64 { return r.src.Size }

// Name is the file's name without its directory, or ReaderOptions.Name.
func (r *Reader) Name() string { return r.src.Label }

// MemoryBytes is the memory that the reader keeps pinned: index and filter.
func (r *Reader) MemoryBytes() int64 {
	n := len(r.index.Bytes())
	if r.filterBlock != nil {
		n += len(r.filterBlock.Bytes())
	}
	return int64(n)
}

func (r *Reader) release() {
	if r.index != nil {
		r.index.Release()
		r.index = nil
	}
	if r.filterBlock != nil {
		r.filterBlock.Release()
		r.filterBlock = nil
	}
}

// Close releases index and filter and closes the file. No iterator and no Get may be under way;
// values that are not released yet stay valid. Blocks in the cache stay there.
func (r *Reader) Close() error {
	r.release()
	return r.src.File.Close()
}
