package block

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"sync/atomic"

	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// Counters counts what reading blocks costs. Its fields may be read at any time.
type Counters struct {
	BlockReads  atomic.Uint64 // blocks that were not in the cache
	BlockBytes  atomic.Uint64 // their bytes on disk, trailers included
	CacheHits   atomic.Uint64 // blocks that were
	DeviceReads atomic.Uint64 // read calls
	DeviceBytes atomic.Uint64 // bytes these asked for, readahead and alignment included
}

// Source reads the blocks of one file. Its fields do not change once it is in use; all
// methods may then be called by several goroutines.
type Source struct {
	File  vfs.File
	Label string // the file's name as errors show it
	Size  int64  // of the file in bytes
	// Cache may be nil. FileNum names the file in it, so no two files may share one.
	Cache       *cache.Cache
	FileNum     uint64
	Checksum    ChecksumType
	ContextBase uint32 // format version 6: see ContextModifier
	Dict        *Dict  // of data blocks; nil = none
	Counters    *Counters
}

// ReadOptions says how one block is read.
type ReadOptions struct {
	Priority cache.Priority
	NoFill   bool       // leave the cache as it is; a block in it is used all the same
	Data     bool       // a data block: the dictionary applies
	Ahead    *Readahead // nil = read the block alone
}

// NewSource returns a source for f of size bytes, without cache or checksums; the caller sets
// the other fields.
func NewSource(f vfs.File, size int64) *Source {
	return &Source{File: f, Label: path.Base(f.Name()), Size: size}
}

// Origin is where the block at h lies.
func (s *Source) Origin(h Handle) Origin {
	return Origin{File: s.Label, Offset: int64(h.Offset)}
}

// Read returns the uncompressed block at h, pinned; the caller releases it. Bytes that fail
// their check give a corrupt.Error, a failed read gives the file's error.
func (s *Source) Read(h Handle, o ReadOptions) (*cache.Handle, error) {
	key := cache.Key{File: s.FileNum, Offset: h.Offset}
	if b := s.Cache.Get(key); b != nil {
		if s.Counters != nil {
			s.Counters.CacheHits.Add(1)
		}
		return b, nil
	}
	var own Readahead
	ra := o.Ahead
	if ra == nil {
		ra = &own
		defer own.Close()
	}
	phys, err := ra.physical(s, h)
	if err != nil {
		return nil, err
	}
	typ, err := s.verify(h, phys)
	if err != nil {
		return nil, err
	}
	payload := phys[:h.Size]
	size, body, err := DecompressedSize(payload, typ)
	if err != nil {
		return nil, s.corrupt(h, "block: %w", err)
	}
	b := s.Cache.Alloc(size)
	if err := Decompress(b.Bytes(), body, typ, s.dict(o.Data)); err != nil {
		b.Release()
		return nil, s.corrupt(h, "block: %w", err)
	}
	if !o.NoFill {
		s.Cache.Insert(key, b, o.Priority)
	}
	return b, nil
}

// ReadPrivate returns the uncompressed data block at h without touching the cache. The bytes
// are in ra or in *scratch and are valid until the next call with either.
func (s *Source) ReadPrivate(h Handle, ra *Readahead, scratch *[]byte) ([]byte, error) {
	raw, _, err := s.ReadStored(h, ra, scratch)
	return raw, err
}

// Stored is a block as it lies in a file.
type Stored struct {
	Payload     []byte
	Compression Compression
	Dict        bool // it cannot be read without the file's dictionary
}

// ReadStored is ReadPrivate that also returns what is stored, which is in ra.
func (s *Source) ReadStored(h Handle, ra *Readahead, scratch *[]byte) (raw []byte, stored Stored, err error) {
	phys, err := ra.physical(s, h)
	if err != nil {
		return nil, stored, err
	}
	typ, err := s.verify(h, phys)
	if err != nil {
		return nil, stored, err
	}
	payload := phys[:h.Size:h.Size]
	stored = Stored{Payload: payload, Compression: typ, Dict: typ != None && s.dict(true) != nil}
	if typ == None {
		return payload, stored, nil
	}
	size, body, err := DecompressedSize(payload, typ)
	if err != nil {
		return nil, stored, s.corrupt(h, "block: %w", err)
	}
	if cap(*scratch) < size {
		*scratch = make([]byte, size)
	}
	dst := (*scratch)[:size]
	if err := Decompress(dst, body, typ, s.dict(true)); err != nil {
		return nil, stored, s.corrupt(h, "block: %w", err)
	}
	return dst, stored, nil
}

// ReadAltered returns a copy of the uncompressed block at h, part of which somebody has overwritten
// without a new checksum: it must be right once restore has undone that in another copy.
func (s *Source) ReadAltered(h Handle, ra *Readahead, restore func(payload []byte)) ([]byte, error) {
	phys, err := ra.physical(s, h)
	if err != nil {
		return nil, err
	}
	original := bytes.Clone(phys)
	restore(original[:h.Size])
	typ, err := s.verify(h, original)
	if err != nil {
		return nil, err
	}
	if typ != None {
		return nil, s.corrupt(h, "block is compressed")
	}
	return bytes.Clone(phys[:h.Size]), nil
}

func (s *Source) dict(data bool) *Dict {
	if data {
		return s.Dict
	}
	return nil
}

func (s *Source) corrupt(h Handle, format string, args ...any) error {
	return corrupt.Errorf(s.Label, int64(h.Offset), format, args...)
}

// Check reports whether h lies inside the file and is of a size that can be read.
func (s *Source) Check(h Handle) error {
	size := uint64(max(s.Size, 0))
	switch {
	case h.Size > MaxSize:
		return s.corrupt(h, "block of %d bytes exceeds %d", h.Size, MaxSize)
	case size < TrailerLen || h.Offset > size-TrailerLen || h.Size > size-TrailerLen-h.Offset:
		return s.corrupt(h, "block of %d bytes lies outside the file of %d", h.Size, s.Size)
	}
	return nil
}

// verify checks the trailer of phys, the payload and trailer of the block at h.
func (s *Source) verify(h Handle, phys []byte) (Compression, error) {
	n := len(phys) - 4
	typ := Compression(phys[n-1])
	if s.Checksum == ChecksumNone {
		return typ, nil
	}
	want := binary.LittleEndian.Uint32(phys[n:])
	got := Checksum(s.Checksum, phys[:n]) + ContextModifier(s.ContextBase, h.Offset)
	if want != got {
		return 0, s.corrupt(h, "block of %d bytes: %v want %08x got %08x", h.Size, s.Checksum, want, got)
	}
	return typ, nil
}

// readAt reads at least need and at most len(p) bytes of the file at off, which is aligned
// where the file wants that; it returns how many it read.
func (s *Source) readAt(p []byte, off int64, need int) (int, error) {
	if s.Counters != nil {
		s.Counters.DeviceReads.Add(1)
		s.Counters.DeviceBytes.Add(uint64(len(p)))
	}
	n, err := s.File.ReadAt(p, off)
	if n >= need {
		return n, nil
	}
	if err == nil || errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, fmt.Errorf("read %s at %d: %d of %d bytes: %w", s.File.Name(), off, n, need, err)
}

// CompressionOf reads and checks the block at h and returns the type it is stored in.
func (s *Source) CompressionOf(h Handle, ra *Readahead) (Compression, error) {
	phys, err := ra.physical(s, h)
	if err != nil {
		return 0, err
	}
	return s.verify(h, phys)
}
