package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"syscall"
)

const pageSize = 4096

// page is never written again once a memData holds it, so a crash can share it.
type page [pageSize]byte

// zeroPage is space that is reserved and holds nothing.
var zeroPage page

// maxVersions bounds how many earlier contents of one page are remembered.
const maxVersions = 4

// maxSizes bounds how many earlier lengths of one file are remembered.
const maxSizes = 32

// memData is the content of a file, and what a crash may make of it.
type memData struct {
	pages []*page // as many as size needs; nil is a hole
	size  int64
	// before holds, for each page that was written since the last sync, what it held: the
	// durable content first, then later ones.
	before map[int][]*page
	// sizes are the lengths since the last sync; the first one is durable. Empty means size.
	sizes []int64
}

// allocated returns the bytes of the pages that hold or reserve something.
func (d *memData) allocated() int64 {
	var n int64
	for _, p := range d.pages {
		if p != nil {
			n += pageSize
		}
	}
	return n
}

// set replaces page i and returns the bytes that this allocated or, below 0, gave back.
func (d *memData) set(i int, p *page) int64 {
	d.extend(i + 1)
	old := d.pages[i]
	d.remember(i, old)
	d.pages[i] = p
	switch {
	case old == nil && p != nil:
		return pageSize
	case old != nil && p == nil:
		return -pageSize
	}
	return 0
}

func (d *memData) remember(i int, old *page) {
	if d.before == nil {
		d.before = map[int][]*page{}
	}
	versions := d.before[i]
	if len(versions) == maxVersions {
		versions = slices.Delete(versions, 1, 2)
	}
	d.before[i] = append(versions, old)
}

func (d *memData) resize(size int64) {
	if size == d.size {
		return
	}
	if len(d.sizes) == 0 {
		d.sizes = append(d.sizes, d.size)
	}
	if len(d.sizes) == maxSizes { // thin them out; the durable one stays
		kept := d.sizes[:1]
		for i := 2; i < len(d.sizes); i += 2 {
			kept = append(kept, d.sizes[i])
		}
		d.sizes = kept
	}
	d.sizes = append(d.sizes, size)
	d.size = size
	d.extend(pagesFor(size))
}

// extend appends holes up to n pages.
func (d *memData) extend(n int) {
	if more := n - len(d.pages); more > 0 {
		d.pages = append(d.pages, make([]*page, more)...)
	}
}

func pagesFor(size int64) int { return int(roundUp(size, pageSize) / pageSize) }

// write puts p at off, as far as room bytes of new pages allow, and returns how many bytes that
// were and how much room they took.
func (d *memData) write(p []byte, off, room int64) (n int, took int64) {
	for n < len(p) {
		at := off + int64(n)
		i, in := int(at/pageSize), int(at%pageSize)
		fresh := new(page)
		if i < len(d.pages) && d.pages[i] != nil {
			*fresh = *d.pages[i]
		} else if took+pageSize > room {
			break
		}
		n += copy(fresh[in:], p[n:])
		took += d.set(i, fresh)
	}
	if n > 0 {
		d.resize(max(d.size, off+int64(n)))
	}
	return n, took
}

func (d *memData) read(p []byte, off int64) int {
	if off >= d.size {
		return 0
	}
	p = p[:min(int64(len(p)), d.size-off)]
	for n := 0; n < len(p); {
		at := off + int64(n)
		i, in := int(at/pageSize), int(at%pageSize)
		from := &zeroPage
		if i < len(d.pages) && d.pages[i] != nil {
			from = d.pages[i]
		}
		n += copy(p[n:], from[in:])
	}
	return len(p)
}

// truncate sets the length and returns the change of the bytes allocated.
func (d *memData) truncate(size int64) (took int64) {
	for i := len(d.pages) - 1; int64(i)*pageSize >= size && i >= 0; i-- {
		if d.pages[i] != nil {
			took += d.set(i, nil)
		}
	}
	d.pages = d.pages[:min(len(d.pages), pagesFor(size))]
	if in := size % pageSize; in != 0 && size < d.size {
		if i := int(size / pageSize); i < len(d.pages) && d.pages[i] != nil {
			cut := *d.pages[i]
			clear(cut[in:])
			d.set(i, &cut)
		}
	}
	d.resize(size)
	return took
}

// preallocate reserves the holes below size, as far as room allows.
func (d *memData) preallocate(size, room int64) (took int64, ok bool) {
	for i := 0; int64(i)*pageSize < size; i++ {
		if i < len(d.pages) && d.pages[i] != nil {
			continue
		}
		if took+pageSize > room {
			return took, false
		}
		took += d.set(i, &zeroPage)
	}
	d.resize(max(d.size, size))
	return took, true
}

// punch makes pages [first, end) holes and returns the change of the bytes allocated.
func (d *memData) punch(first, end int) (took int64) {
	for i := first; i < min(end, len(d.pages)); i++ {
		if d.pages[i] != nil {
			took += d.set(i, nil)
		}
	}
	return took
}

// sync makes the content durable.
func (d *memData) sync() { d.before, d.sizes = nil, nil }

// crash returns what is left: of the lengths since the last sync one, and of each page that was
// written since one of its contents. survive decides for each whether the latest is kept.
func (d *memData) crash(survive func() bool, rng *rand.Rand) memData {
	size := d.size
	if len(d.sizes) > 0 && !survive() {
		size = d.sizes[0]
		if rng != nil {
			size = d.sizes[rng.IntN(len(d.sizes))]
		}
	}
	after := memData{size: size, pages: make([]*page, pagesFor(size))}
	copy(after.pages, d.pages)
	dirty := make([]int, 0, len(d.before))
	for i := range d.before {
		dirty = append(dirty, i)
	}
	slices.Sort(dirty) // the same random numbers meet the same pages
	for _, i := range dirty {
		// A page that was cut off was not written: only its earlier contents can come back.
		if i >= len(after.pages) || (i < len(d.pages) && survive()) {
			continue
		}
		after.pages[i] = d.before[i][0]
		if rng != nil {
			after.pages[i] = d.before[i][rng.IntN(len(d.before[i]))]
		}
	}
	if in := size % pageSize; in != 0 {
		if last := len(after.pages) - 1; after.pages[last] != nil {
			cut := *after.pages[last]
			clear(cut[in:])
			after.pages[last] = &cut
		}
	}
	return after
}

// memFile is an open file of a Mem. mem.mu guards its node and closed.
type memFile struct {
	mem       *Mem
	node      *memNode
	name      string
	alignment int
	direct    bool
	writable  bool
	closed    bool
}

func (f *memFile) Name() string   { return f.name }
func (f *memFile) Direct() bool   { return f.direct }
func (f *memFile) Alignment() int { return f.alignment }

func (f *memFile) Size() (int64, error) {
	f.mem.mu.RLock()
	defer f.mem.mu.RUnlock()
	return f.node.data.size, f.check("stat", false)
}

// check tells why an operation cannot be done on the file as it is.
func (f *memFile) check(op string, write bool) error {
	if f.closed {
		return pathError(op, f.name, fs.ErrClosed)
	}
	if write && !f.writable {
		return pathError(op, f.name, fmt.Errorf("opened for reading: %w", syscall.EBADF))
	}
	return nil
}

// checkTransfer tells why a device would refuse to move p.
func (f *memFile) checkTransfer(op string, write bool, p []byte, off int64) error {
	if err := f.check(op, write); err != nil {
		return err
	}
	if off < 0 {
		return pathError(op, f.name, fmt.Errorf("negative offset %d: %w", off, fs.ErrInvalid))
	}
	if f.direct && f.mem.strict && len(p) > 0 && !isAligned(f.alignment, p, off) {
		return pathError(op, f.name, fmt.Errorf("%d bytes at %d from address %#x are not aligned to %d: %w",
			len(p), off, addressOf(p), f.alignment, syscall.EINVAL))
	}
	return nil
}

func (f *memFile) ReadAt(p []byte, off int64) (int, error) {
	f.mem.mu.RLock()
	defer f.mem.mu.RUnlock()
	if err := f.checkTransfer("read", false, p, off); err != nil {
		return 0, err
	}
	n := f.node.data.read(p, off)
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) WriteAt(p []byte, off int64) (int, error) {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if err := f.checkTransfer("write", true, p, off); err != nil {
		return 0, err
	}
	n, took := f.node.data.write(p, off, f.mem.room())
	f.mem.used += took
	if n < len(p) {
		return n, pathError("write", f.name, fmt.Errorf("%d of %d bytes: %w", n, len(p), ErrNoSpace))
	}
	return n, nil
}

func (f *memFile) Truncate(size int64) error {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if err := f.check("truncate", true); err != nil {
		return err
	}
	if size < 0 {
		return pathError("truncate", f.name, fmt.Errorf("negative size %d: %w", size, fs.ErrInvalid))
	}
	f.mem.used += f.node.data.truncate(size)
	return nil
}

func (f *memFile) Preallocate(size int64) error {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if err := f.check("preallocate", true); err != nil {
		return err
	}
	took, ok := f.node.data.preallocate(size, f.mem.room())
	f.mem.used += took
	if !ok {
		return pathError("preallocate", f.name, fmt.Errorf("%d bytes: %w", size, ErrNoSpace))
	}
	return nil
}

func (f *memFile) PunchHole(off, n int64) error {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if err := f.check("punch hole", true); err != nil {
		return err
	}
	switch {
	case !validHole(off, n):
		return pathError("punch hole", f.name, errBadHole)
	case !f.mem.holes:
		return pathError("punch hole", f.name, errors.ErrUnsupported)
	}
	f.mem.used += f.node.data.punch(int(off/pageSize), int((off+n)/pageSize))
	return nil
}

func (f *memFile) Sync() error {
	f.mem.callHook("sync", f.name)
	if err := f.sync(); err != nil {
		return err
	}
	f.mem.callHook("synced", f.name)
	return nil
}

func (f *memFile) sync() error {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if err := f.check("sync", false); err != nil {
		return err
	}
	f.node.data.sync()
	return nil
}

func (f *memFile) Close() error {
	f.mem.mu.Lock()
	defer f.mem.mu.Unlock()
	if err := f.check("close", false); err != nil {
		return err
	}
	f.closed = true
	f.node.opens--
	f.mem.freeIfUnused(f.node)
	return nil
}
