package node

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/coordinator"
	"github.com/cambiumdb/cambium/distrib/register"
)

// operate carries out a linearizable operation at a node.
func (c *testCluster) operate(name, key string, op register.Operation) (*coordinator.Operated, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Second)
	defer cancel()
	return c.nodes[name].parts.coordinator.Operate(ctx, []byte(key), op)
}

// linear carries one out until it succeeds, and returns the values that are there then.
func (c *testCluster) linear(name, key string, op register.Operation) (list []string) {
	c.t.Helper()
	c.eventually(fmt.Sprintf("an operation on %s", key), func() bool {
		r, err := c.operate(name, key, op)
		if err != nil {
			c.t.Log(err)
			return false
		}
		list = nil
		for _, s := range r.Record {
			list = append(list, string(s.Value.Data))
		}
		return true
	})
	return list
}

func swap(n byte, expect, value string) register.Operation {
	o := register.Operation{ID: distrib.OpID{1, n}, Kind: register.Put, If: register.IfValue, Expect: []byte(expect), Value: distrib.Value{Data: []byte(value)}}
	if expect == "" {
		o.If = register.IfAbsent
	}
	return o
}

// restored waits until all nodes take part in all registers.
func (c *testCluster) restored() {
	c.t.Helper()
	c.eventually("all take part in registers", func() bool {
		for _, n := range c.nodes {
			if n.registers.Since() != 0 {
				return false
			}
		}
		return true
	})
}

// TestRegisters: linearizable operations at any node, and a node that crashes comes back with what it had accepted.
func TestRegisters(t *testing.T) {
	c := newTestCluster(t, 3)
	c.restored()
	require.Equal(t, []string{"a"}, c.linear("n1", "k", swap(1, "", "a")))
	require.Equal(t, []string{"b"}, c.linear("n2", "k", swap(2, "a", "b")))
	r, err := c.operate("n3", "k", swap(3, "a", "c"))
	require.NoError(t, err)
	require.Equal(t, register.Mismatch, r.Verdict)
	c.eventually("it is learned", func() bool { return c.holds("n1", "k", "b") && c.holds("n2", "k", "b") && c.holds("n3", "k", "b") })
	c.crash("n3")
	require.Equal(t, []string{"c"}, c.linear("n1", "k", swap(4, "b", "c")))
	n3 := c.start("n3")
	require.Zero(t, n3.registers.Since(), "it has forgotten nothing")
	require.Equal(t, []string{"d"}, c.linear("n3", "k", swap(5, "c", "d")))
	c.crash("n1")
	require.Equal(t, []string{"d"}, c.linear("n2", "k", register.Operation{}))
}

// TestReplacedNodeForgetsNothing: a value was accepted by two nodes, of which one loses its store and the other can not be reached. The
// two that are left are a majority, and know nothing of it: they must not say so.
func TestReplacedNodeForgetsNothing(t *testing.T) {
	c := newTestCluster(t, 3)
	c.restored()
	c.eventually("three members keep the metadata", func() bool { return len(c.nodes["n2"].view().topology.Metadata) == 3 })
	c.nodes["n2"].faults.Set([]string{"n1", "n3"}, []string{"n1", "n3"}, 0)
	require.Equal(t, []string{"a"}, c.linear("n1", "k", swap(1, "", "a")))
	c.nodes["n1"].faults.Set([]string{"n2", "n3"}, []string{"n2", "n3"}, 0)
	c.nodes["n2"].faults.Set(nil, nil, 0)

	c.crash("n3")
	require.NoError(t, os.RemoveAll(filepath.Join(c.dir, "n3")))
	n3 := c.start("n3")
	require.NotZero(t, n3.registers.Since())
	for range 3 {
		r, err := c.operate("n2", "k", register.Operation{})
		require.Error(t, err, "%v", r)
	}
	require.NotZero(t, n3.registers.Since(), "it waits for n1")

	c.nodes["n1"].faults.Set(nil, nil, 0)
	require.Equal(t, []string{"a"}, c.linear("n2", "k", register.Operation{}))
	c.restored()
	c.crash("n1")
	require.Equal(t, []string{"b"}, c.linear("n2", "k", swap(2, "a", "b")), "n3 holds it now")
	require.Greater(t, c.nodes["n2"].epoch(), uint64(3), "an epoch began for n3")
}

// TestNeverPromote: a node that is told so refuses linearizable operations of clients.
func TestNeverPromote(t *testing.T) {
	c := newTestCluster(t, 1)
	c.restored()
	q := &api.CompareAndSwapRequest{Key: []byte("k"), Value: []byte("v"), Expect: &api.CompareAndSwapRequest_ExpectAbsent{ExpectAbsent: true}}
	r, err := c.kv("n1").CompareAndSwap(t.Context(), q)
	require.NoError(t, err)
	require.True(t, r.Swapped)
	c.stop("n1")
	o := c.options("n1")
	o.NeverPromote = true
	c.nodes["n1"], err = c.try(o)
	require.NoError(t, err)
	_, err = c.kv("n1").CompareAndSwap(t.Context(), q)
	require.Equal(t, codes.Unimplemented, status.Code(err))
	require.ErrorContains(t, err, "its setting promote is never")
	require.Equal(t, []string{"v"}, c.values("n1", "k"))
}
