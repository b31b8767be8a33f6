package node

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/meta"
	"github.com/cambiumdb/cambium/distrib/recovery"
	"github.com/cambiumdb/cambium/distrib/ring"
)

func (c *testCluster) cluster(name string) api.ClusterClient {
	conn, err := grpc.NewClient(c.nodes[name].Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = conn.Close() })
	return api.NewClusterClient(conn)
}

// members are those of the cluster as a node sees it, once no change is under way.
func (c *testCluster) members(at string) (names []string) {
	c.eventually("the change ends", func() bool {
		t := c.nodes[at].view().topology
		return t.Change == nil
	})
	for _, m := range c.nodes[at].view().topology.Members {
		names = append(names, m.Name)
	}
	return names
}

// change plans a change at one node and commits it at another.
func (c *testCluster) change(at, other string, changes ...*api.Change) *api.PlanResponse {
	c.t.Helper()
	p, err := c.cluster(at).Plan(c.t.Context(), &api.PlanRequest{Changes: changes})
	require.NoError(c.t, err)
	committed, err := c.cluster(other).Commit(c.t.Context(), &api.CommitRequest{Id: p.Id})
	require.NoError(c.t, err)
	c.eventually("all hear of it", func() bool { return c.nodes[at].view().topology.Epoch >= committed.Epoch })
	return p
}

// TestJoinAndLeave: a fourth node is given what it owns then, and the first gives what it had to the others, while it is
// read and written; one is killed meanwhile.
func TestJoinAndLeave(t *testing.T) {
	c := newTestCluster(t, 3)
	const keys = 100
	for i := range keys {
		c.put("n1", fmt.Sprintf("k%d", i), "v", nil)
	}
	n4 := c.start("n4")
	_, err := c.cluster("n2").Plan(t.Context(), &api.PlanRequest{Changes: []*api.Change{{Kind: "leave", Node: "n4"}}})
	require.ErrorContains(t, err, "n4 is not a member")
	p := c.change("n2", "n3", &api.Change{Kind: "join", Node: "n4"})
	c.put("n4", "meanwhile", "v", nil)
	require.Equal(t, []string{"v"}, c.values("n1", "meanwhile"))
	status, err := c.cluster("n1").Status(t.Context(), &api.StatusRequest{})
	require.NoError(t, err)
	require.InDelta(t, time.Now().UnixMilli(), status.Members[0].SinceMs, float64(time.Hour.Milliseconds()))
	if status.Transition != nil { // it may be over
		require.Equal(t, p.Id, status.Transition.Id)
		require.Equal(t, p.Bytes, status.Transition.BytesPlanned)
	}
	require.Equal(t, []string{"n1", "n2", "n3", "n4"}, c.members("n2"))
	c.eventually("its reads count", func() bool { return n4.refilled() == recovery.RefillNot })
	held := 0
	for i := range keys {
		if c.holds("n4", fmt.Sprintf("k%d", i), "v") {
			held++
		}
		require.Equal(t, []string{"v"}, c.values("n4", fmt.Sprintf("k%d", i)))
	}
	require.Greater(t, held, keys/2)

	c.change("n4", "n1", &api.Change{Kind: "leave", Node: "n1"})
	c.crash("n3")
	c.put("n2", "meanwhile", "w", c.get("n2", "meanwhile"))
	c.start("n3")
	require.Equal(t, []string{"n2", "n3", "n4"}, c.members("n4"))
	require.False(t, meta.HasSeat(c.nodes["n1"].metaDir()), "it has given its seat up before it left")
	c.eventually("it follows the ring metadata no more", c.nodes["n1"].left.Load)
	c.stop("n1")
	delete(c.addrs, "n1")
	for i := range keys {
		key := fmt.Sprintf("k%d", i)
		require.Equal(t, []string{"v"}, c.values("n3", key))
		c.eventually("all hold "+key, func() bool { return c.holds("n2", key, "v") && c.holds("n3", key, "v") && c.holds("n4", key, "v") })
	}
	require.Equal(t, []string{"w"}, c.values("n3", "meanwhile"))
	require.False(t, slices.ContainsFunc(c.nodes["n2"].view().topology.Members, func(m distrib.Member) bool { return m.Name == "n1" }))
}

// TestWrittenForOthers: a node compares also what it does not hold, where a write that it did for a client may not have
// reached all who do.
func TestWrittenForOthers(t *testing.T) {
	c := newTestCluster(t, 3)
	n4 := c.start("n4")
	c.change("n2", "n3", &api.Change{Kind: "join", Node: "n4"})
	require.Len(t, c.members("n2"), 4)
	c.eventually("n4 has nothing to compare", func() bool { return c.members("n4") != nil && n4.parts.dirty.Count() == 0 })
	key, names := "", []string(nil)
	for i := 0; names == nil; i++ {
		key = fmt.Sprintf("k%d", i)
		r := n4.view().keys.Reads()
		for _, j := range r.Replicas(ring.TokenOf([]byte(key))) {
			names = append(names, r.Node(j).Name)
		}
		if slices.Contains(names, "n4") {
			names = nil
		}
	}
	_, err := c.nodes[names[0]].parts.Put(t.Context(), &distrib.PutRequest{Key: []byte(key), Value: distrib.Value{Data: []byte("v")}})
	require.NoError(t, err)
	require.NoError(t, n4.parts.dirty.Mark(ring.TokenOf([]byte(key)).Hi))
	for _, name := range names {
		c.eventually(name+" has it", func() bool { return c.holds(name, key, "v") })
	}
}
