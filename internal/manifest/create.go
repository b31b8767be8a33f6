package manifest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/cambiumdb/cambium/internal/filename"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// Create makes a new database in dir, which exists: IDENTITY, a manifest with an empty tree,
// and last CURRENT. A crash before that leaves a directory in which Create works again. A
// directory with a CURRENT gives fs.ErrExist; one with tables, blob files or logs and none is
// somebody's damaged database and is left alone.
func Create(fsys vfs.FS, dir string, opts Options) (*Set, error) {
	if err := creatable(fsys, dir); err != nil {
		return nil, fmt.Errorf("create database: %w", err)
	}
	s := newSet(fsys, dir, opts, &Version{})
	if err := s.markExisting(); err != nil {
		return nil, err
	}
	s.dbID = opts.DBID
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.roll(nil); err != nil {
		return nil, fmt.Errorf("create database: %w", err)
	}
	return s, nil
}

func creatable(fsys vfs.FS, dir string) error {
	names, err := fsys.List(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		switch t, _, _ := filename.Parse(name); t {
		case filename.Current:
			return fmt.Errorf("%s is there: %w", filename.Path(dir, t, 0), fs.ErrExist)
		case filename.Table, filename.Blob, filename.Log:
			return fmt.Errorf("%s holds %s but no CURRENT: a database that lost it, and not a new directory", dir, name)
		}
	}
	return nil
}

// identityLimit bounds what is read of IDENTITY; the id is 36 bytes.
const identityLimit = 4096

// readIdentity takes the database's id from IDENTITY where the manifest has none.
func (s *Set) readIdentity() error {
	f, err := s.fs.Open(filename.Path(s.dir, filename.Identity, 0), vfs.Buffered)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read IDENTITY: %w", err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.NewSectionReader(f, 0, identityLimit))
	if err != nil {
		return fmt.Errorf("read IDENTITY: %w", err)
	}
	id := strings.TrimSpace(string(content))
	if s.dbID == "" {
		s.dbID = id
	}
	s.identity = id != "" && id == s.dbID
	return nil
}

// publishIdentity makes the file IDENTITY where it is missing or says something else than the
// manifest.
func (s *Set) publishIdentity() error {
	if s.identity {
		return nil
	}
	if s.dbID == "" {
		s.dbID = newID()
	}
	if err := filename.Publish(s.fs, s.dir, filename.Base(filename.Identity, 0), s.NewFileNum(), []byte(s.dbID)); err != nil {
		return err
	}
	s.wrote(int64(len(s.dbID)))
	s.identity = true
	return nil
}

// newID returns a random UUID (RFC 9562, version 4).
func newID() string {
	var b [16]byte
	rand.Read(b[:])
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}
