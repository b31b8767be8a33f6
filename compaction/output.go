package compaction

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"sync/atomic"

	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/rangedel"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable"
	"github.com/cambiumdb/cambium/sstable/blob"
)

// output is one table being written.
type output struct {
	num       uint64
	path      string
	w         *sstable.Writer
	device    atomic.Int64 // bytes written that nobody has been told about; added to by the writer's goroutine
	raw       int64        // key and value bytes added
	entries   uint64       // point entries added
	deletes   uint64
	rangeDels uint64
	expiring  uint64
	minExpiry int64
	maxExpiry int64
	blobRefs  map[uint64]*manifest.BlobRef
}

// outputs writes the tables of one run and knows how to take them back.
type outputs struct {
	env          *Env
	level        int
	reason       string
	ancestorTime uint64 // Unix seconds, for every table
	reuse        *reuse // nil: none

	cur     *output
	paths   []string // of every file made, whether finished or not
	tables  []*manifest.Table
	entries uint64 // point entries in the finished tables, as their properties count them
}

// add writes an entry to the current table, which it begins where there is none.
func (o *outputs) add(key ikey.Key, value []byte) error {
	if o.cur == nil {
		if err := o.begin(); err != nil {
			return err
		}
	}
	c := o.cur
	if o.reuse.begins(key) {
		if err := c.w.EndBlock(); err != nil {
			return err
		}
	}
	switch key.Kind() {
	case ikey.KindDelete:
		c.deletes++
	case ikey.KindBlobIndex:
		idx, err := blob.DecodeIndex(value)
		if err != nil {
			return fmt.Errorf("key %q at sequence %d: %w", key.User, key.Seq(), err)
		}
		c.refer(key, idx)
	}
	c.entries++
	c.raw += int64(key.Len() + len(value))
	return c.w.Add(key, value)
}

// refer counts a reference to a blob file.
func (c *output) refer(key ikey.Key, idx blob.Index) {
	if c.blobRefs == nil {
		c.blobRefs = make(map[uint64]*manifest.BlobRef)
	}
	r := c.blobRefs[idx.File]
	if r == nil {
		r = &manifest.BlobRef{Num: idx.File}
		c.blobRefs[idx.File] = r
	}
	r.Count++
	r.Bytes += recordBytes(key, idx)
}

// recordBytes is what a value takes of its blob file, as the manifest counts it.
func recordBytes(key ikey.Key, idx blob.Index) uint64 {
	return blob.RecordHeaderLen + uint64(len(key.User)) + idx.Size
}

// noteExpiry records the expiry of the entry that was added last.
func (o *outputs) noteExpiry(millis int64) {
	c := o.cur
	if c.expiring == 0 || millis < c.minExpiry {
		c.minExpiry = millis
	}
	if c.expiring == 0 || millis > c.maxExpiry {
		c.maxExpiry = millis
	}
	c.expiring++
	c.w.NoteExpiry(uint64(millis))
}

// size is what the current table has come to so far, 0 when it holds nothing.
func (o *outputs) size() int64 {
	if o.cur == nil {
		return 0
	}
	return max(1, int64(o.cur.w.EstimatedSize()))
}

func (o *outputs) begin() error {
	c := &output{num: o.env.NewFileNum()}
	c.path = filename.Path(o.env.Dir, filename.Table, c.num)
	f, err := o.env.FS.Create(c.path, vfs.Direct)
	if err != nil {
		return fmt.Errorf("create table: %w", err)
	}
	o.paths = append(o.paths, c.path)
	sw := vfs.NewSequentialWriter(f, vfs.WriterOptions{OnWrite: func(n int) { c.device.Add(int64(n)) }})
	opts := o.env.WriterOptions(o.level)
	opts.FileNumber, opts.CreationTime = c.num, o.env.NowMillis/1000
	if o.reuse != nil {
		opts.Reuse = o.reuse.find
	}
	// A block that was just written is likely to be read, and files are past the kernel's page cache.
	opts.Keep = func(offset uint64, raw []byte) { o.env.Cache.Offer(cache.Key{File: c.num, Offset: offset}, raw) }
	c.w = sstable.NewWriter(sw, opts)
	o.cur = c
	return nil
}

// finish completes the current table with tombstones, which may make a table of their own. With
// neither entries nor tombstones there is no table.
func (o *outputs) finish(ctx context.Context, tombstones rangedel.List) error {
	if o.cur == nil && len(tombstones) > 0 {
		if err := o.begin(); err != nil {
			return err
		}
	}
	c := o.cur
	if c == nil {
		return nil
	}
	for _, span := range tombstones {
		for _, seq := range span.Seqs {
			if err := c.w.AddRangeDelete(span.Start, span.End, seq); err != nil {
				return fmt.Errorf("write %s: %w", c.path, err)
			}
			c.rangeDels++
		}
	}
	var refs []manifest.BlobRef
	for _, num := range slices.Sorted(maps.Keys(c.blobRefs)) {
		refs = append(refs, *c.blobRefs[num])
	}
	oldestBlob := uint64(0)
	if len(refs) > 0 {
		oldestBlob = refs[0].Num
		c.w.SetUserProperty(PropertyBlobRefs, encodeBlobRefs(refs))
	}
	info, err := c.w.Finish()
	if err != nil {
		return fmt.Errorf("write %s: %w", c.path, err)
	}
	if err := o.pace(ctx); err != nil {
		return err
	}
	p := info.Properties
	if p.NumEntries != c.entries+c.rangeDels || p.NumRangeDeletions != c.rangeDels {
		return fmt.Errorf("write %s: %d entries and %d range tombstones went in, its properties count %d and %d",
			c.path, c.entries, c.rangeDels, p.NumEntries-p.NumRangeDeletions, p.NumRangeDeletions)
	}
	o.entries += p.NumEntries - p.NumRangeDeletions
	t := &manifest.Table{
		Num: c.num, Size: info.Size,
		Smallest: info.Smallest.Clone(), Largest: info.Largest.Clone(),
		SmallestSeq: info.SmallestSeq, LargestSeq: info.LargestSeq,
		OldestBlob:         oldestBlob,
		OldestAncestorTime: o.ancestorTime, CreationTime: o.env.NowMillis / 1000,
		Stats: manifest.TableStats{Entries: p.NumEntries, Deletes: c.deletes, RangeDeletes: c.rangeDels, Hidden: p.Hidden,
			BlobRefs: refs, BlobRefsKnown: true, Known: true},
	}
	if c.expiring > 0 {
		t.Stats.Expiring, t.Stats.MinExpiry, t.Stats.MaxExpiry = c.expiring, uint64(c.minExpiry), uint64(c.maxExpiry)
	}
	o.tables = append(o.tables, t)
	o.cur = nil
	return nil
}

// pace tells the ledger what has gone to the device since the last call, waits for the limiter
// and notices cancellation.
func (o *outputs) pace(ctx context.Context) error {
	if n := o.report(); n > 0 && o.env.Limiter != nil {
		if err := o.env.Limiter.Wait(ctx, int(n)); err != nil {
			return err
		}
	}
	return context.Cause(ctx)
}

func (o *outputs) report() int64 {
	if o.cur == nil {
		return 0
	}
	n := o.cur.device.Swap(0)
	if n > 0 && o.env.Wrote != nil {
		o.env.Wrote(o.level, o.reason, n)
	}
	return n
}

// discard removes every file that was made. It is called after an error and has none of its
// own: what cannot be removed is garbage that no manifest mentions.
func (o *outputs) discard() {
	if o.cur != nil {
		if err := o.cur.w.Abort(); err != nil {
			o.complain("close", o.cur.path, err)
		}
		o.report()
	}
	for _, path := range o.paths {
		if err := o.env.FS.Remove(path); err != nil {
			o.complain("remove", path, err)
		}
		if _, num, ok := filename.Parse(filepath.Base(path)); ok {
			o.env.Cache.EvictFile(num)
		}
	}
	o.cur, o.paths, o.tables = nil, nil, nil
}

func (o *outputs) complain(what, path string, err error) {
	if o.env.Logger != nil {
		o.env.Logger.Warn("unfinished table", "op", what, "path", path, "err", err)
	}
}
