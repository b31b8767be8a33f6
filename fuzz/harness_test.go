package fuzz

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"runtime/metrics"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/internal/vfs"
)

const mib = 1 << 20

// bounded runs fn and fails when it allocated more than limit bytes of the Go heap.
func bounded(t *testing.T, limit uint64, fn func()) {
	t.Helper()
	before := allocated()
	fn()
	if n := allocated() - before; n > limit {
		t.Fatalf("allocated %d bytes, the bound is %d", n, limit)
	}
}

func allocated() uint64 {
	s := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// typed fails unless err is of a kind that the readers promise for bad bytes: a corrupt.Error
// that names file, or one of the errors that as recognises.
func typed(t *testing.T, err error, file string, as ...func(error) bool) {
	t.Helper()
	if ce, ok := corrupt.As(err); ok {
		if path.Base(ce.File) != file {
			t.Fatalf("error names %q, want %q: %v", ce.File, file, err)
		}
		return
	}
	for _, is := range as {
		if is(err) {
			return
		}
	}
	t.Fatalf("error of an unexpected kind: %T %v", err, err)
}

// is recognises errors with a T in their chain.
func is[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}

// bytesFile is a read-only vfs.File over a slice.
type bytesFile struct {
	*bytes.Reader
	name string
}

func newFile(name string, b []byte) *bytesFile { return &bytesFile{bytes.NewReader(b), name} }

var errReadOnly = errors.New("read-only")

func (f *bytesFile) WriteAt([]byte, int64) (int, error) { return 0, errReadOnly }
func (f *bytesFile) Close() error                       { return nil }
func (f *bytesFile) Name() string                       { return f.name }
func (f *bytesFile) Size() (int64, error)               { return f.Reader.Size(), nil }
func (f *bytesFile) Truncate(int64) error               { return errReadOnly }
func (f *bytesFile) Preallocate(int64) error            { return errReadOnly }
func (f *bytesFile) PunchHole(int64, int64) error       { return errReadOnly }
func (f *bytesFile) Sync() error                        { return nil }
func (f *bytesFile) Direct() bool                       { return false }
func (f *bytesFile) Alignment() int                     { return 4096 }

var _ vfs.File = (*bytesFile)(nil)

// create makes a file in m and returns a writer of it.
func create(t testing.TB, m *vfs.Mem, name string) *vfs.SequentialWriter {
	t.Helper()
	f, err := m.Create(name, vfs.Buffered)
	must(t, err)
	return vfs.NewSequentialWriter(f, vfs.WriterOptions{BufferBytes: 4096})
}

// store puts b into a file of m.
func store(t testing.TB, m *vfs.Mem, name string, b []byte) {
	t.Helper()
	w := create(t, m, name)
	_, err := w.Write(b)
	must(t, err)
	must(t, w.Finish())
}

// load returns the bytes of a file of m.
func load(t testing.TB, m *vfs.Mem, name string) []byte {
	t.Helper()
	f, err := m.Open(name, vfs.Buffered)
	must(t, err)
	size, err := f.Size()
	must(t, err)
	b := make([]byte, size)
	must(t, vfs.ReadFullAt(f, b, 0))
	must(t, f.Close())
	return b
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal(t testing.TB, want, got []byte, what string) {
	t.Helper()
	if !bytes.Equal(want, got) {
		t.Fatalf("%s: want %x got %x", what, want, got)
	}
}

// chunks cuts b into pieces whose lengths b itself says: something for a writer to write.
func chunks(b []byte) (out [][]byte) {
	for len(b) > 0 {
		n := min(int(b[0]), len(b)-1)
		out = append(out, b[1:1+n])
		b = b[1+n:]
	}
	return out
}

// sortedKeys is chunks in order, without doubles and empty ones.
func sortedKeys(b []byte) [][]byte {
	keys := slices.DeleteFunc(chunks(b), func(k []byte) bool { return len(k) == 0 })
	slices.SortFunc(keys, bytes.Compare)
	return slices.CompactFunc(keys, bytes.Equal)
}

// fixtures returns the files of RocksDB's databases whose names end in suffix and that have at
// most limit bytes; none where the archives are not there.
func fixtures(f *testing.F, suffix string, limit int64) (files [][]byte) {
	archives, err := filepath.Glob(filepath.Join("..", "..", "shared", "data", "rocksdb-7.8", "*.tar.zst"))
	must(f, err)
	if len(archives) == 0 {
		f.Log("skipped: seeds of ../shared/data/rocksdb-7.8, which is not here")
	}
	for _, name := range archives {
		in, err := os.Open(name)
		must(f, err)
		z, err := zstd.NewReader(in)
		must(f, err)
		for tr := tar.NewReader(z); ; {
			h, err := tr.Next()
			if err == io.EOF {
				break
			}
			must(f, err)
			base := path.Base(h.Name)
			if h.Size > limit || !(strings.HasSuffix(base, suffix) || strings.HasPrefix(base, suffix)) {
				continue
			}
			b, err := io.ReadAll(tr)
			must(f, err)
			files = append(files, b)
		}
		z.Close()
		must(f, in.Close())
	}
	return files
}
