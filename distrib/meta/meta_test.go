package meta

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
)

func topology(epoch uint64) *distrib.Topology {
	return &distrib.Topology{ClusterID: "c", Epoch: epoch, Members: []distrib.Member{{ID: epoch, Name: "a"}}}
}

func TestStores(t *testing.T) {
	for name, store := range map[string]func(*testing.T) distrib.MetaStore{
		"memory": func(*testing.T) distrib.MetaStore { return NewMemory() },
		"cache": func(t *testing.T) distrib.MetaStore {
			c, err := OpenCache(NewMemory(), filepath.Join(t.TempDir(), "topology"))
			require.NoError(t, err)
			return c
		},
		"etcd": func(t *testing.T) distrib.MetaStore { return open(t, Options{Dir: t.TempDir(), Name: "a"}) },
	} {
		t.Run(name, func(t *testing.T) { conform(t, store(t)) })
	}
}

// conform is what every store does.
func conform(t *testing.T, s distrib.MetaStore) {
	ctx, cancel := context.WithCancel(t.Context())
	none, revision, err := s.Load(ctx)
	require.NoError(t, err)
	require.Nil(t, none)
	require.Zero(t, revision)

	for round := range uint64(5) { // the first founds
		var wg sync.WaitGroup
		var errs [2]error
		for i := range errs {
			wg.Go(func() { _, errs[i] = s.Update(ctx, topology(2*round+uint64(i)+1), revision) })
		}
		wg.Wait()
		if errs[0] == nil {
			errs[0], errs[1] = errs[1], errs[0]
		}
		require.ErrorIs(t, errs[0], distrib.ErrChanged)
		require.NoError(t, errs[1])
		_, revision, err = s.Load(ctx)
		require.NoError(t, err)
	}

	seen := make(chan uint64, 100)
	var wg sync.WaitGroup
	wg.Go(func() { s.Watch(ctx, func(t *distrib.Topology, _ int64) { seen <- t.Epoch }) })
	_, err = s.Update(ctx, topology(50), revision)
	require.NoError(t, err)
	for <-seen != 50 {
	}
	cancel()
	wg.Wait()
}

func TestCacheAnswersForAStoreThatIsDown(t *testing.T) {
	path, m := filepath.Join(t.TempDir(), "topology"), NewMemory()
	reopen := func(s distrib.MetaStore) *Cache {
		c, err := OpenCache(s, path)
		require.NoError(t, err)
		return c
	}
	_, err := m.Update(t.Context(), topology(7), 0)
	require.NoError(t, err)
	_, _, err = reopen(m).Load(t.Context())
	require.NoError(t, err)

	m.SetDown(true)
	c := reopen(m) // after a restart
	got, revision, err := c.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, topology(7), got)
	require.EqualValues(t, 1, revision)
	require.ErrorIs(t, c.Stale(), ErrDown)
	_, err = c.Update(t.Context(), topology(8), revision)
	require.ErrorIs(t, err, ErrDown)

	_, _, err = reopen(NewMemory()).Load(t.Context())
	require.ErrorContains(t, err, "empty")
	other := NewMemory()
	_, err = other.Update(t.Context(), &distrib.Topology{ClusterID: "d"}, 0)
	require.NoError(t, err)
	_, _, err = reopen(other).Load(t.Context())
	require.ErrorIs(t, err, errOtherCluster)

	b, err := os.ReadFile(path)
	require.NoError(t, err)
	b[len(b)/2] ^= 1
	require.NoError(t, os.WriteFile(path, b, 0o600))
	_, _, err = reopen(m).Load(t.Context())
	require.ErrorIs(t, err, ErrDown)
	require.FileExists(t, path+".damaged")
	m.SetDown(false)
	got, _, err = reopen(m).Load(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 7, got.Epoch)
	require.FileExists(t, path)
}
