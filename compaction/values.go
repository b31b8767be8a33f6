package compaction

import (
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"

	"github.com/cambiumdb/cambium/internal/cache"
	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/internal/manifest"
	"github.com/cambiumdb/cambium/internal/vfs"
	"github.com/cambiumdb/cambium/sstable"
	"github.com/cambiumdb/cambium/sstable/blob"
	"github.com/cambiumdb/cambium/sstable/block"
)

// values writes the blob files of one run: the large values of a flush, which leave their
// entries for the first time, and those that a plan moves out of files that are mostly garbage.
// Every other reference is copied as it is, so that merging keys never copies a large value. It
// holds one compressed value at most, and of one that moves a piece.
//
// A blob file has one compression for all its values, so there is one file for each compression
// that is met: values that do not compress lie in a file beside that of those that do.
type values struct {
	env    *Env
	reason string
	moves  map[uint64]bool // blob files whose values move

	open    map[block.Compression]*valueFile
	paths   []string // of every file made, whether finished or not
	files   []manifest.Blob
	device  atomic.Int64 // bytes written that nobody has been told about; added to by the writers' goroutines
	scratch []byte       // a compressed value
	index   []byte       // an encoded index
}

type valueFile struct {
	num  uint64
	path string
	w    *blob.Writer
}

// defaultValueFileBytes is Env.ValueFileBytes where that is 0.
const defaultValueFileBytes = 256 << 20

// separates reports whether a plain value of n bytes leaves its entry.
func (vs *values) separates(n int) bool {
	return vs.env.ValueThreshold > 0 && int64(n) >= vs.env.ValueThreshold
}

// add writes a plain value and returns the encoded index that takes its place in the table,
// valid until the next call. A value that compression would not make smaller by an eighth, as
// with blocks of a table, is stored as it is.
func (vs *values) add(user, value []byte) ([]byte, error) {
	c, stored := block.None, value
	if want := vs.env.ValueCompression; want != block.None {
		room := vs.scratch[:0]
		large := len(value) >= cache.LargeBytes
		if large {
			h := vs.env.Cache.Alloc(block.MaxCompressedLen(len(value), want))
			defer h.Release()
			room = h.Bytes()[:0]
		}
		out, err := block.Compress(room, value, want, 0, nil)
		if err != nil {
			return nil, fmt.Errorf("compress a value of %d bytes: %w", len(value), err)
		}
		if !large {
			vs.scratch = out
		}
		if len(out) < len(value)-len(value)/8 {
			c, stored = want, out
		}
	}
	return vs.write(c, func(w *blob.Writer) (blob.Index, error) { return w.AddStored(user, stored) })
}

// move copies the value that idx points to, as it is stored, and returns its new index.
func (vs *values) move(user []byte, idx blob.Index) (index []byte, err error) {
	r, release, err := vs.env.OpenBlob(idx.File)
	if err != nil {
		return nil, err
	}
	defer release()
	return vs.write(idx.Compression, func(w *blob.Writer) (blob.Index, error) { return w.Copy(r, user, idx) })
}

// write has add append a record to the file of compression c, and returns the encoded index.
func (vs *values) write(c block.Compression, add func(*blob.Writer) (blob.Index, error)) ([]byte, error) {
	f := vs.open[c]
	if f == nil {
		var err error
		if f, err = vs.begin(c); err != nil {
			return nil, err
		}
	}
	idx, err := add(f.w)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", f.path, err)
	}
	most := vs.env.ValueFileBytes
	if most <= 0 {
		most = defaultValueFileBytes
	}
	if f.w.EstimatedSize() >= uint64(most) {
		if err := vs.end(c); err != nil {
			return nil, err
		}
	}
	vs.index = idx.Encode(vs.index[:0])
	return vs.index, nil
}

func (vs *values) begin(c block.Compression) (*valueFile, error) {
	f := &valueFile{num: vs.env.NewFileNum()}
	f.path = filename.Path(vs.env.Dir, filename.Blob, f.num)
	file, err := vs.env.FS.Create(f.path, vfs.Direct)
	if err != nil {
		return nil, fmt.Errorf("create blob file: %w", err)
	}
	vs.paths = append(vs.paths, f.path)
	sw := vfs.NewSequentialWriter(file, vfs.WriterOptions{OnWrite: func(n int) { vs.device.Add(int64(n)) }})
	f.w = blob.NewWriter(sw, blob.WriterOptions{FileNum: f.num, Compression: c})
	if vs.open == nil {
		vs.open = make(map[block.Compression]*valueFile)
	}
	vs.open[c] = f
	return f, nil
}

// end completes the file of compression c and makes its bytes durable.
func (vs *values) end(c block.Compression) error {
	f := vs.open[c]
	info, err := f.w.Finish() // after an error the file is closed as well
	delete(vs.open, c)
	if err != nil {
		return fmt.Errorf("write %s: %w", f.path, err)
	}
	vs.files = append(vs.files, manifest.Blob{Num: f.num, Count: info.Count, Bytes: info.Bytes})
	return nil
}

// finish completes all files, in the order of their numbers.
func (vs *values) finish() error {
	for _, c := range slices.Sorted(maps.Keys(vs.open)) {
		if err := vs.end(c); err != nil {
			return err
		}
	}
	slices.SortFunc(vs.files, func(a, b manifest.Blob) int { return cmp.Compare(a.Num, b.Num) })
	return nil
}

// report tells the ledger what has gone to the device since the last call.
func (vs *values) report() int64 {
	n := vs.device.Swap(0)
	if n > 0 && vs.env.WroteValues != nil {
		vs.env.WroteValues(vs.reason, n)
	}
	return n
}

// discard is like outputs.discard.
func (vs *values) discard(complain func(what, path string, err error)) {
	for _, f := range vs.open {
		if err := f.w.Abort(); err != nil {
			complain("close", f.path, err)
		}
	}
	vs.report()
	for _, path := range vs.paths {
		if err := vs.env.FS.Remove(path); err != nil {
			complain("remove", path, err)
		}
	}
	vs.open, vs.paths, vs.files = nil, nil, nil
}

// place decides where the value of an entry that is kept goes: it separates a large one, moves
// one out of a file that the plan empties, and leaves every other as it is. The result aliases
// the arguments or memory that the next call reuses.
func (m *merge) place(ctx context.Context, key ikey.Key, value []byte) (ikey.Key, []byte, error) {
	var index []byte
	var err error
	size := len(value)
	switch key.Kind() {
	case ikey.KindSet:
		if !m.values.separates(len(value)) {
			return key, value, nil
		}
		if index, err = m.values.add(key.User, value); err != nil {
			return key, nil, err
		}
	case ikey.KindBlobIndex:
		if len(m.values.moves) == 0 {
			return key, value, nil
		}
		idx, err := blob.DecodeIndex(value)
		if err != nil {
			return key, nil, fmt.Errorf("key %q at sequence %d: %w", key.User, key.Seq(), err)
		}
		if !m.values.moves[idx.File] {
			return key, value, nil
		}
		if index, err = m.values.move(key.User, idx); err != nil {
			return key, nil, fmt.Errorf("move the value of key %q at sequence %d: %w", key.User, key.Seq(), err)
		}
		if err := m.countGarbage(key, value); err != nil {
			return key, nil, err
		}
		m.moved += int64(idx.Size)
		size = int(idx.Size)
	default:
		return key, value, nil
	}
	if m.unpaced += size; m.unpaced >= paceBytes {
		m.unpaced = 0
		if err := m.pace(ctx); err != nil {
			return key, nil, err
		}
	}
	return ikey.Key{User: key.User, Trailer: ikey.MakeTrailer(key.Seq(), ikey.KindBlobIndex)}, index, nil
}

// pace is outputs.pace for tables and blob files, and says how far the merge has got.
func (m *merge) pace(ctx context.Context) error {
	if m.env.Read != nil {
		m.env.Read(m.entries - m.told)
		m.told = m.entries
	}
	if n := m.values.report(); n > 0 && m.env.Limiter != nil {
		if err := m.env.Limiter.Wait(ctx, int(n)); err != nil {
			return err
		}
	}
	return m.outputs.pace(ctx)
}

// PropertyBlobRefs is the name of the table property that holds, for every blob file that the
// table refers to, in ascending order: the difference to the number before, the count and the
// bytes of the values, each as a varint. RocksDB does not know it and drops it when it rewrites
// the table.
const PropertyBlobRefs = "cambium.blob.refs"

func encodeBlobRefs(refs []manifest.BlobRef) string {
	var b []byte
	last := uint64(0)
	for _, r := range refs {
		b = binary.AppendUvarint(b, r.Num-last)
		b = binary.AppendUvarint(b, r.Count)
		b = binary.AppendUvarint(b, r.Bytes)
		last = r.Num
	}
	return string(b)
}

// BlobRefs returns what a table says of the blob files that it refers to. known is false where it
// does not say, or not what fits the manifest's oldestBlob; a table whose oldestBlob is 0 has no
// reference.
func BlobRefs(p sstable.Properties, oldestBlob uint64) (refs []manifest.BlobRef, known bool) {
	if oldestBlob == 0 {
		return nil, true
	}
	last := uint64(0)
	for b := []byte(p.User[PropertyBlobRefs]); len(b) > 0; {
		var v [3]uint64
		for i := range v {
			x, n := binary.Uvarint(b)
			if n <= 0 {
				return nil, false
			}
			v[i], b = x, b[n:]
		}
		if v[0] == 0 || last+v[0] < last {
			return nil, false
		}
		last += v[0]
		refs = append(refs, manifest.BlobRef{Num: last, Count: v[1], Bytes: v[2]})
	}
	if len(refs) == 0 || refs[0].Num != oldestBlob {
		return nil, false
	}
	return refs, true
}
