package sstable

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"

	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable/block"
)

// WriterOptions says how a table is written. The zero value gives an uncompressed table without
// a filter in blocks of 4 KiB.
type WriterOptions struct {
	// BlockSize is the size in bytes at which a data block ends, before compression; 0 is 4096.
	// Larger blocks compress better and cost more to read for one entry.
	BlockSize int
	// RestartInterval is the number of entries between whole keys in a data block; 0 is 16.
	RestartInterval int
	// Compression of data blocks. A block that does not shrink by an eighth stays as it is.
	Compression block.Compression
	// CompressionLevel in the compressor's own scale; 0 is its default.
	CompressionLevel int
	// BitsPerKey of the bloom filter; 0 is no filter. 10 gives about 1 % false positives.
	BitsPerKey float64
	// HashIndex adds RocksDB's hash index to data blocks: point lookups in a block cost one
	// probe, each entry about one and a third bytes.
	HashIndex bool
	// External makes a table that any database can take in (RocksDB's external table of version
	// 2): no user key comes twice and every sequence number is 0; the database that takes it in
	// gives all entries one of its own.
	External bool
	// Reuse, when not nil, is asked before a data block is compressed: it may know what raw
	// becomes in Compression, for instance since it was read so.
	Reuse func(raw []byte) (payload []byte, ok bool)

	// Keep, when not nil, is told each data block, uncompressed, and where in the file it is.
	Keep func(offset uint64, raw []byte)

	// What the properties record.
	DBID, SessionID string
	FileNumber      uint64
	CreationTime    uint64 // Unix seconds
	UserProperties  map[string]string

	checksum block.ChecksumType // for tests; 0 is CRC32C
}

func (o WriterOptions) withDefaults() WriterOptions {
	if o.BlockSize <= 0 {
		o.BlockSize = 4096
	}
	if o.RestartInterval <= 0 {
		o.RestartInterval = 16
	}
	if o.checksum == 0 {
		o.checksum = block.ChecksumCRC32C
	}
	return o
}

// Info describes a finished table. Smallest and Largest cover range tombstones too: Largest is
// an exclusive bound where the end of one reaches past the last entry.
type Info struct {
	Size                    uint64
	Smallest, Largest       ikey.Key
	SmallestSeq, LargestSeq uint64
	Properties              Properties
}

var (
	errFinished = errors.New("table is finished")
	errEmpty    = errors.New("table has no entries")
)

// Writer makes one table from entries in ascending order. It belongs to one goroutine. Its
// first error sticks; then, or whenever the table is not wanted, Abort ends it.
type Writer struct {
	out  *vfs.SequentialWriter
	opts WriterOptions
	err  error
	done bool

	data   *block.Builder
	ranges *block.Builder
	index  block.IndexBuilder
	filter filterBuilder
	comp   []byte // scratch: the compressed block
	key    []byte // scratch: the encoded key
	last   []byte // last key of the block that waits for its index entry

	pending    block.Handle
	hasPending bool
	hasLast    bool // data.LastKey or last holds the last point key

	info      Info
	props     Properties
	rangeLast []byte
}

// NewWriter returns a writer of a table into w, which it takes over.
func NewWriter(w *vfs.SequentialWriter, opts WriterOptions) *Writer {
	opts = opts.withDefaults()
	wr := &Writer{
		out:    w,
		opts:   opts,
		data:   block.NewDataBuilder(opts.RestartInterval, opts.HashIndex),
		ranges: block.NewBuilder(1),
		filter: newFilterBuilder(opts.BitsPerKey),
	}
	wr.info.SmallestSeq = ikey.MaxSeq
	if !opts.Compression.Writable() {
		wr.err = fmt.Errorf("write table: %v cannot be written", opts.Compression)
	}
	return wr
}

// Add appends an entry; key must sort after the one before. It copies key and value. A
// range deletion goes to AddRangeDelete.
func (w *Writer) Add(key ikey.Key, value []byte) error {
	if w.err != nil {
		return w.err
	}
	if err := w.checkPoint(key); err != nil {
		return w.fail(err)
	}
	w.key = key.Encode(w.key[:0])
	if w.blockIsFull(len(w.key) + len(value)) {
		if err := w.flushBlock(); err != nil {
			return w.fail(err)
		}
	}
	if w.hasPending {
		w.index.Add(w.last, w.key, w.pending)
		w.hasPending = false
	}
	if !w.hasLast {
		w.noteSmallest(key)
	}
	w.data.Add(w.key, value)
	w.hasLast = true
	w.filter.add(key.User)
	w.noteSeq(key.Seq())
	w.props.NumEntries++
	w.props.RawKeySize += uint64(len(w.key))
	w.props.RawValueSize += uint64(len(value))
	switch key.Kind() {
	case ikey.KindDelete, ikey.KindSingleDelete:
		w.props.NumDeletions++
	case ikey.KindMerge:
		w.props.NumMergeOperands++
	}
	return nil
}

// checkPoint refuses a key that may not follow the last one.
func (w *Writer) checkPoint(key ikey.Key) error {
	if k := key.Kind(); k == ikey.KindRangeDelete || k == ikey.KindSeek {
		return fmt.Errorf("write table: %v is no point entry", key)
	}
	if err := w.checkSeq(key); err != nil {
		return err
	}
	if !w.hasLast {
		return nil
	}
	prev, ok := ikey.Decode(w.lastKey())
	if !ok {
		return nil
	}
	if ikey.Compare(prev, key) >= 0 || w.opts.External && bytes.Equal(prev.User, key.User) {
		return fmt.Errorf("write table: %v does not sort after %v", key, prev)
	}
	if bytes.Equal(prev.User, key.User) {
		w.props.Hidden++
	}
	return nil
}

// checkSeq refuses a sequence number in a table that gets its number where it is taken in.
func (w *Writer) checkSeq(key ikey.Key) error {
	if w.opts.External && key.Seq() != 0 {
		return fmt.Errorf("write table: %v in an external table, whose sequence numbers are 0", key)
	}
	return nil
}

func (w *Writer) lastKey() []byte {
	if w.data.Empty() {
		return w.last
	}
	return w.data.LastKey()
}

// blockIsFull decides whether an entry of n bytes goes to a new block: at BlockSize, nearly
// there when it would exceed it by then, and always when the entry fills a block by itself.
func (w *Writer) blockIsFull(n int) bool {
	if w.data.Empty() {
		return false
	}
	size, limit := w.data.EstimatedSize(), w.opts.BlockSize
	if size >= limit || n >= limit {
		return true
	}
	return size+n > limit && size*10 > limit*9
}

// EndBlock ends the data block before the next entry, unless it is not even half full.
func (w *Writer) EndBlock() error {
	if w.err != nil || w.data.Empty() || 2*w.data.EstimatedSize() < w.opts.BlockSize {
		return w.err
	}
	if err := w.flushBlock(); err != nil {
		return w.fail(err)
	}
	return nil
}

// AddRangeDelete appends a range tombstone over [start, end) at seq. Tombstones come in order
// of start, then of descending seq, and may come at any time before Finish.
func (w *Writer) AddRangeDelete(start, end []byte, seq uint64) error {
	if w.err != nil {
		return w.err
	}
	key := ikey.Make(start, seq, ikey.KindRangeDelete)
	if err := w.checkSeq(key); err != nil {
		return w.fail(err)
	}
	if bytes.Compare(start, end) >= 0 {
		return w.fail(fmt.Errorf("write table: %v ends at %q", key, end))
	}
	if prev, ok := ikey.Decode(w.rangeLast); ok && ikey.Compare(prev, key) > 0 {
		return w.fail(fmt.Errorf("write table: %v does not sort after %v", key, prev))
	}
	w.rangeLast = key.Encode(w.rangeLast[:0])
	w.ranges.Add(w.rangeLast, end)
	w.noteSmallest(key)
	w.noteLargest(ikey.Key{User: end, Trailer: ikey.RangeDelSentinel})
	w.noteSeq(seq)
	w.props.NumEntries++
	w.props.NumDeletions++
	w.props.NumRangeDeletions++
	w.props.RawKeySize += uint64(len(w.rangeLast))
	w.props.RawValueSize += uint64(len(end))
	return nil
}

// NoteExpiry records that an entry of the table expires at ms, in Unix milliseconds.
func (w *Writer) NoteExpiry(ms uint64) {
	p := &w.props
	if p.ExpiryCount == 0 {
		p.ExpiryMin, p.ExpiryMax = ms, ms
	}
	p.ExpiryCount++
	p.ExpiryMin = min(p.ExpiryMin, ms)
	p.ExpiryMax = max(p.ExpiryMax, ms)
}

// SetUserProperty adds a property to those of WriterOptions.UserProperties. It may be called until
// Finish.
func (w *Writer) SetUserProperty(name, value string) {
	w.opts.UserProperties = maps.Clone(w.opts.UserProperties)
	if w.opts.UserProperties == nil {
		w.opts.UserProperties = make(map[string]string)
	}
	w.opts.UserProperties[name] = value
}

// Entries is the number of entries added so far, range tombstones included.
func (w *Writer) Entries() uint64 { return w.props.NumEntries }

// EstimatedSize is about the size in bytes that the file would have if it ended now.
func (w *Writer) EstimatedSize() uint64 {
	n := int(w.out.Offset()) + w.data.EstimatedSize() + w.index.EstimatedSize() +
		w.filter.size() + w.ranges.EstimatedSize()
	return uint64(n)
}

func (w *Writer) fail(err error) error {
	if w.err == nil {
		w.err = err
	}
	return err
}

func (w *Writer) noteSeq(seq uint64) {
	w.info.SmallestSeq = min(w.info.SmallestSeq, seq)
	w.info.LargestSeq = max(w.info.LargestSeq, seq)
}

func (w *Writer) noteSmallest(key ikey.Key) {
	if w.info.Smallest.User == nil || ikey.Compare(key, w.info.Smallest) < 0 {
		w.info.Smallest = key.Clone()
		if w.info.Smallest.User == nil {
			w.info.Smallest.User = []byte{}
		}
	}
}

func (w *Writer) noteLargest(key ikey.Key) {
	if w.info.Largest.User == nil || ikey.Compare(key, w.info.Largest) > 0 {
		w.info.Largest = key.Clone()
		if w.info.Largest.User == nil {
			w.info.Largest.User = []byte{}
		}
	}
}

// flushBlock writes the data block and leaves its index entry to the next key.
func (w *Writer) flushBlock() error {
	if w.data.Empty() {
		return nil
	}
	w.last = append(w.last[:0], w.data.LastKey()...)
	raw := w.data.Finish()
	h, err := w.writeCompressed(raw)
	if err != nil {
		return err
	}
	if w.opts.Keep != nil {
		w.opts.Keep(h.Offset, raw)
	}
	w.pending, w.hasPending = h, true
	w.data.Reset()
	w.props.NumDataBlocks++
	return nil
}

// writeCompressed writes a data block, compressed where that saves at least an eighth.
func (w *Writer) writeCompressed(raw []byte) (block.Handle, error) {
	if w.opts.Compression == block.None {
		return w.writeBlock(raw, block.None)
	}
	if w.opts.Reuse != nil {
		if payload, ok := w.opts.Reuse(raw); ok {
			return w.writeBlock(payload, w.opts.Compression)
		}
	}
	out, err := block.Compress(w.comp[:0], raw, w.opts.Compression, w.opts.CompressionLevel, nil)
	if err != nil {
		return block.Handle{}, fmt.Errorf("write table: %w", err)
	}
	w.comp = out
	if len(out) >= len(raw)-len(raw)/8 {
		return w.writeBlock(raw, block.None)
	}
	return w.writeBlock(out, w.opts.Compression)
}

// writeBlock writes payload, which is of the form typ, and its trailer.
func (w *Writer) writeBlock(payload []byte, typ block.Compression) (block.Handle, error) {
	h := block.Handle{Offset: uint64(w.out.Offset()), Size: uint64(len(payload))}
	_, err := w.out.Write(block.AppendTrailer(payload, typ, w.opts.checksum))
	return h, err
}

// Finish writes the rest of the table, makes it durable and closes the file. The name of the
// file is the caller's to make durable. A table without entries is an error.
func (w *Writer) Finish() (Info, error) {
	if w.err == nil && w.done {
		w.err = errFinished
	}
	if w.err == nil && w.props.NumEntries == 0 {
		w.err = fmt.Errorf("write table: %w", errEmpty)
	}
	if w.err != nil {
		return Info{}, w.err
	}
	if err := w.writeTail(); err != nil {
		return Info{}, w.fail(err)
	}
	w.info.Size = uint64(w.out.Offset())
	w.done = true
	if err := w.out.Finish(); err != nil {
		return Info{}, w.fail(err)
	}
	w.info.Properties = w.props
	return w.info, nil
}

// writeTail writes the last data block, the meta blocks in one run and the footer.
func (w *Writer) writeTail() error {
	if k, ok := ikey.Decode(w.lastKey()); ok && w.hasLast {
		w.noteLargest(k)
	}
	if err := w.flushBlock(); err != nil {
		return err
	}
	if w.hasPending {
		w.index.Add(w.last, nil, w.pending)
		w.hasPending = false
	}
	w.props.DataSize = uint64(w.out.Offset())
	meta := block.NewBuilder(1)
	if b := w.filter.finish(); b != nil {
		h, err := w.writeBlock(b, block.None)
		if err != nil {
			return err
		}
		w.props.FilterSize = h.Size
		w.props.NumFilterEntries = uint64(len(w.filter.hashes))
		w.props.FilterPolicy = "bloomfilter"
		addMeta(meta, metaFullFilter, h)
	}
	b, userKeys := w.index.Finish(nil)
	index, err := w.writeBlock(b, block.None)
	if err != nil {
		return err
	}
	w.props.IndexSize = index.Size + block.TrailerLen
	w.props.IndexKeyIsUserKey = userKeys
	var ranges block.Handle
	if !w.ranges.Empty() {
		if ranges, err = w.writeBlock(w.ranges.Finish(), block.None); err != nil {
			return err
		}
	}
	w.fixProperties()
	props, err := w.writeBlock(w.props.encode(), block.None)
	if err != nil {
		return err
	}
	addMeta(meta, metaProperties, props)
	if !w.ranges.Empty() {
		addMeta(meta, metaRangeDel, ranges)
	}
	metaindex, err := w.writeBlock(meta.Finish(), block.None)
	if err != nil {
		return err
	}
	f := footer{version: writeVersion, checksum: w.opts.checksum, metaindex: metaindex, index: index}
	_, err = w.out.Write(f.encode())
	return err
}

// fixProperties fills in what does not follow from the entries.
func (w *Writer) fixProperties() {
	p, o := &w.props, &w.opts
	p.IndexValueIsDelta = true
	p.WholeKeyFiltering = true
	p.Compression = o.Compression.String()
	p.CompressionOptions = fmt.Sprintf("window_bits=-14; level=%d; strategy=0; max_dict_bytes=0; "+
		"zstd_max_train_bytes=0; enabled=0; max_dict_buffer_bytes=0; use_zstd_dict_trainer=1; ",
		rocksLevel(o.CompressionLevel))
	p.Comparator = comparatorName
	p.MergeOperator, p.PrefixExtractor = "nullptr", "nullptr"
	p.ColumnFamilyName = "default"
	p.PropertyCollectors = "[]"
	p.DBID, p.SessionID, p.OriginalFile = o.DBID, o.SessionID, o.FileNumber
	p.CreationTime, p.FileCreationTime = o.CreationTime, o.CreationTime
	p.User = maps.Clone(o.UserProperties)
	if o.External {
		p.ExternalVersion = ExternalVersion
		p.ColumnFamilyID, p.ColumnFamilyName = unknownColumnFamily, "" // any may take it in
	}
}

// ExternalVersion is what Properties.ExternalVersion is in a table of WriterOptions.External.
const ExternalVersion = 2

// unknownColumnFamily is RocksDB's number for none in particular (include/rocksdb/table_properties.h).
const unknownColumnFamily = 1<<31 - 1

// rocksLevel is how RocksDB writes a default level: kDefaultCompressionLevel.
func rocksLevel(level int) int {
	if level == 0 {
		return 32767
	}
	return level
}

// Names in the metaindex.
const (
	metaFullFilter = "fullfilter.rocksdb.BuiltinBloomFilter"
	metaPartFilter = "partitionedfilter.rocksdb.BuiltinBloomFilter"
	metaDict       = "rocksdb.compression_dict"
	metaIndex      = "rocksdb.index"
	metaProperties = "rocksdb.properties"
	metaRangeDel   = "rocksdb.range_del"

	comparatorName = "leveldb.BytewiseComparator"
)

func addMeta(b *block.Builder, name string, h block.Handle) {
	b.Add([]byte(name), h.Encode(make([]byte, 0, 2*binary.MaxVarintLen64)))
}

// Abort closes the file and leaves it to the caller to remove. After Finish it does nothing.
func (w *Writer) Abort() error {
	if w.err == nil {
		w.err = errFinished
	}
	if w.done {
		return nil
	}
	w.done = true
	return w.out.Abort()
}
