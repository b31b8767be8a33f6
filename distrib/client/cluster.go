package client

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// Ring returns the ring as the client knows it; nil where the nodes do not tell it.
func (c *Client) Ring() *ring.Ring { return c.view.Load().ring }

// Members returns the members of the cluster as the client knows them. The caller must not change them.
func (c *Client) Members() []*api.Member { return c.view.Load().members }

// Where returns the nodes that hold a key, in the ring's order, and those that stand in for them, nearest first: by
// name, or by address where the nodes do not tell the ring.
func (c *Client) Where(key []byte) (owners, fallbacks []string) {
	v := c.view.Load()
	if v.ring == nil {
		for _, n := range v.nodes {
			owners = append(owners, n.String())
		}
		return owners, nil
	}
	t := ring.TokenOf(key)
	for _, i := range v.ring.Replicas(t) {
		owners = append(owners, v.ring.Node(i).Name)
	}
	for i := range v.ring.Fallbacks(t) {
		fallbacks = append(fallbacks, v.ring.Node(i).Name)
	}
	return owners, fallbacks
}

// Cluster returns a client for the calls about the cluster, to a node that has just answered, and the name of that.
func (c *Client) Cluster(ctx context.Context) (cluster api.ClusterClient, name string, err error) {
	v := c.view.Load()
	nodes := slices.Clone(v.nodes)
	slices.SortStableFunc(nodes, func(a, b *node) int { return int(a.state.Load()/stateDown) - int(b.state.Load()/stateDown) })
	var causes []string
	for _, n := range nodes {
		ask, cancel := context.WithTimeout(ctx, askMax)
		_, err := n.askRing(ask, v.epoch)
		cancel()
		if err == nil {
			cluster, err = n.clusterClient()
		}
		if err == nil {
			return cluster, n.String(), nil
		}
		causes = append(causes, n.String()+": "+Plain(err).Error())
	}
	return nil, "", &Error{Op: "cluster", Outcome: Failed, Reason: reasonUnavailable, Message: fmt.Sprintf("no node of the cluster answers: %s", strings.Join(causes, "; "))}
}

// ClusterAt returns a client for the calls about the cluster, to the node of that name.
func (c *Client) ClusterAt(name string) (api.ClusterClient, error) {
	for _, n := range c.view.Load().nodes {
		if n.String() == name {
			return n.clusterClient()
		}
	}
	return nil, fmt.Errorf("cluster: there is no node %q", name)
}
