package service

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib/api"
)

// counted is how many operations were counted, by what they asked for, their level and their outcome.
func (c *cluster) counted(t *testing.T) map[string]int {
	families, err := c.counts.Gather()
	require.NoError(t, err)
	list := map[string]int{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			list[strings.Join([]string{labels["operation"], labels["consistency"], labels["outcome"]}, " ")] = int(m.GetHistogram().GetSampleCount())
		}
	}
	return list
}

func TestCount(t *testing.T) {
	ways(t, 3, Limits{}, func(t *testing.T, c *cluster, do way) {
		key := []byte("k")
		do(put(&api.PutRequest{Key: key, Level: level(api.Consistency_ALL)}))
		do(get(&api.GetRequest{Key: key}))
		do(get(&api.GetRequest{Key: key}))
		do(get(&api.GetRequest{Level: &api.Level{Nodes: 2}}))
		do(get(&api.GetRequest{Key: key, Level: linear}))
		do(swap(&api.CompareAndSwapRequest{Key: key}))
		do(swap(&api.CompareAndSwapRequest{Key: key, Expect: &api.CompareAndSwapRequest_ExpectAbsent{ExpectAbsent: true}}))
		do(resolve(&api.ResolveRequest{Key: key, OpId: []byte("0123456789abcdef"), Linearizable: true}))
		do(resolve(&api.ResolveRequest{Key: key, OpId: []byte("0123456789abcdef")}))
		c.set(c.busy, 1, 2, 3)
		do(del(&api.DeleteRequest{Key: key, Level: level(api.Consistency_ONE)}))
		c.set(c.down, 1, 2, 3)
		do(put(&api.PutRequest{Key: key}))
		do(get(&api.GetRequest{Key: key}))
		require.Equal(t, map[string]int{
			"put all ok": 1, "get quorum ok": 2, "get nodes invalid": 1, "get linearizable ok": 1, "compare_and_swap linearizable invalid": 1,
			"compare_and_swap linearizable ok": 1, "resolve linearizable ok": 1,
			"resolve all ok": 1, "delete one overloaded": 1, "put quorum unknown": 1, "get quorum failed": 1,
		}, c.counted(t))
	})
}

func TestCountStreams(t *testing.T) {
	c := newCluster(t, 3, Limits{SessionOperations: 1})
	_, err := c.client.BatchPut(t.Context(), &api.BatchPutRequest{Puts: []*api.PutRequest{{Key: []byte("k")}, {}}})
	require.NoError(t, err)
	_, err = c.client.BatchGet(t.Context(), &api.BatchGetRequest{Gets: []*api.GetRequest{{Key: []byte("k")}}})
	require.NoError(t, err)
	stream, err := c.client.Scan(t.Context(), &api.ScanRequest{})
	require.NoError(t, err)
	for err == nil {
		_, err = stream.Recv()
	}
	s := c.session(t)
	release := c.hold("k")
	require.NoError(t, s.Send(several(&api.SessionRequest{}, putOf(1, "k"), putOf(2, "k"))))
	s.next(t)
	require.Equal(t, reasonOverloaded, s.next(t).GetFailure().GetReason())
	release()
	s.next(t)
	require.Equal(t, map[string]int{
		"batch_put quorum invalid": 1, "batch_get quorum ok": 1, "scan quorum ok": 1, "put quorum overloaded": 1, "put quorum ok": 1,
	}, c.counted(t))
}
