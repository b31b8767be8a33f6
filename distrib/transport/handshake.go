package transport

import (
	"fmt"
	"strconv"

	"google.golang.org/grpc/metadata"
)

// The metadata with which a stream begins.
const (
	keyProtocol = "cambium-protocol"
	keyCluster  = "cambium-cluster"
	keyNode     = "cambium-node"
	keyName     = "cambium-name"
	keyTo       = "cambium-to" // the node that is meant
)

func (i Identity) metadata(to uint64) metadata.MD {
	return metadata.Pairs(
		keyProtocol, strconv.Itoa(Protocol), keyCluster, i.ClusterID,
		keyNode, strconv.FormatUint(i.Node, 10), keyName, i.Name, keyTo, strconv.FormatUint(to, 10),
	)
}

// check returns who the caller is, or why it must not call.
func (i Identity) check(md metadata.MD) (from Identity, err error) {
	get := func(key string) string {
		if v := md.Get(key); len(v) == 1 {
			return v[0]
		}
		return ""
	}
	if p := get(keyProtocol); p != strconv.Itoa(Protocol) {
		return from, fmt.Errorf("node %q speaks protocol %q, this node %d: give both the same version", get(keyName), p, Protocol)
	}
	if c := get(keyCluster); c != i.ClusterID {
		return from, fmt.Errorf("node %q is of cluster %q, this node of %q: one of them was given an address of the other's cluster", get(keyName), c, i.ClusterID)
	}
	if to := get(keyTo); to != strconv.FormatUint(i.Node, 10) {
		return from, fmt.Errorf("node %q wants node %s, this is node %d (%s): the other has moved, or this one took its address", get(keyName), to, i.Node, i.Name)
	}
	from = Identity{ClusterID: i.ClusterID, Name: get(keyName)}
	if from.Node, err = strconv.ParseUint(get(keyNode), 10, 64); err != nil || from.Node == 0 {
		return from, fmt.Errorf("node %q has the number %q, want one above 0", from.Name, get(keyNode))
	}
	return from, nil
}
