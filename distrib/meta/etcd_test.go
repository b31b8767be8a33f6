package meta

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cambiumdb/cambium/distrib"
)

// TestMain sees what is left when every member and client is closed.
// TestMain waits for connections between etcd's members: they end some seconds after these.
func TestMain(m *testing.M) {
	code := m.Run()
	for range 20 {
		if code != 0 || goleak.Find() == nil {
			os.Exit(code)
		}
	}
	fmt.Fprintln(os.Stderr, goleak.Find())
	os.Exit(1)
}

func open(t *testing.T, options Options) *Store {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if options.Timeout == 0 {
		options.Timeout = 10 * time.Second // of a busy machine
	}
	s, err := Open(ctx, options)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// A founder runs the member, another node is its client; the founder stops and comes back.
func TestFounderAndClient(t *testing.T) {
	dir := t.TempDir()
	founder, err := Open(t.Context(), Options{Dir: dir, Name: "a"})
	require.NoError(t, err)
	first := topology(1)
	first.Metadata = founder.Endpoints()
	revision, err := founder.Update(t.Context(), first, 0)
	require.NoError(t, err)

	client := open(t, Options{Name: "b", Dir: t.TempDir(), Seeds: first.Metadata, Timeout: time.Second})
	got, _, err := client.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, first, got)
	cache, err := OpenCache(client, filepath.Join(t.TempDir(), "topology"))
	require.NoError(t, err)
	_, _, err = cache.Load(t.Context())
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(t.Context())
	seen := make(chan uint64, 100)
	var wg sync.WaitGroup
	wg.Go(func() { client.Watch(ctx, func(t *distrib.Topology, _ int64) { seen <- t.Epoch }) })
	require.EqualValues(t, 1, <-seen)

	require.NoError(t, founder.Close())
	_, err = client.Update(t.Context(), topology(2), revision)
	require.ErrorIs(t, err, ErrDown)
	require.ErrorContains(t, err, first.Metadata[0]+" does not answer")
	got, _, err = cache.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, first, got)
	require.ErrorIs(t, cache.Stale(), ErrDown)

	founder = open(t, Options{Dir: dir, Name: "a", Seeds: []string{"http://127.0.0.1:1"}}) // seeds do not matter to a member
	require.Equal(t, first.Metadata, founder.Endpoints())
	_, err = founder.Update(t.Context(), topology(2), revision)
	require.NoError(t, err)
	require.EqualValues(t, 2, <-seen)
	cancel()
	wg.Wait()
}

// The watch goes on where the revision that it would go on from is compacted away.
func TestWatchSurvivesCompaction(t *testing.T) {
	s := open(t, Options{Dir: t.TempDir(), Name: "a"})
	var revision int64
	var err error
	for epoch := uint64(1); epoch <= 5; epoch++ {
		revision, err = s.Update(t.Context(), topology(epoch), revision)
		require.NoError(t, err)
	}
	_, err = s.client.Compact(t.Context(), revision)
	require.NoError(t, err)
	var shown []uint64
	require.ErrorContains(t, s.watch(t.Context(), 2, func(t *distrib.Topology, _ int64) { shown = append(shown, t.Epoch) }), "compacted")
	require.Empty(t, shown)

	ctx, cancel := context.WithCancel(t.Context())
	s.Watch(ctx, func(t *distrib.Topology, _ int64) {
		shown = append(shown, t.Epoch)
		cancel()
	})
	require.Equal(t, []uint64{5}, shown)
}

func TestOpenRefuses(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: dir, Name: "a"})
	require.NoError(t, s.Close())
	_, err := Open(t.Context(), Options{Dir: dir, Name: "b"})
	require.ErrorContains(t, err, "it holds member a")
	_, err = DialEtcd(EtcdOptions{})
	require.ErrorContains(t, err, "no endpoint")
}
