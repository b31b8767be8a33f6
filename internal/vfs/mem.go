package vfs

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Mem is a file system in memory that can lose power. It remembers what Sync and SyncDir have
// made durable, and what was done since; Crash returns a file system that holds the former and
// a part of the latter, as the durability contract of this package allows.
//
//	m := vfs.NewMem()
//	... run a database on m ...
//	after := m.Crash(rand.New(rand.NewPCG(seed, 0)))
//	... open the database on after, and check it ...
//
// Paths are cleaned first and are all below one root, which always exists and is durable, so
// "db", "/db" and "./db" are one directory. Files opened Direct refuse misaligned transfers as
// a device does. A Mem may be used by several goroutines, and goes on after Crash as if nothing
// had happened.
type Mem struct {
	mu        sync.RWMutex // guards everything below, and every node
	root      *memNode
	changes   []*change // of names, not yet durable, oldest first
	locked    map[*memNode]bool
	hook      func(op, name string)
	capacity  int64 // bytes; below 0 is no bound
	used      int64 // bytes in pages that hold or reserve something
	alignment int
	direct    bool
	strict    bool
	holes     bool
}

// NewMem returns an empty file system with no bound, whose direct files are strict and aligned
// to 4096 bytes.
func NewMem() *Mem {
	return &Mem{
		root: newDir(), locked: map[*memNode]bool{},
		capacity: -1, alignment: pageSize, direct: true, strict: true, holes: true,
	}
}

// SetCapacity bounds the bytes that files may take, in whole pages; below 0 is no bound. A
// write that does not fit keeps what fits and returns ErrNoSpace.
func (m *Mem) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes
}

// SetStrict chooses whether a misaligned transfer of a direct file is an error. It is, at first.
func (m *Mem) SetStrict(strict bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.strict = strict
}

// SetDirect chooses what files opened Direct from now on are: direct with that alignment, a
// power of two, or, with 0, Buffered as on a file system that refuses O_DIRECT.
func (m *Mem) SetDirect(alignment int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.direct = alignment > 0
	if m.direct {
		m.alignment = alignment
	}
}

// SetSyncHook has fn called around each sync: with op "sync" before and "synced" after a
// File.Sync, with "syncdir" and "syncdir done" around a SyncDir. The hook may call Crash, which
// is how a test crashes at every sync point. nil ends the calls.
func (m *Mem) SetSyncHook(fn func(op, name string)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hook = fn
}

// SetHoles chooses whether PunchHole works. It does, at first.
func (m *Mem) SetHoles(punches bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.holes = punches
}

func (m *Mem) callHook(op, name string) {
	m.mu.RLock()
	hook := m.hook
	m.mu.RUnlock()
	if hook != nil {
		hook(op, name)
	}
}

// find returns the node of a path, or nil.
func (m *Mem) find(name string) *memNode {
	node := m.root
	for part := range strings.SplitSeq(path.Clean("/" + name)[1:], "/") {
		if part == "" {
			continue
		}
		if node = node.entries[part]; node == nil {
			return nil
		}
	}
	return node
}

// parent returns the directory that holds the last element of a path, and that element.
func (m *Mem) parent(name string) (dir *memNode, base string, err error) {
	dirName, base := path.Split(path.Clean("/" + name))
	dir = m.find(dirName)
	switch {
	case base == "":
		return nil, "", fs.ErrInvalid
	case dir == nil:
		return nil, "", fs.ErrNotExist
	case dir.entries == nil:
		return nil, "", syscall.ENOTDIR
	}
	return dir, base, nil
}

func pathError(op, name string, err error) error {
	if err == nil {
		return nil
	}
	return &fs.PathError{Op: op, Path: name, Err: err}
}

// Create makes or truncates a file.
func (m *Mem) Create(name string, mode Mode) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err != nil {
		return nil, pathError("create", name, err)
	}
	node := dir.entries[base]
	switch {
	case node == nil:
		node = &memNode{}
		m.apply(nameSet{dir, base, node})
	case node.entries != nil:
		return nil, pathError("create", name, syscall.EISDIR)
	default:
		m.used += node.data.truncate(0)
	}
	return m.openNode(name, node, mode, true), nil
}

// Open opens a file for reading.
func (m *Mem) Open(name string, mode Mode) (File, error) {
	return m.openExisting(name, mode, false)
}

// OpenReadWrite opens a file for reading and writing.
func (m *Mem) OpenReadWrite(name string, mode Mode) (File, error) {
	return m.openExisting(name, mode, true)
}

func (m *Mem) openExisting(name string, mode Mode, writable bool) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	node := m.find(name)
	if node == nil {
		return nil, pathError("open", name, fs.ErrNotExist)
	}
	if node.entries != nil {
		return nil, pathError("open", name, syscall.EISDIR)
	}
	return m.openNode(name, node, mode, writable), nil
}

func (m *Mem) openNode(name string, node *memNode, mode Mode, writable bool) File {
	node.opens++
	f := &memFile{mem: m, node: node, name: name, writable: writable, alignment: pageSize}
	if mode == Direct && m.direct {
		f.direct, f.alignment = true, m.alignment
	}
	return f
}

// Remove removes a file, or a directory that is empty.
func (m *Mem) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err != nil {
		return pathError("remove", name, err)
	}
	node := dir.entries[base]
	if node == nil {
		return pathError("remove", name, fs.ErrNotExist)
	}
	if len(node.entries) > 0 {
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	m.apply(nameSet{dir, base, nil})
	return nil
}

// Rename gives a file or directory another name, in place of a file that has it. A crash keeps
// both sides of it or none; SyncDir of either directory makes both durable.
func (m *Mem) Rename(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return linkError("rename", oldName, newName, m.rename(oldName, newName))
}

func (m *Mem) rename(oldName, newName string) error {
	oldDir, oldBase, err := m.parent(oldName)
	if err != nil {
		return err
	}
	newDir, newBase, err := m.parent(newName)
	if err != nil {
		return err
	}
	node, target := oldDir.entries[oldBase], newDir.entries[newBase]
	switch {
	case node == nil:
		return fs.ErrNotExist
	case node == target:
		return nil
	case node.entries != nil && strings.HasPrefix(path.Clean("/"+newName), path.Clean("/"+oldName)+"/"):
		return fs.ErrInvalid
	case target != nil && (target.entries != nil || node.entries != nil):
		return fs.ErrExist
	}
	m.apply(nameSet{newDir, newBase, node}, nameSet{oldDir, oldBase, nil})
	return nil
}

// Link gives a file a second name.
func (m *Mem) Link(oldName, newName string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	node := m.find(oldName)
	dir, base, err := m.parent(newName)
	switch {
	case node == nil:
		err = fs.ErrNotExist
	case err != nil:
	case node.entries != nil:
		err = fs.ErrPermission
	case dir.entries[base] != nil:
		err = fs.ErrExist
	default:
		m.apply(nameSet{dir, base, node})
	}
	return linkError("link", oldName, newName, err)
}

func linkError(op, oldName, newName string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s to %s: %w", op, oldName, newName, err)
}

// MkdirAll makes a directory and its parents.
func (m *Mem) MkdirAll(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	node := m.root
	for part := range strings.SplitSeq(path.Clean("/" + dir)[1:], "/") {
		if part == "" {
			continue
		}
		next := node.entries[part]
		if next == nil {
			next = newDir()
			m.apply(nameSet{node, part, next})
		}
		if next.entries == nil {
			return pathError("mkdir", dir, syscall.ENOTDIR)
		}
		node = next
	}
	return nil
}

// directory returns the node of a path that must be a directory.
func (m *Mem) directory(op, dir string) (*memNode, error) {
	node := m.find(dir)
	if node == nil {
		return nil, pathError(op, dir, fs.ErrNotExist)
	}
	if node.entries == nil {
		return nil, pathError(op, dir, syscall.ENOTDIR)
	}
	return node, nil
}

// List returns the names in dir, sorted.
func (m *Mem) List(dir string) ([]string, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	node, err := m.directory("list", dir)
	if err != nil {
		return nil, err
	}
	return sortedNames(node.entries), nil
}

func sortedNames(entries map[string]*memNode) []string {
	return slices.Sorted(maps.Keys(entries))
}

// Stat describes a file or directory. Its time of modification is always zero.
func (m *Mem) Stat(name string) (fs.FileInfo, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	node := m.find(name)
	if node == nil {
		return nil, pathError("stat", name, fs.ErrNotExist)
	}
	info := memInfo{name: path.Base(name), size: node.data.size, mode: 0o644, allocated: node.data.allocated(), links: node.links}
	if node.entries != nil {
		info.mode = fs.ModeDir | 0o755
	}
	return info, nil
}

// SyncDir makes the names in dir durable. A rename between two directories becomes durable
// with either.
func (m *Mem) SyncDir(dir string) error {
	m.callHook("syncdir", dir)
	if err := m.syncDir(dir); err != nil {
		return err
	}
	m.callHook("syncdir done", dir)
	return nil
}

func (m *Mem) syncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	node, err := m.directory("syncdir", dir)
	if err != nil {
		return err
	}
	m.changes = slices.DeleteFunc(m.changes, m.neededBy(node))
	return nil
}

// Lock takes an exclusive lock on a file.
func (m *Mem) Lock(name string) (Lock, error) {
	f, err := m.OpenReadWrite(name, Buffered)
	if errors.Is(err, fs.ErrNotExist) {
		f, err = m.Create(name, Buffered)
	}
	if err != nil {
		return nil, err
	}
	file := f.(*memFile)
	m.mu.Lock()
	held := m.locked[file.node]
	m.locked[file.node] = true
	m.mu.Unlock()
	if held {
		return nil, errors.Join(pathError("lock", name, ErrLocked), f.Close())
	}
	return &memLock{file: file}, nil
}

type memLock struct{ file *memFile }

func (l *memLock) Close() error {
	l.file.mem.mu.Lock()
	delete(l.file.mem.locked, l.file.node)
	l.file.mem.mu.Unlock()
	return l.file.Close()
}

// Free returns the bytes that fit below the capacity.
func (m *Mem) Free(dir string) (int64, error) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if _, err := m.directory("free", dir); err != nil {
		return 0, err
	}
	return m.room(), nil
}

func (m *Mem) room() int64 {
	if m.capacity < 0 {
		return math.MaxInt64
	}
	return max(m.capacity-m.used, 0)
}

// memInfo is the fs.FileInfo of a Mem.
type memInfo struct {
	name            string
	size, allocated int64
	links           int
	mode            fs.FileMode
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) Mode() fs.FileMode  { return i.mode }
func (i memInfo) ModTime() time.Time { return time.Time{} }
func (i memInfo) IsDir() bool        { return i.mode.IsDir() }
func (i memInfo) Sys() any           { return nil }
