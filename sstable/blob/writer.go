package blob

import (
	"errors"
	"fmt"

	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable/block"
)

// WriterOptions says what file a Writer makes.
type WriterOptions struct {
	// FileNum is the file's number, which its indexes carry.
	FileNum uint64
	// Compression holds for all values of the file; the zero value stores them as they are.
	Compression block.Compression
	// Level is the compression's level; 0 is its default.
	Level int
}

// Info describes a finished file.
type Info struct {
	Count uint64 // records
	Bytes uint64 // of the records with headers and keys: what the manifest calls total blob bytes
	Size  uint64 // of the file
}

// Writer makes one blob file. The first error stays: every later call returns it.
type Writer struct {
	w     *vfs.SequentialWriter
	opts  WriterOptions
	info  Info
	head  []byte // a record's header and key
	value []byte // a compressed value
	err   error
}

var errFinished = errors.New("blob writer is finished")

// NewWriter starts a file on w, which it takes over: Finish or Abort closes it.
func NewWriter(w *vfs.SequentialWriter, o WriterOptions) *Writer {
	b := &Writer{w: w, opts: o}
	if !o.Compression.Writable() {
		b.err = fmt.Errorf("blob writer: %v cannot be written", o.Compression)
		return b
	}
	b.write(encodeHeader(o.Compression))
	return b
}

// Add appends a record and returns where its value went. Both slices stay the caller's. Keys
// may come in any order; values may have up to block.MaxSize bytes.
func (b *Writer) Add(key, value []byte) (Index, error) {
	if b.err != nil {
		return Index{}, b.err
	}
	if len(value) > block.MaxSize {
		return Index{}, fmt.Errorf("blob writer: a value of %d bytes exceeds %d", len(value), block.MaxSize)
	}
	stored := value
	if b.opts.Compression != block.None {
		out, err := block.Compress(b.value[:0], value, b.opts.Compression, b.opts.Level, nil)
		if err != nil {
			return Index{}, fmt.Errorf("blob writer: %w", err)
		}
		b.value, stored = out, out
	}
	return b.AddStored(key, stored)
}

// AddStored appends a record whose value is in the file's compression already.
func (b *Writer) AddStored(key, stored []byte) (Index, error) {
	if b.err != nil {
		return Index{}, b.err
	}
	b.head = append(appendRecordHeader(b.head[:0], key, stored), key...)
	b.write(b.head)
	x := Index{
		File:        b.opts.FileNum,
		Offset:      uint64(b.w.Offset()),
		Size:        uint64(len(stored)),
		Compression: b.opts.Compression,
	}
	b.write(stored)
	if b.err != nil {
		return Index{}, b.err
	}
	b.info.Count++
	b.info.Bytes += uint64(len(b.head) + len(stored))
	if cap(b.value) > maxKeptBuffer {
		b.value = nil
	}
	return x, nil
}

// maxKeptBuffer bounds the compression buffer that a Writer keeps from one value to the next.
const maxKeptBuffer = 1 << 20

// EstimatedSize is the size of the file in bytes if it were finished now.
func (b *Writer) EstimatedSize() uint64 { return uint64(b.w.Offset()) + FooterLen }

// Count is the number of records so far.
func (b *Writer) Count() uint64 { return b.info.Count }

// Finish writes the footer, syncs and closes the file. After an error the file is closed too
// and of no use.
func (b *Writer) Finish() (Info, error) {
	if b.err == nil {
		b.write(encodeFooter(b.info.Count))
	}
	if err := b.err; err != nil {
		b.err = errors.Join(err, b.w.Abort())
		return Info{}, b.err
	}
	b.info.Size = uint64(b.w.Offset())
	if err := b.w.Finish(); err != nil {
		b.err = err
		return Info{}, err
	}
	b.err = errFinished
	return b.info, nil
}

// Abort closes the file and leaves it to the caller to remove it.
func (b *Writer) Abort() error {
	b.err = errFinished
	return b.w.Abort()
}

func (b *Writer) write(p []byte) {
	if b.err == nil {
		_, b.err = b.w.Write(p)
	}
}
