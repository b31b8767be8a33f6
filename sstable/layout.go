package sstable

import (
	"bytes"

	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/iterator"
	"github.com/cambiumdb/cambium/sstable/block"
)

// Layout is a table taken apart, for people.
type Layout struct {
	File          string
	Size          int64
	FormatVersion uint32
	Checksum      block.ChecksumType
	Metaindex     block.Handle
	Index         block.Handle
	Meta          []MetaBlock // in the order of their names
	Blocks        []BlockInfo // data blocks in order
	Partitions    int         // of the index; 0 = it has one level
	Filter        FilterInfo
	RangeDels     int    // spans
	GlobalSeq     uint64 // of an ingested table
	Ingested      bool
}

// BlockInfo is a data block as the index sees it.
type BlockInfo struct {
	Handle      block.Handle
	Separator   []byte       // user key at or after the block's last
	Trailer     ikey.Trailer // of the separator, 0 where the index holds user keys
	FirstKey    []byte       // encoded, where the index holds it
	Compression block.Compression
}

// FilterInfo describes a table's filter.
type FilterInfo struct {
	Present     bool
	Partitioned bool
	Known       bool // false = never asked
	Bytes       int
	Description string
}

// Layout reads the index and the trailer of every data block; it leaves the cache alone. At most
// limit blocks are listed; 0 is all.
func (r *Reader) Layout(limit int) (Layout, error) {
	l := Layout{
		File:          r.src.Label,
		Size:          r.src.Size,
		FormatVersion: r.foot.version,
		Checksum:      r.foot.checksum,
		Metaindex:     r.foot.metaindex,
		Index:         r.foot.index,
		Meta:          append([]MetaBlock(nil), r.meta...),
		RangeDels:     len(r.rangeDels),
		Ingested:      r.global != 0,
		Filter:        r.filterInfo(),
	}
	if r.global != 0 {
		l.GlobalSeq = r.global - 1
	}
	var ra block.Readahead
	defer ra.Close()
	ra.SetSize(block.CompactionReadahead)
	ra.Limit = r.dataEnd
	var c indexCursor
	defer c.reset()
	if err := c.init(r); err != nil {
		return l, err
	}
	var part block.Handle
	for ok := c.first(); ok && (limit <= 0 || len(l.Blocks) < limit); ok = c.next() {
		if c.two && c.top.Handle() != part {
			part = c.top.Handle()
			l.Partitions++
		}
		info := BlockInfo{Handle: c.handle(), FirstKey: bytes.Clone(c.low().FirstKey())}
		info.Separator = bytes.Clone(c.user())
		if k, ok := ikey.Decode(c.low().Key()); ok && !r.format.UserKeys {
			info.Trailer = k.Trailer
		}
		typ, err := r.src.CompressionOf(info.Handle, &ra)
		if err != nil {
			return l, err
		}
		info.Compression = typ
		l.Blocks = append(l.Blocks, info)
	}
	return l, c.err()
}

// Divide calls fn, in order, for stretches of the table of about every bytes: with a user key that
// is not below the stretch's entries and below those after it, or the key that both share, and with
// the bytes on disk. It reads the index only. fn must not keep user.
func (r *Reader) Divide(every int64, fn func(user []byte, bytes int64)) error {
	var c indexCursor
	defer c.reset()
	if err := c.init(r); err != nil {
		return err
	}
	var n int64
	var user []byte
	for ok := c.first(); ok; ok = c.next() {
		n += int64(c.handle().Size) + block.TrailerLen
		if user = append(user[:0], c.user()...); n >= every {
			fn(user, n)
			n = 0
		}
	}
	if n > 0 {
		fn(user, n)
	}
	return c.err()
}

func (r *Reader) filterInfo() FilterInfo {
	if r.filterBlock == nil {
		return FilterInfo{Description: "none"}
	}
	info := FilterInfo{Present: true, Partitioned: r.partFilter, Bytes: len(r.filterBlock.Bytes())}
	if !r.partFilter {
		info.Known, info.Description = r.filter.kind != filterNone, r.filter.String()
		return info
	}
	var it block.IndexIter
	if it.Init(r.filterBlock.Bytes(), r.filterFormat(), r.filterOff) != nil || !it.First() {
		info.Description = "unreadable partitions"
		return info
	}
	b, err := r.src.Read(it.Handle(), block.ReadOptions{Priority: cache.High, NoFill: true})
	if err != nil {
		info.Description = err.Error()
		return info
	}
	defer b.Release()
	f := parseFilter(b.Bytes())
	info.Known, info.Description = f.kind != filterNone, "partitions of "+f.String()
	return info
}

// BlockEntries returns an iterator over one data block, for dumps: the entries come from h
// alone.
func (r *Reader) BlockEntries(h block.Handle) (iterator.Iterator, error) {
	b, err := r.src.Read(h, block.ReadOptions{NoFill: true, Data: true})
	if err != nil {
		return nil, err
	}
	it := &blockEntries{ref: b}
	if err := r.initData(&it.Iter, b.Bytes(), h); err != nil {
		b.Release()
		return nil, err
	}
	return it, nil
}

// blockEntries is an iterator over a pinned block.
type blockEntries struct {
	block.Iter
	ref *cache.Handle
}

func (b *blockEntries) SeekGE(k ikey.Key) bool { return b.Iter.SeekGE(k.User, k.Trailer) }
func (b *blockEntries) SeekLT(k ikey.Key) bool { return b.Iter.SeekLT(k.User, k.Trailer) }

func (b *blockEntries) Close() error {
	if b.ref != nil {
		b.Iter.Reset()
		b.ref.Release()
		b.ref = nil
	}
	return nil
}
