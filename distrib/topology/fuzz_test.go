package topology

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
)

// FuzzPlan: neither the id of a plan, which a client gives, nor a topology, which another node tells, does harm.
func FuzzPlan(f *testing.F) {
	top := distrib.Topology{ClusterID: "c", Epoch: 3, Replicas: 3, Members: []distrib.Member{{ID: 1, Name: "n1", Weight: 1}, {ID: 2, Name: "n2", Weight: 2}}, Joining: []distrib.Member{{ID: 3, Name: "n3"}}}
	add := func(id string) {
		b, err := json.Marshal(top)
		require.NoError(f, err)
		f.Add(id, b)
	}
	p, err := NewPlan(&top, []Change{{Kind: Join, Node: "n3"}, {Kind: Weight, Node: "n1", Weight: 0.5}}, func(uint64) bool { return false })
	require.NoError(f, err)
	add(p.ID)
	add("3-leave:n1-00000000")
	add("3-replace:n1:n3,weight:n2:4-00000000")
	top.Change = &distrib.Change{ID: p.ID, Stage: distrib.StageStream, Since: 2, Next: top.Members, Dead: []uint64{1}}
	add("garbage")
	f.Fuzz(func(t *testing.T, id string, b []byte) {
		var top distrib.Topology
		if json.Unmarshal(b, &top) != nil {
			return
		}
		_, _ = ViewOf(&top)
		p, err := Recall(&top, id, func(node uint64) bool { return node == 7 })
		if err != nil {
			return
		}
		require.Equal(t, id, p.ID)
		again, err := NewPlan(&top, p.changes, func(node uint64) bool { return node == 7 })
		require.NoError(t, err)
		require.Equal(t, id, again.ID)
	})
}
