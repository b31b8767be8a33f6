package vfs

import (
	"errors"
	"io"
	"io/fs"
)

// Create makes or truncates a file.
func (f *Fault) Create(name string, mode Mode) (File, error) {
	if err := f.check(OpCreate, "create", name); err != nil {
		return nil, err
	}
	return f.wrap(f.inner.Create(name, mode))
}

// Open opens a file for reading.
func (f *Fault) Open(name string, mode Mode) (File, error) {
	if err := f.check(OpOpen, "open", name); err != nil {
		return nil, err
	}
	return f.wrap(f.inner.Open(name, mode))
}

// OpenReadWrite opens a file for reading and writing.
func (f *Fault) OpenReadWrite(name string, mode Mode) (File, error) {
	if err := f.check(OpOpen, "open", name); err != nil {
		return nil, err
	}
	return f.wrap(f.inner.OpenReadWrite(name, mode))
}

func (f *Fault) wrap(file File, err error) (File, error) {
	if err != nil {
		return nil, err
	}
	return &faultFile{File: file, fault: f}, nil
}

// Remove removes a file.
func (f *Fault) Remove(name string) error {
	if err := f.check(OpRemove, "remove", name); err != nil {
		return err
	}
	return f.inner.Remove(name)
}

// Rename gives a file another name.
func (f *Fault) Rename(oldName, newName string) error {
	if err := f.check(OpRename, "rename", newName); err != nil {
		return err
	}
	return f.inner.Rename(oldName, newName)
}

// Link gives a file a second name.
func (f *Fault) Link(oldName, newName string) error {
	if err := f.check(OpLink, "link", newName); err != nil {
		return err
	}
	return f.inner.Link(oldName, newName)
}

// MkdirAll makes a directory and its parents.
func (f *Fault) MkdirAll(dir string) error {
	if err := f.check(OpMkdir, "mkdir", dir); err != nil {
		return err
	}
	return f.inner.MkdirAll(dir)
}

// List returns the names in dir.
func (f *Fault) List(dir string) ([]string, error) {
	if err := f.check(OpList, "list", dir); err != nil {
		return nil, err
	}
	return f.inner.List(dir)
}

// Stat describes a file or directory.
func (f *Fault) Stat(name string) (fs.FileInfo, error) {
	if err := f.check(OpStat, "stat", name); err != nil {
		return nil, err
	}
	return f.inner.Stat(name)
}

// SyncDir makes the names in dir durable.
func (f *Fault) SyncDir(dir string) error {
	if err := f.check(OpSyncDir, "syncdir", dir); err != nil {
		return err
	}
	return f.inner.SyncDir(dir)
}

// Lock takes an exclusive lock.
func (f *Fault) Lock(name string) (Lock, error) {
	if err := f.check(OpLock, "lock", name); err != nil {
		return nil, err
	}
	return f.inner.Lock(name)
}

// Free returns the bytes that may still be written.
func (f *Fault) Free(dir string) (int64, error) {
	if err := f.check(OpStat, "free", dir); err != nil {
		return 0, err
	}
	return f.inner.Free(dir)
}

// faultFile is an open file of a Fault. Name, Direct and Alignment are the inner file's.
type faultFile struct {
	File
	fault      *Fault
	syncFailed bool // guarded by fault.mu
}

func (f *faultFile) Size() (int64, error) {
	if err := f.fault.check(OpStat, "stat", f.Name()); err != nil {
		return 0, err
	}
	return f.File.Size()
}

func (f *faultFile) ReadAt(p []byte, off int64) (int, error) {
	return f.transfer(OpRead, "read", f.File.ReadAt, p, off)
}

func (f *faultFile) WriteAt(p []byte, off int64) (int, error) {
	return f.transfer(OpWrite, "write", f.File.WriteAt, p, off)
}

// transfer moves p, or half of it, or nothing.
func (f *faultFile) transfer(op Op, verb string, move func([]byte, int64) (int, error), p []byte, off int64) (int, error) {
	rule := f.fault.decide(op, f.Name())
	err := rule.failure(verb, f.Name())
	if err == nil {
		return move(p, off)
	}
	if errors.Is(err, io.EOF) {
		err = io.EOF // readers compare it with ==
	}
	if !rule.Short {
		return 0, err
	}
	half := len(p) / 2
	if f.Direct() {
		half = int(roundDown(int64(half), int64(f.Alignment())))
	}
	n, moveErr := move(p[:half], off)
	if moveErr != nil {
		return n, moveErr
	}
	return n, err
}

func (f *faultFile) Truncate(size int64) error {
	if err := f.fault.check(OpTruncate, "truncate", f.Name()); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *faultFile) Preallocate(size int64) error {
	if err := f.fault.check(OpPreallocate, "preallocate", f.Name()); err != nil {
		return err
	}
	return f.File.Preallocate(size)
}

func (f *faultFile) PunchHole(off, n int64) error {
	if err := f.fault.check(OpPunchHole, "punch hole", f.Name()); err != nil {
		return err
	}
	return f.File.PunchHole(off, n)
}

func (f *faultFile) Sync() error {
	f.fault.mu.Lock()
	if f.syncFailed {
		f.fault.resyncs++
	}
	f.fault.mu.Unlock()
	err := f.fault.check(OpSync, "sync", f.Name())
	if err == nil {
		err = f.File.Sync()
	}
	if err != nil {
		f.fault.mu.Lock()
		f.syncFailed = true
		f.fault.mu.Unlock()
	}
	return err
}

func (f *faultFile) Close() error {
	failure := f.fault.check(OpClose, "close", f.Name())
	if err := f.File.Close(); err != nil {
		return err
	}
	return failure
}
