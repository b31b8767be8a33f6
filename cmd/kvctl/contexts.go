package main

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// contexts remembers what was read last of each key of a cluster, so that a put of a shell replaces what a get showed:
// a file for each key, which holds the context, in a directory for each set of endpoints.
type contexts struct{ dir string }

// keptContexts is how many are remembered, about: those that were not used for the longest time go.
const keptContexts = 1000

// contextsOf returns those of a set of endpoints.
func contextsOf(endpoints []string) (*contexts, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return nil, err
	}
	set := slices.Clone(endpoints)
	slices.Sort(set)
	return &contexts{filepath.Join(cache, "cambium", "contexts", digest([]byte(strings.Join(set, ","))))}, nil
}

func digest(b []byte) string {
	sum := sha256.Sum256(b)
	return fmt.Sprintf("%x", sum[:16])
}

// get returns what is remembered of a key, nil: nothing.
func (c *contexts) get(key []byte) ([]byte, error) {
	b, err := os.ReadFile(filepath.Join(c.dir, digest(key)))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// set remembers a context of a key. None is forgotten.
func (c *contexts) set(key, token []byte) error {
	name := filepath.Join(c.dir, digest(key))
	if len(token) == 0 {
		if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(c.dir, "new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(token)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), name) // whole, for those that read meanwhile
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return c.prune()
}

// prune forgets a tenth of all where there are too many.
func (c *contexts) prune() error {
	entries, err := os.ReadDir(c.dir)
	if err != nil || len(entries) <= keptContexts {
		return err
	}
	files := make([]fs.FileInfo, 0, len(entries))
	for _, e := range entries {
		if info, err := e.Info(); err == nil { // else another has removed it
			files = append(files, info)
		}
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
	for _, f := range files[:len(files)/10] {
		if err := os.Remove(filepath.Join(c.dir, f.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
