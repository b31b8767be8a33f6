package chaos

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/client"
)

// TestBothSidesOfAPartition: two clients write one key on both sides of a partition. After it both values come back with
// their clocks; a put with what was read replaces both, and one without says that it stands beside another.
func TestBothSidesOfAPartition(t *testing.T) {
	ctx, c, kv := threeNodes(t)
	key := firstAt(t, kv, "n3")
	all := client.GetOptions{Level: client.Level{Consistency: client.All}}

	cut := Fault{Kind: Partition, Node: 2}
	require.NoError(t, c.apply(ctx, cut))
	red, err := api.NewKVClient(c.nodes[0].conn).Put(ctx, &api.PutRequest{Key: key, Value: []byte("red"), Level: &api.Level{Strict: true}}) // by n1 and n2
	require.NoError(t, err)
	require.Equal(t, uint32(1), red.Siblings)
	blue, err := kv.Put(ctx, key, []byte("blue"), client.PutOptions{Level: client.Level{Consistency: client.One}})
	require.NoError(t, err)
	require.Equal(t, []client.Place{{Node: "n3"}}, blue.Acknowledged)
	require.Equal(t, 1, blue.Siblings)
	require.NoError(t, c.mend(ctx, cut))

	var both *client.Item
	require.Eventually(t, func() bool {
		both, err = kv.Get(ctx, key, all)
		return err == nil && len(both.Siblings) == 2
	}, 2*time.Minute, 100*time.Millisecond)
	var values []string
	for i, s := range both.Siblings {
		values = append(values, string(s.Value.Data))
		require.NotZero(t, s.Dot.Node)
		require.False(t, s.Past.Clock.Contains(both.Siblings[1-i].Dot), "neither writer had seen the other")
	}
	require.ElementsMatch(t, []string{"red", "blue"}, values)
	_, err = both.Value()
	require.ErrorIs(t, err, client.ErrSiblings)

	merged, err := kv.Put(ctx, key, []byte("violet"), client.PutOptions{Level: all.Level, Context: both.Context})
	require.NoError(t, err)
	require.Equal(t, 1, merged.Siblings)
	one, err := kv.Get(ctx, key, all)
	require.NoError(t, err)
	value, err := one.Value()
	require.NoError(t, err)
	require.Equal(t, "violet", string(value))

	beside, err := kv.Put(ctx, key, []byte("green"), client.PutOptions{Level: all.Level})
	require.NoError(t, err)
	require.Equal(t, 2, beside.Siblings, "it says that it made a sibling")
}

// threeNodes are a cluster and a client of it, for as long as the test lasts.
func threeNodes(t *testing.T) (context.Context, *cluster, *client.Client) {
	o := options(t, 3, 1, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	t.Cleanup(cancel)
	c, err := startCluster(ctx, &o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, c.close()) })
	kv, err := client.Open(ctx, client.Options{Endpoints: c.addresses()})
	require.NoError(t, err)
	t.Cleanup(func() { kv.Close() })
	return ctx, c, kv
}

// firstAt is a key of which clients ask that node first.
func firstAt(t *testing.T, kv *client.Client, node string) []byte {
	for i := range 1000 {
		key := fmt.Appendf(nil, "color:%d", i)
		if owners, _ := kv.Where(key); owners[0] == node {
			return key
		}
	}
	t.Fatalf("no key has %s first", node)
	return nil
}
