package meta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"sync"

	"github.com/cambiumdb/cambium/distrib"
)

// Cache is a store that keeps the last topology seen by Load or Watch in a file: eight hex digits of the crc32c of what follows
// the line's end, then JSON. The file is replaced whole, so a crash leaves the old one or the new one.
type Cache struct {
	distrib.MetaStore // what it caches; Close closes it
	path              string

	mu    sync.Mutex // guards what follows and the file
	last  saved
	stale error
}

type saved struct {
	Revision int64
	Topology *distrib.Topology
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// OpenCache reads the file at path, if there is one. A damaged one is set aside as path.damaged.
func OpenCache(store distrib.MetaStore, path string) (*Cache, error) {
	c := &Cache{MetaStore: store, path: path}
	b, err := os.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return c, nil
	case err != nil:
		return nil, fmt.Errorf("cached topology: %w", err)
	}
	if c.last, err = parse(b); err != nil {
		c.last = saved{}
		if err := os.Rename(path, path+".damaged"); err != nil {
			return nil, fmt.Errorf("set the damaged cached topology aside: %w", err)
		}
	}
	return c, nil
}

// Cached returns the topology of the file at path, nil where there is none or it is damaged.
func Cached(path string) *distrib.Topology {
	if b, err := os.ReadFile(path); err == nil {
		if s, err := parse(b); err == nil {
			return s.Topology
		}
	}
	return nil
}

// Stale returns why the last Load answered from the file, nil where it did not.
func (c *Cache) Stale() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stale
}

// Load returns what the store has, or the last topology seen where the store does not answer: Stale tells. A
// store that is empty or of another cluster than the file is an error: to found anew would orphan the data.
func (c *Cache) Load(ctx context.Context) (*distrib.Topology, int64, error) {
	t, revision, err := c.MetaStore.Load(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.stale = err
	last := c.last
	switch {
	case err != nil && last.Revision == 0:
		return nil, 0, fmt.Errorf("no topology is cached in %s: %w", c.path, err)
	case err != nil:
		t, err := clone(last.Topology)
		return t, last.Revision, err
	case revision == 0 && last.Revision != 0:
		return nil, 0, fmt.Errorf("the metadata store is empty, but %s holds epoch %d of cluster %s", c.path, last.Topology.Epoch, last.Topology.ClusterID)
	case revision == 0:
		return nil, 0, nil
	}
	return t, revision, c.keep(t, revision)
}

// Watch implements distrib.MetaStore. A topology of another cluster is left out; one that could not be written
// to the file is passed on all the same, and the next Load says why.
func (c *Cache) Watch(ctx context.Context, changed func(*distrib.Topology, int64)) {
	c.MetaStore.Watch(ctx, func(t *distrib.Topology, revision int64) {
		c.mu.Lock()
		err := c.keep(t, revision)
		c.mu.Unlock()
		if !errors.Is(err, errOtherCluster) {
			changed(t, revision)
		}
	})
}

var errOtherCluster = errors.New("the metadata store is of another cluster")

// keep writes t to the file if it is newer. The caller holds mu.
func (c *Cache) keep(t *distrib.Topology, revision int64) error {
	if c.last.Revision != 0 && c.last.Topology.ClusterID != t.ClusterID {
		return fmt.Errorf("%w: it holds %s, %s holds %s", errOtherCluster, t.ClusterID, c.path, c.last.Topology.ClusterID)
	}
	if revision <= c.last.Revision {
		return nil
	}
	own, err := clone(t) // t is the caller's from here on
	if err != nil {
		return err
	}
	next := saved{Revision: revision, Topology: own}
	if err := replace(c.path, format(next)); err != nil {
		return fmt.Errorf("cache epoch %d of the topology: %w", t.Epoch, err)
	}
	c.last = next
	return nil
}

func clone(t *distrib.Topology) (*distrib.Topology, error) {
	b, err := encode(t)
	if err != nil {
		return nil, err
	}
	return decode(b)
}

func format(s saved) []byte {
	b, _ := json.Marshal(s) // numbers and strings: the topology came from JSON
	return append(fmt.Appendf(nil, "%08x\n", crc32.Checksum(b, castagnoli)), b...)
}

func parse(b []byte) (s saved, err error) {
	if len(b) < 9 || string(b[:9]) != fmt.Sprintf("%08x\n", crc32.Checksum(b[9:], castagnoli)) {
		return s, errors.New("wrong checksum")
	}
	if err = json.Unmarshal(b[9:], &s); err == nil && (s.Topology == nil || s.Revision <= 0) {
		err = errors.New("no topology in it")
	}
	return s, err
}

func replace(path string, b []byte) error {
	f, err := os.Create(path + ".new")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Rename(path+".new", path); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}
