package vfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/internal/vfs"
)

// place is a file system under test and an empty directory of it.
type place struct {
	vfs.FS
	dir string
}

func (p place) at(name string) string { return path.Join(p.dir, name) }

// write makes a synced file with that content through the writer.
func (p place) write(t *testing.T, name string, mode vfs.Mode, content []byte) {
	t.Helper()
	f, err := p.Create(p.at(name), mode)
	require.NoError(t, err)
	w := vfs.NewSequentialWriter(f, vfs.WriterOptions{})
	_, err = w.Write(content)
	require.NoError(t, err)
	require.NoError(t, w.Finish())
}

// read returns the whole content of a file.
func (p place) read(t *testing.T, name string, mode vfs.Mode) []byte {
	t.Helper()
	f, err := p.Open(p.at(name), mode)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	size, err := f.Size()
	require.NoError(t, err)
	content := make([]byte, size)
	require.NoError(t, vfs.ReadFullAt(f, content, 0))
	return content
}

// pattern returns n bytes in which a shift or a swap shows.
func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i ^ i>>8 ^ i>>16)
	}
	return p
}

func modes(t *testing.T, run func(t *testing.T, mode vfs.Mode)) {
	t.Run("buffered", func(t *testing.T) { run(t, vfs.Buffered) })
	t.Run("direct", func(t *testing.T) { run(t, vfs.Direct) })
}

// RunConformance checks what every FS promises. open returns a fresh file system, or a fresh
// directory of it.
func RunConformance(t *testing.T, open func(t *testing.T) (f vfs.FS, dir string)) {
	run := func(name string, test func(t *testing.T, p place)) {
		t.Run(name, func(t *testing.T) {
			f, dir := open(t)
			test(t, place{f, dir})
		})
	}
	run("content", conformContent)
	run("direct", conformDirect)
	run("sizes", conformSizes)
	run("preallocate", conformPreallocate)
	run("holes", conformHoles)
	run("modes of opening", conformOpening)
	run("names", conformNames)
	run("directories", conformDirectories)
	run("removed while open", conformRemovedOpen)
	run("lock", conformLock)
	run("errors name the path", conformErrors)
	run("closed", conformClosed)
	run("many files at once", conformConcurrent)
}

func conformContent(t *testing.T, p place) {
	modes(t, func(t *testing.T, mode vfs.Mode) {
		for _, n := range []int{0, 1, 511, 512, 4095, 4096, 4097, 70000} {
			name := fmt.Sprintf("f%d", n)
			p.write(t, name, mode, pattern(n))
			require.Equal(t, pattern(n), p.read(t, name, mode))
			require.Equal(t, pattern(n), p.read(t, name, vfs.Buffered))
			info, err := p.Stat(p.at(name))
			require.NoError(t, err)
			require.EqualValues(t, n, info.Size())
			require.False(t, info.IsDir())
		}
	})
}

func conformDirect(t *testing.T, p place) {
	f, err := p.Create(p.at("f"), vfs.Direct)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	unit := f.Alignment()
	require.GreaterOrEqual(t, unit, 512)
	require.Zero(t, unit&(unit-1), "alignment %d is a power of two", unit)

	buf := vfs.AlignedBuffer(4 * unit)
	copy(buf, pattern(len(buf)))
	n, err := f.WriteAt(buf, int64(2*unit))
	require.NoError(t, err)
	require.Equal(t, len(buf), n)
	require.NoError(t, f.Sync())

	got := vfs.AlignedBuffer(8 * unit)
	n, err = f.ReadAt(got, 0)
	require.Equal(t, io.EOF, err)
	require.Equal(t, 6*unit, n)
	require.Equal(t, make([]byte, 2*unit), got[:2*unit], "the gap reads as zero")
	require.Equal(t, buf, got[2*unit:n])

	// A length that is no multiple of the unit: an aligned read stops at the end.
	require.NoError(t, f.Truncate(int64(3*unit+7)))
	clear(got)
	n, err = f.ReadAt(got, int64(2*unit))
	require.Equal(t, io.EOF, err)
	require.Equal(t, unit+7, n)
	require.Equal(t, buf[:n], got[:n])
	n, err = f.ReadAt(got, int64(64*unit))
	require.Equal(t, io.EOF, err)
	require.Zero(t, n)
}

func conformSizes(t *testing.T, p place) {
	modes(t, func(t *testing.T, mode vfs.Mode) {
		p.write(t, "f", mode, pattern(10000))
		f, err := p.OpenReadWrite(p.at("f"), mode)
		require.NoError(t, err)
		for _, size := range []int64{5000, 12288, 3, 0, 9} {
			before, err := f.Size()
			require.NoError(t, err)
			require.NoError(t, f.Truncate(size))
			now, err := f.Size()
			require.NoError(t, err)
			require.Equal(t, size, now)
			if size > before {
				grown := make([]byte, size-before)
				require.NoError(t, vfs.ReadFullAt(f, grown, before))
				require.Equal(t, make([]byte, size-before), grown, "growth reads as zero")
			}
		}
		require.Error(t, f.Truncate(-1))
		require.NoError(t, f.Sync())
		require.NoError(t, f.Close())
		require.Equal(t, make([]byte, 9), p.read(t, "f", mode))
	})
}

func conformPreallocate(t *testing.T, p place) {
	modes(t, func(t *testing.T, mode vfs.Mode) {
		p.write(t, "f", mode, pattern(5000))
		f, err := p.OpenReadWrite(p.at("f"), mode)
		require.NoError(t, err)
		require.NoError(t, f.Preallocate(0))
		require.NoError(t, f.Preallocate(100))
		size, err := f.Size()
		require.NoError(t, err)
		require.EqualValues(t, 5000, size, "a longer file keeps its length")
		require.NoError(t, f.Preallocate(100000))
		size, err = f.Size()
		require.NoError(t, err)
		require.EqualValues(t, 100000, size)
		require.NoError(t, f.Close())
		require.Equal(t, append(pattern(5000), make([]byte, 95000)...), p.read(t, "f", mode))
	})
}

func conformHoles(t *testing.T, p place) {
	modes(t, func(t *testing.T, mode vfs.Mode) {
		const size = 20*vfs.HoleUnit + 100
		p.write(t, "f", mode, pattern(size))
		usage := func() (allocated int64, links int) {
			info, err := p.Stat(p.at("f"))
			require.NoError(t, err)
			require.EqualValues(t, size, info.Size(), "the length stays")
			return vfs.Allocated(info), vfs.Links(info)
		}
		full, links := usage()
		require.Equal(t, 1, links)
		require.GreaterOrEqual(t, full, int64(size))

		f, err := p.OpenReadWrite(p.at("f"), mode)
		require.NoError(t, err)
		require.NoError(t, f.PunchHole(2*vfs.HoleUnit, 10*vfs.HoleUnit))
		require.NoError(t, f.PunchHole(4*vfs.HoleUnit, vfs.HoleUnit), "where there is a hole")
		require.NoError(t, f.PunchHole(20*vfs.HoleUnit, vfs.HoleUnit), "the last unit, which is not whole")
		for _, bad := range [][2]int64{{1, vfs.HoleUnit}, {0, 100}, {0, 0}, {-vfs.HoleUnit, vfs.HoleUnit}} {
			require.Error(t, f.PunchHole(bad[0], bad[1]))
		}
		require.NoError(t, f.Sync())
		want := pattern(size)
		clear(want[2*vfs.HoleUnit : 12*vfs.HoleUnit])
		clear(want[20*vfs.HoleUnit:])
		require.Equal(t, want, p.read(t, "f", mode))
		now, _ := usage()
		require.LessOrEqual(t, now, full-10*vfs.HoleUnit, "the space is given back")

		_, err = f.WriteAt(vfs.AlignedBuffer(vfs.HoleUnit), 3*vfs.HoleUnit)
		require.NoError(t, err, "a hole may be written again")
		require.NoError(t, f.Close())
		require.NoError(t, p.Link(p.at("f"), p.at("g")))
		_, links = usage()
		require.Equal(t, 2, links)
		require.NoError(t, p.Remove(p.at("g")))

		f, err = p.Open(p.at("f"), mode)
		require.NoError(t, err)
		require.Error(t, f.PunchHole(0, vfs.HoleUnit), "opened for reading")
		require.NoError(t, f.Close())
	})
}

func conformOpening(t *testing.T, p place) {
	modes(t, func(t *testing.T, mode vfs.Mode) {
		for _, open := range []func(string, vfs.Mode) (vfs.File, error){p.Open, p.OpenReadWrite} {
			_, err := open(p.at("missing"), mode)
			require.ErrorIs(t, err, fs.ErrNotExist)
		}
		p.write(t, "f", mode, pattern(8192))

		f, err := p.Open(p.at("f"), mode)
		require.NoError(t, err)
		require.Equal(t, p.at("f"), f.Name())
		_, err = f.WriteAt(vfs.AlignedBuffer(4096), 0)
		require.Error(t, err, "opened for reading")
		require.NoError(t, f.Close())
		require.Equal(t, pattern(8192), p.read(t, "f", mode))

		f, err = p.OpenReadWrite(p.at("f"), mode)
		require.NoError(t, err)
		_, err = f.WriteAt(vfs.AlignedBuffer(4096), 4096)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		require.Equal(t, append(pattern(4096), make([]byte, 4096)...), p.read(t, "f", mode))

		f, err = p.Create(p.at("f"), mode)
		require.NoError(t, err)
		size, err := f.Size()
		require.NoError(t, err)
		require.Zero(t, size, "Create truncates")
		require.NoError(t, f.Close())
	})
}

func conformNames(t *testing.T, p place) {
	p.write(t, "a", vfs.Buffered, []byte("a"))
	p.write(t, "b", vfs.Buffered, []byte("b"))

	require.NoError(t, p.Rename(p.at("a"), p.at("c")))
	require.NoError(t, p.Rename(p.at("c"), p.at("b")), "a rename replaces")
	require.Equal(t, "a", string(p.read(t, "b", vfs.Buffered)))
	require.ErrorIs(t, p.Rename(p.at("a"), p.at("d")), fs.ErrNotExist)
	require.ErrorIs(t, p.Rename(p.at("b"), p.at("missing/b")), fs.ErrNotExist)

	require.NoError(t, p.Link(p.at("b"), p.at("l")))
	require.ErrorIs(t, p.Link(p.at("b"), p.at("l")), fs.ErrExist)
	require.ErrorIs(t, p.Link(p.at("missing"), p.at("m")), fs.ErrNotExist)
	require.NoError(t, p.Rename(p.at("b"), p.at("l")), "two names of one file: nothing happens")
	require.NoError(t, p.Remove(p.at("b")))
	require.ErrorIs(t, p.Remove(p.at("b")), fs.ErrNotExist)
	require.Equal(t, "a", string(p.read(t, "l", vfs.Buffered)), "a link outlives the first name")

	names, err := p.List(p.dir)
	require.NoError(t, err)
	require.Equal(t, []string{"l"}, names)
	require.NoError(t, p.SyncDir(p.dir))
}

func conformDirectories(t *testing.T, p place) {
	require.NoError(t, p.MkdirAll(p.at("x/y/z")))
	require.NoError(t, p.MkdirAll(p.at("x/y/z")))
	for _, name := range []string{"20", "1", "3"} {
		p.write(t, "x/y/"+name, vfs.Buffered, nil)
	}
	names, err := p.List(p.at("x/y"))
	require.NoError(t, err)
	require.Equal(t, []string{"1", "20", "3", "z"}, names)
	info, err := p.Stat(p.at("x/y/z"))
	require.NoError(t, err)
	require.True(t, info.IsDir())
	require.Equal(t, "z", info.Name())

	require.Error(t, p.Remove(p.at("x/y")), "not empty")
	require.NoError(t, p.Remove(p.at("x/y/z")))
	require.Error(t, p.MkdirAll(p.at("x/y/1")), "a file is in the way")
	_, err = p.List(p.at("missing"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = p.Stat(p.at("missing"))
	require.ErrorIs(t, err, fs.ErrNotExist)
	_, err = p.Create(p.at("missing/f"), vfs.Buffered)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorIs(t, p.SyncDir(p.at("missing")), fs.ErrNotExist)
	for _, dir := range []string{"x/y", "x", "."} {
		require.NoError(t, p.SyncDir(p.at(dir)))
	}
	free, err := p.Free(p.dir)
	require.NoError(t, err)
	require.Positive(t, free)
}

func conformRemovedOpen(t *testing.T, p place) {
	p.write(t, "f", vfs.Direct, pattern(9000))
	f, err := p.Open(p.at("f"), vfs.Direct)
	require.NoError(t, err)
	require.NoError(t, p.Remove(p.at("f")))
	p.write(t, "f", vfs.Direct, []byte("another"))
	got := make([]byte, 9000)
	require.NoError(t, vfs.ReadFullAt(f, got, 0))
	require.Equal(t, pattern(9000), got)
	require.NoError(t, f.Close())
}

func conformLock(t *testing.T, p place) {
	lock, err := p.Lock(p.at("LOCK"))
	require.NoError(t, err)
	_, err = p.Lock(p.at("LOCK"))
	require.ErrorIs(t, err, vfs.ErrLocked)
	other, err := p.Lock(p.at("OTHER"))
	require.NoError(t, err)
	require.NoError(t, other.Close())
	require.NoError(t, lock.Close())
	lock, err = p.Lock(p.at("LOCK"))
	require.NoError(t, err)
	require.NoError(t, lock.Close())
	_, err = p.Lock(p.at("missing/LOCK"))
	require.ErrorIs(t, err, fs.ErrNotExist)
}

func conformErrors(t *testing.T, p place) {
	missing := p.at("no/such")
	_, openErr := p.Open(missing, vfs.Direct)
	_, createErr := p.Create(missing, vfs.Direct)
	_, listErr := p.List(missing)
	_, statErr := p.Stat(missing)
	_, lockErr := p.Lock(missing)
	for _, err := range []error{
		openErr, createErr, listErr, statErr, lockErr, p.Remove(missing),
		p.Rename(missing, p.at("x")), p.Link(missing, p.at("x")), p.SyncDir(missing),
	} {
		require.ErrorContains(t, err, missing)
		require.ErrorIs(t, err, fs.ErrNotExist)
	}
}

func conformClosed(t *testing.T, p place) {
	modes(t, func(t *testing.T, mode vfs.Mode) {
		f, err := p.Create(p.at("f"), mode)
		require.NoError(t, err)
		require.NoError(t, f.Close())
		buf := vfs.AlignedBuffer(4096)
		_, readErr := f.ReadAt(buf, 0)
		_, writeErr := f.WriteAt(buf, 0)
		_, sizeErr := f.Size()
		for _, err := range []error{
			readErr, writeErr, sizeErr, f.Truncate(0), f.Preallocate(1), f.PunchHole(0, vfs.HoleUnit), f.Sync(), f.Close(),
		} {
			require.ErrorIs(t, err, fs.ErrClosed)
			require.ErrorContains(t, err, p.at("f"))
		}
	})
}

func conformConcurrent(t *testing.T, p place) {
	errs := make(chan error)
	const workers = 4
	for i := range workers {
		go func() { errs <- churn(p, fmt.Sprint(i)) }()
	}
	for range workers {
		require.NoError(t, <-errs)
	}
}

// churn writes, reads beside the writer, renames, lists and removes.
func churn(p place, id string) error {
	f, err := p.Create(p.at(id+".tmp"), vfs.Direct)
	if err != nil {
		return err
	}
	const n = 50
	want := vfs.AlignedBuffer(4096)
	copy(want, pattern(4096))
	done := make(chan error)
	go func() {
		for i := range n {
			if _, err := f.WriteAt(want, int64(i)*4096); err != nil {
				done <- err
				return
			}
		}
		done <- f.Sync()
	}()
	got := make([]byte, 4096)
	for i := range n {
		err := vfs.ReadFullAt(f, got, int64(i)*4096)
		if err == nil && !bytes.Equal(got, want) {
			err = fmt.Errorf("page %d is torn", i)
		}
		if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return errors.Join(err, <-done)
		}
	}
	_, listErr := p.List(p.dir)
	return errors.Join(<-done, f.Close(), p.Rename(p.at(id+".tmp"), p.at(id)),
		listErr, p.SyncDir(p.dir), p.Remove(p.at(id)))
}

func TestConformance(t *testing.T) {
	onDisk := func(t *testing.T) (vfs.FS, string) { return vfs.OS(nil), t.TempDir() }
	inMemory := func(*testing.T) (vfs.FS, string) { return vfs.NewMem(), "/" }
	faulty := func(open func(*testing.T) (vfs.FS, string)) func(*testing.T) (vfs.FS, string) {
		return func(t *testing.T) (vfs.FS, string) {
			f, dir := open(t)
			return vfs.NewFault(f), dir
		}
	}
	t.Run("os", func(t *testing.T) { RunConformance(t, onDisk) })
	t.Run("mem", func(t *testing.T) { RunConformance(t, inMemory) })
	t.Run("mem 512", func(t *testing.T) {
		RunConformance(t, func(*testing.T) (vfs.FS, string) {
			m := vfs.NewMem()
			m.SetDirect(512)
			return m, "/"
		})
	})
	t.Run("mem without direct", func(t *testing.T) {
		RunConformance(t, func(*testing.T) (vfs.FS, string) {
			m := vfs.NewMem()
			m.SetDirect(0)
			return m, "/"
		})
	})
	t.Run("fault over os", func(t *testing.T) { RunConformance(t, faulty(onDisk)) })
	t.Run("fault over mem", func(t *testing.T) { RunConformance(t, faulty(inMemory)) })
	if _, err := os.Stat("/dev/shm"); err == nil {
		t.Run("os in memory", func(t *testing.T) {
			RunConformance(t, func(t *testing.T) (vfs.FS, string) {
				dir, err := os.MkdirTemp("/dev/shm", "vfs")
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
				return vfs.OS(nil), dir
			})
		})
	}
}
