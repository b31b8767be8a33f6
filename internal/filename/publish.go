package filename

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/cambiumdb/cambium/internal/corrupt"
	"github.com/cambiumdb/cambium/internal/vfs"
)

// Publish makes dir/base hold exactly content, so that a crash at any moment leaves either
// what was there before (maybe nothing) or all of content: it writes and syncs the temporary
// file tmpNum, renames it over base and syncs the directory. After an error either content
// may be there; the temporary file is removed where that is still possible. No other file may
// use tmpNum at the same time.
func Publish(fs vfs.FS, dir, base string, tmpNum uint64, content []byte) error {
	tmp := Path(dir, Temp, tmpNum)
	if err := writeSynced(fs, tmp, content); err != nil {
		fs.Remove(tmp)
		return fmt.Errorf("publish %s: %w", base, err)
	}
	if err := fs.Rename(tmp, join(dir, base)); err != nil {
		fs.Remove(tmp)
		return fmt.Errorf("publish %s: %w", base, err)
	}
	if err := fs.SyncDir(dir); err != nil {
		return fmt.Errorf("publish %s: %w", base, err)
	}
	return nil
}

func writeSynced(fs vfs.FS, name string, content []byte) error {
	f, err := fs.Create(name, vfs.Buffered)
	if err != nil {
		return err
	}
	if _, err := f.WriteAt(content, 0); err != nil {
		f.Close()
		return err
	}
	if err := f.Sync(); err != nil {
		f.Close()
		return err
	}
	return f.Close()
}

// SetCurrent publishes CURRENT so that it names the manifest of that number. The manifest
// itself must be durable before.
func SetCurrent(fs vfs.FS, dir string, manifestNum uint64) error {
	return Publish(fs, dir, Base(Current, 0), manifestNum, []byte(Base(Manifest, manifestNum)+"\n"))
}

// ReadCurrent returns the number of the manifest that CURRENT names. A directory without
// CURRENT gives an error that is fs.ErrNotExist; bytes that are not a manifest's name and a
// newline give a corrupt.Error.
func ReadCurrent(fs vfs.FS, dir string) (manifestNum uint64, err error) {
	p := Path(dir, Current, 0)
	content, err := readSmall(fs, p)
	if err != nil {
		return 0, fmt.Errorf("read CURRENT: %w", err)
	}
	base, found := strings.CutSuffix(content, "\n")
	t, num, ok := Parse(base)
	if !found || !ok || t != Manifest {
		return 0, corrupt.Errorf(p, 0, "want \"MANIFEST-NNNNNN\\n\", got %q", content)
	}
	return num, nil
}

// smallLimit bounds what readSmall reads; the longest legal CURRENT is 30 bytes.
const smallLimit = 256

func readSmall(fs vfs.FS, name string) (string, error) {
	f, err := fs.Open(name, vfs.Buffered)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var buf [smallLimit]byte
	n, err := f.ReadAt(buf[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	return string(buf[:n]), nil
}
