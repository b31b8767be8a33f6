package client

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
)

func TestBatch(t *testing.T) {
	f := newFakeCluster(t, 3)
	c := f.open(t, Options{})
	var writes []Write
	var keys [][]byte
	for i := range 3 * batchWindow {
		writes = append(writes, Write{Key: fmt.Appendf(nil, "k%d", i), Value: fmt.Appendf(nil, "v%d", i)})
		keys = append(keys, writes[i].Key)
	}
	writes[7].Key = nil
	f.nodes[0].behave("failed", "hang", "ok")
	for i, r := range c.BatchPut(ctx, writes) {
		if i == 7 {
			require.ErrorIs(t, r.Err, ErrInvalid)
			continue
		}
		require.NoError(t, r.Err)
		require.Equal(t, 1, r.Put.Siblings)
	}
	for i, r := range c.BatchGet(ctx, keys, GetOptions{}) {
		require.NoError(t, r.Err)
		require.Equal(t, keys[i], r.Item.Key)
		value, err := r.Item.Value()
		if i == 7 {
			require.ErrorIs(t, err, distrib.ErrNotFound)
			continue
		}
		require.NoError(t, err)
		require.Equal(t, fmt.Sprintf("v%d", i), string(value))
	}
	require.Empty(t, c.BatchGet(ctx, nil, GetOptions{}))
	for _, n := range f.nodes {
		n.behave("failed")
	}
	for _, r := range c.BatchGet(ctx, keys[:3], GetOptions{}) {
		require.ErrorIs(t, r.Err, ErrUnavailable)
	}
}

func TestScan(t *testing.T) {
	f := newFakeCluster(t, 3)
	c := f.open(t, Options{Timeout: 200 * time.Millisecond})
	want := map[string]bool{}
	for i := range 50 {
		key := fmt.Sprintf("k%d", i)
		want[key] = true
		_, err := c.Put(ctx, []byte(key), []byte("v"+key), PutOptions{})
		require.NoError(t, err)
	}
	var order []string
	scan := func(o ScanOptions) {
		order = nil
		require.NoError(t, c.Scan(ctx, o, func(i *Item) error {
			value, err := i.Value()
			require.NoError(t, err)
			require.Equal(t, "v"+string(i.Key), string(value))
			require.NotEmpty(t, i.Context)
			order = append(order, string(i.Key))
			return nil
		}))
	}
	scan(ScanOptions{})
	require.Len(t, order, len(want))
	all := order
	scan(ScanOptions{Limit: 7})
	require.Equal(t, all[:7], order)
	scan(ScanOptions{After: []byte(all[6])})
	require.Equal(t, all[7:], order)

	// Nodes break off and hang in the middle: still each key once.
	for _, n := range f.nodes {
		n.behave("ok", "ok", "break", "ok", "ok", "ok", "hang", "ok")
	}
	scan(ScanOptions{})
	require.Equal(t, all, order)
	for _, n := range f.nodes {
		n.behave("ok", "ok", "break", "ok")
	}
	scan(ScanOptions{Limit: 20})
	require.Equal(t, all[:20], order)

	// What ends it.
	mine := errors.New("enough")
	require.Equal(t, mine, c.Scan(ctx, ScanOptions{}, func(*Item) error { return mine }))
	for _, n := range f.nodes {
		n.behave("ok", "hang")
	}
	cancelled, cancel := context.WithCancel(ctx)
	err := c.Scan(cancelled, ScanOptions{}, func(*Item) error { cancel(); return nil })
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, c.Scan(ctx, ScanOptions{Limit: -1}, nil), ErrInvalid)
	for _, n := range f.nodes {
		n.behave("invalid")
	}
	require.ErrorIs(t, c.Scan(ctx, ScanOptions{}, nil), ErrInvalid)
	for _, n := range f.nodes {
		n.behave("break")
	}
	err = c.Scan(ctx, ScanOptions{}, nil)
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorContains(t, err, "n1: broken")
}

// Writers that each add to a set meet, and none loses what another has added.
func TestUpdate(t *testing.T) {
	f := newFakeCluster(t, 3)
	c := f.open(t, Options{})
	add := func(b byte) func([]distrib.Sibling) ([]byte, error) {
		return func(siblings []distrib.Sibling) ([]byte, error) {
			set := []byte{b}
			for _, s := range siblings {
				set = append(set, s.Value.Data...)
			}
			slices.Sort(set)
			return slices.Compact(set), nil
		}
	}
	var writers sync.WaitGroup
	for b := range byte(8) {
		writers.Go(func() {
			_, err := c.Update(ctx, []byte("set"), add(b), UpdateOptions{Tries: 1000})
			require.NoError(t, err)
		})
	}
	writers.Wait()
	put, err := c.Update(ctx, []byte("set"), add(8), UpdateOptions{})
	require.NoError(t, err)
	require.Equal(t, 1, put.Siblings)
	item, err := c.Get(ctx, []byte("set"), GetOptions{})
	require.NoError(t, err)
	value, err := item.Value()
	require.NoError(t, err)
	require.Equal(t, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8}, value)

	// It gives up, and says so, where each of its puts meets another.
	meet := func(siblings []distrib.Sibling) ([]byte, error) {
		_, err := c.Put(ctx, []byte("set"), []byte{9}, PutOptions{})
		return []byte{10}, err
	}
	put, err = c.Update(ctx, []byte("set"), meet, UpdateOptions{Tries: 3})
	require.ErrorIs(t, err, ErrSiblings)
	require.Equal(t, 2, put.Siblings)
	mine := errors.New("no")
	_, err = c.Update(ctx, []byte("set"), func([]distrib.Sibling) ([]byte, error) { return nil, mine }, UpdateOptions{})
	require.Equal(t, mine, err)
	for _, n := range f.nodes {
		n.behave("failed")
	}
	_, err = c.Update(ctx, []byte("set"), meet, UpdateOptions{})
	require.ErrorIs(t, err, ErrUnavailable)
}

func TestWhere(t *testing.T) {
	f := newFakeCluster(t, 5)
	c := f.open(t, Options{})
	owners, fallbacks := c.Where([]byte("k"))
	require.Len(t, owners, 3)
	require.Len(t, fallbacks, 2)
	require.Equal(t, uint64(1), c.Ring().Epoch())
	require.Len(t, c.Members(), 5)
	put, err := c.Put(ctx, []byte("k"), nil, PutOptions{})
	require.NoError(t, err)
	require.Equal(t, owners[0], put.Acknowledged[0].Node)

	_, name, err := c.Cluster(ctx)
	require.NoError(t, err)
	require.NotEmpty(t, name)
	for _, n := range f.nodes[:4] {
		n.kill()
	}
	_, name, err = c.Cluster(ctx)
	require.NoError(t, err)
	require.Equal(t, "n5", name)
	f.nodes[4].kill()
	_, _, err = c.Cluster(ctx)
	require.ErrorIs(t, err, ErrUnavailable)
	require.ErrorContains(t, err, "n5: ")
}
