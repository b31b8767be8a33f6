// Package vfs is the only door to files: the operating system's with direct I/O, an in-memory
// file system that can crash, and a fault injector, behind one contract.
//
//	fs := vfs.OS(nil)
//	f, err := fs.Create("db/000004.sst", vfs.Direct)
//	w := vfs.NewSequentialWriter(f, vfs.WriterOptions{})
//	w.Write(p)          // buffered; whole aligned chunks go to the device
//	err = w.Finish()    // tail written, truncated to the logical size, synced
//	err = fs.SyncDir("db")
//
// # Durability contract
//
// Bytes written are durable only after File.Sync returns nil; without it a crash may keep any
// subset of the pages written since the last Sync, whole or zero. The size of a file is made
// durable by Sync too. A name made, renamed or removed is durable only after SyncDir of its
// directory; without it a crash may keep or lose each such change by itself. After Sync has
// failed once the state of every page written since the last good Sync is unknown, and Sync
// must not be called on that file again.
//
// A hole is like bytes written: until Sync a crash may keep or lose each of its pages, which
// then read as zero or as before. Bytes outside the hole are never touched.
//
// An FS may be used by several goroutines. A File allows concurrent ReadAt beside one writer.
package vfs

import (
	"errors"
	"io"
	"io/fs"
)

// Mode chooses how a file's bytes travel.
type Mode uint8

const (
	// Buffered goes through the kernel's page cache: small files, or where O_DIRECT is refused.
	Buffered Mode = iota
	// Direct asks for O_DIRECT. Offsets, lengths and buffers of ReadAt and WriteAt must be
	// multiples of the file's Alignment when File.Direct reports true; ReadFullAt and
	// SequentialWriter do that for the caller. Where the file system refuses O_DIRECT the file
	// is opened Buffered instead, and this is said once in the log.
	Direct
)

// HoleUnit is what the ends of a hole are aligned to: the block of most file systems. One with
// larger blocks gives back the whole ones inside the hole.
const HoleUnit = 4096

// ErrNoSpace is in the chain of every error that a full device or quota caused.
var ErrNoSpace = errors.New("no space left on device")

// ErrLocked is in the chain of the error that Lock returns when another holder has the file.
var ErrLocked = errors.New("locked")

// File is an open file. ReadAt and WriteAt follow io.ReaderAt and io.WriterAt: a short count
// comes with an error, io.EOF at the end of the file only.
type File interface {
	io.ReaderAt
	io.WriterAt
	io.Closer

	// Name is the path that the file was opened with.
	Name() string
	// Size is the current length in bytes.
	Size() (int64, error)
	// Truncate sets the length in bytes. Direct files take any length.
	Truncate(size int64) error
	// Preallocate reserves space for [0, size) and extends the length to size where it is
	// shorter; the new bytes read as zero. File systems that cannot reserve only extend.
	Preallocate(size int64) error
	// PunchHole gives the space of [off, off+n) back: the bytes read as zero, and the length
	// stays. Both are multiples of HoleUnit and lie within the file, rounded up to HoleUnit.
	// Where the file system cannot do it, errors.ErrUnsupported is in the chain and nothing has
	// changed. Every name of the file sees the hole: see Links.
	PunchHole(off, n int64) error
	// Sync makes the bytes and the length durable (fdatasync).
	Sync() error
	// Direct reports whether reads and writes must be aligned.
	Direct() bool
	// Alignment is the unit in bytes for offsets and lengths of direct I/O, a power of two, at
	// least 512, and for the addresses of buffers, which need no more than BufferAlign; for
	// buffered files it is 4096 and only advice. It is what the device can do, often 512; a
	// file system writes in blocks of 4096.
	Alignment() int
}

// Lock is held until Close.
type Lock interface{ io.Closer }

// Allocated returns the bytes that a file takes on the device, which holes make less than its
// size. info comes from an FS; where the system does not tell it is the size.
func Allocated(info fs.FileInfo) int64 {
	if n, _, ok := usage(info); ok {
		return n
	}
	return info.Size()
}

// Links returns how many names a file has, 0 where the system does not tell.
func Links(info fs.FileInfo) int {
	_, n, _ := usage(info)
	return n
}

func usage(info fs.FileInfo) (allocated int64, links int, ok bool) {
	if m, is := info.(memInfo); is {
		return m.allocated, m.links, true
	}
	return osUsage(info)
}

// FS makes and finds files. Paths are slash-separated and not cleaned. Errors satisfy
// errors.Is with fs.ErrNotExist, fs.ErrExist, fs.ErrPermission and ErrNoSpace where these
// apply, and name the operation and the path.
type FS interface {
	// Create makes or truncates a file for reading and writing.
	Create(name string, mode Mode) (File, error)
	// Open opens an existing file for reading only.
	Open(name string, mode Mode) (File, error)
	// OpenReadWrite opens an existing file for reading and writing and keeps its bytes:
	// recycled logs, repair.
	OpenReadWrite(name string, mode Mode) (File, error)
	Remove(name string) error
	Rename(oldName, newName string) error
	// Link makes a hard link to the file that oldName leads to, be it through symbolic links;
	// where the file system has none it returns an error.
	Link(oldName, newName string) error
	// MkdirAll makes a directory and its parents; an existing one is no error.
	MkdirAll(dir string) error
	// List returns the names (not paths) in dir, sorted.
	List(dir string) ([]string, error)
	// Stat describes a file or directory; Allocated and Links tell more of it.
	Stat(name string) (fs.FileInfo, error)
	// SyncDir makes the names in dir durable.
	SyncDir(dir string) error
	// Lock takes an exclusive lock on name, making the file where missing. A lock held by
	// another process, or by this one, gives ErrLocked.
	Lock(name string) (Lock, error)
	// Free returns the bytes that may still be written under dir.
	Free(dir string) (int64, error)
}
