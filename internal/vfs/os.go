package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"syscall"

	"github.com/ncw/directio"
	"golang.org/x/sys/unix"
)

// defaultAlignment is what direct I/O is tried with where the kernel does not say.
const defaultAlignment = 4096

// OS returns the operating system's files. The logger hears once when a file system refuses
// O_DIRECT and files are opened Buffered instead; nil is silence.
func OS(logger *slog.Logger) FS {
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &osFS{logger: logger}
}

type osFS struct {
	logger     *slog.Logger
	onceDirect sync.Once // the line about O_DIRECT
	onceDir    sync.Once // the line about directories that cannot be synced
}

func (o *osFS) Create(name string, mode Mode) (File, error) {
	return o.open(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, mode)
}

func (o *osFS) Open(name string, mode Mode) (File, error) {
	return o.open(name, os.O_RDONLY, mode)
}

func (o *osFS) OpenReadWrite(name string, mode Mode) (File, error) {
	return o.open(name, os.O_RDWR, mode)
}

func (o *osFS) open(name string, flag int, mode Mode) (File, error) {
	if mode == Direct {
		f, err := o.openDirect(name, flag)
		if f != nil || err != nil {
			return f, err
		}
	}
	f, err := os.OpenFile(name, flag, 0o644)
	if err != nil {
		return nil, osError(err)
	}
	return &osFile{file: f, alignment: defaultAlignment}, nil
}

// openDirect opens the file for direct I/O. It returns nil and no error where the file system
// does not do it.
func (o *osFS) openDirect(name string, flag int) (File, error) {
	f, err := directio.OpenFile(name, flag, 0o644)
	if errors.Is(err, syscall.EINVAL) || errors.Is(err, errors.ErrUnsupported) {
		o.refused(name, err)
		return nil, nil
	}
	if err != nil {
		return nil, osError(err)
	}
	alignment, err := directAlignment(f)
	if err != nil {
		_ = f.Close() // nothing was written through it
		o.refused(name, err)
		return nil, nil
	}
	return &osFile{file: f, direct: true, alignment: alignment}, nil
}

func (o *osFS) refused(name string, err error) {
	o.onceDirect.Do(func() {
		o.logger.Warn("direct I/O refused; files go through the page cache", "file", name, "err", err)
	})
}

func (o *osFS) Remove(name string) error { return osError(os.Remove(name)) }

func (o *osFS) Rename(oldName, newName string) error { return osError(os.Rename(oldName, newName)) }

// Link does not use os.Link, which on Linux links a symbolic link itself.
func (o *osFS) Link(oldName, newName string) error {
	err := unix.Linkat(unix.AT_FDCWD, oldName, unix.AT_FDCWD, newName, unix.AT_SYMLINK_FOLLOW)
	for err == unix.EINTR {
		err = unix.Linkat(unix.AT_FDCWD, oldName, unix.AT_FDCWD, newName, unix.AT_SYMLINK_FOLLOW)
	}
	if err != nil {
		return osError(&os.LinkError{Op: "link", Old: oldName, New: newName, Err: err})
	}
	return nil
}

func (o *osFS) MkdirAll(dir string) error { return osError(os.MkdirAll(dir, 0o755)) }

func (o *osFS) List(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, osError(err)
	}
	names, err := d.Readdirnames(-1)
	_ = d.Close() // it was only read
	if err != nil {
		return nil, osError(err)
	}
	slices.Sort(names)
	return names, nil
}

func (o *osFS) Stat(name string) (fs.FileInfo, error) {
	info, err := os.Stat(name)
	return info, osError(err)
}

// SyncDir opens, syncs and closes the directory. A file system that has no such operation says
// EINVAL; there is nothing else to call, so this is logged once and no error.
func (o *osFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return osError(err)
	}
	err = d.Sync()
	_ = d.Close() // it was only read
	if errors.Is(err, syscall.EINVAL) {
		o.onceDir.Do(func() {
			o.logger.Warn("the file system cannot sync directories", "dir", dir, "err", err)
		})
		return nil
	}
	return osError(err)
}

func (o *osFS) Lock(name string) (Lock, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, osError(err)
	}
	if err := lockFile(f); err != nil {
		_ = f.Close() // no lock is held through it
		if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) {
			return nil, &fs.PathError{Op: "lock", Path: name, Err: fmt.Errorf("%w: another holder has it (%w)", ErrLocked, err)}
		}
		return nil, &fs.PathError{Op: "lock", Path: name, Err: err}
	}
	return f, nil
}

func (o *osFS) Free(dir string) (int64, error) {
	n, err := freeBytes(dir)
	if err != nil {
		return 0, &fs.PathError{Op: "statfs", Path: dir, Err: err}
	}
	return n, nil
}

// osFile is an open file of the operating system. os.File brings the loops over EINTR and short
// transfers, and makes a late call after Close an error instead of a call on someone's file.
type osFile struct {
	file      *os.File
	direct    bool
	alignment int
}

func (f *osFile) Name() string   { return f.file.Name() }
func (f *osFile) Direct() bool   { return f.direct }
func (f *osFile) Alignment() int { return f.alignment }
func (f *osFile) Close() error   { return osError(f.file.Close()) }

func (f *osFile) Size() (int64, error) {
	info, err := f.file.Stat()
	if err != nil {
		return 0, osError(err)
	}
	return info.Size(), nil
}

func (f *osFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.file.ReadAt(p, off)
	for f.direct && n < len(p) && errors.Is(err, syscall.EINVAL) && n%f.alignment != 0 {
		// A short read that ended inside a unit, and the kernel refused to go on from there.
		// That is the end of the file, or else the rest is read again from the unit's start.
		size, sizeErr := f.Size()
		if sizeErr != nil {
			return n, sizeErr
		}
		if off+int64(n) >= size {
			return n, io.EOF
		}
		whole := n - n%f.alignment
		var more int
		more, err = f.file.ReadAt(p[whole:], off+int64(whole))
		if whole+more <= n {
			break
		}
		n = whole + more
	}
	if err == io.EOF {
		return n, io.EOF
	}
	return n, osError(err)
}

func (f *osFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.file.WriteAt(p, off)
	return n, osError(err)
}

func (f *osFile) Truncate(size int64) error { return osError(f.file.Truncate(size)) }

func (f *osFile) Preallocate(size int64) error {
	err := f.control(func(fd int) error { return allocate(fd, size) })
	if errors.Is(err, errors.ErrUnsupported) {
		return f.extend(size)
	}
	return f.named("preallocate", err)
}

// extend makes the file at least size bytes long without reserving anything.
func (f *osFile) extend(size int64) error {
	now, err := f.Size()
	if err != nil || now >= size {
		return err
	}
	return f.Truncate(size)
}

func (f *osFile) PunchHole(off, n int64) error {
	if !validHole(off, n) {
		return f.named("punch hole", errBadHole)
	}
	return f.named("punch hole", f.control(func(fd int) error { return punchHole(fd, off, n) }))
}

var errBadHole = fmt.Errorf("ends are not multiples of %d: %w", HoleUnit, fs.ErrInvalid)

func validHole(off, n int64) bool {
	return off >= 0 && n > 0 && off%HoleUnit == 0 && n%HoleUnit == 0
}

func (f *osFile) Sync() error { return dataSync(f) }

// control runs fn on the descriptor, again while a signal interrupts it.
func (f *osFile) control(fn func(fd int) error) error {
	conn, err := f.file.SyscallConn()
	if err != nil {
		return err
	}
	var fnErr error
	err = conn.Control(func(fd uintptr) {
		fnErr = fn(int(fd))
		for fnErr == syscall.EINTR {
			fnErr = fn(int(fd))
		}
	})
	if err != nil {
		return fs.ErrClosed // the one reason for it, in the words of another package
	}
	return fnErr
}

// named adds the operation and the path to a bare error of the kernel.
func (f *osFile) named(op string, err error) error {
	if err == nil {
		return nil
	}
	return osError(&fs.PathError{Op: op, Path: f.Name(), Err: err})
}

// spaceError is an error of the kernel about a full device or quota.
type spaceError struct{ err error }

func (e *spaceError) Error() string        { return e.err.Error() }
func (e *spaceError) Unwrap() error        { return e.err }
func (e *spaceError) Is(target error) bool { return target == ErrNoSpace }

// osError puts ErrNoSpace into the chain where it belongs. The os package has already named
// the operation and the path.
func osError(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return &spaceError{err}
	}
	return err
}
