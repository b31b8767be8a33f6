package node

import (
	"context"
	"net"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/meta"
)

// starting is a node that knows its cluster only when it was asked for the second time.
type starting struct {
	api.UnimplementedMembershipServer
	asked atomic.Int64
}

func (s *starting) Hello(context.Context, *api.HelloRequest) (*api.HelloResponse, error) {
	if s.asked.Add(1) == 1 {
		return &api.HelloResponse{}, nil
	}
	return &api.HelloResponse{KnownId: 1, KnownRun: 7}, nil
}

// TestAnswerOfOneThatStarts: all nodes start at once and the metadata does not answer. What a node says that does not
// know the cluster yet is no answer to which run was the last: an old copy would pass.
func TestAnswerOfOneThatStarts(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := grpc.NewServer()
	api.RegisterMembershipServer(s, &starting{})
	go func() { _ = s.Serve(l) }()
	defer s.Stop()
	opts, err := Options{Name: "n1", Dir: t.TempDir(), Listen: "127.0.0.1:0", OpenStore: new(disks).open}.withDefaults()
	require.NoError(t, err)
	n := &Node{opts: opts}
	n.self.Store(&distrib.Member{ID: 1, Name: "n1"})
	top := founded("c", nil, 3, nil, distrib.Member{Name: "n1", Weight: 1})
	require.NoError(t, n.setView(joined(top, distrib.Member{Name: "n2", Addr: l.Addr().String(), Weight: 1}), 0))
	run, err := n.askForRun(t.Context())
	require.NoError(t, err)
	require.EqualValues(t, 7, run)
}

// TestMetadataDownOthersAhead: a node comes back when the metadata does not answer, and another node has a newer topology
// than its file.
func TestMetadataDownOthersAhead(t *testing.T) {
	old := founded("c", make([]byte, 32), 3, nil, distrib.Member{Name: "n1", Weight: 1})
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	newer := joined(old, distrib.Member{Name: "n2", Addr: l.Addr().String(), Weight: 1})
	other := &Node{}
	other.self.Store(&distrib.Member{ID: 2, Name: "n2"})
	store, err := new(disks).open(t.TempDir())
	require.NoError(t, err)
	other.store.Store(&store)
	require.NoError(t, other.setView(newer, 0))
	s := grpc.NewServer()
	api.RegisterMembershipServer(s, membership{Node: other})
	go func() { _ = s.Serve(l) }()
	defer s.Stop()

	dir := t.TempDir()
	saved := meta.NewMemory()
	cache, err := meta.OpenCache(saved, filepath.Join(dir, "topology"))
	require.NoError(t, err)
	_, err = saved.Update(t.Context(), old, 0)
	require.NoError(t, err)
	_, _, err = cache.Load(t.Context())
	require.NoError(t, err)

	opts, err := Options{Name: "n1", Dir: dir, Listen: "127.0.0.1:0", OpenStore: new(disks).open, Etcd: []string{"127.0.0.1:1"}, Join: []string{l.Addr().String()}}.withDefaults()
	require.NoError(t, err)
	n := &Node{opts: opts}
	n.self.Store(&distrib.Member{Name: "n1", Addr: "127.0.0.1:2"})
	defer func() { require.NoError(t, n.close()) }()
	require.NoError(t, n.findCluster(t.Context()))
	require.Equal(t, newer.Epoch, n.view().topology.Epoch)
}

// TestStartWhileOwnersChange: a node that comes back at another address during a change is found there by all.
func TestStartWhileOwnersChange(t *testing.T) {
	top := founded("c", nil, 3, nil, distrib.Member{Name: "n1", Addr: "old:1", Weight: 1, Run: 1})
	top = joined(top, distrib.Member{Name: "n2", Addr: "n2:1", Weight: 1})
	top.Change = &distrib.Change{ID: "c1", Stage: distrib.StageDouble, Since: 2, Next: top.Members}
	next, changed := started(top, distrib.Member{ID: 1, Name: "n1", Addr: "new:1", Run: 2})
	require.True(t, changed)
	require.Equal(t, top.Epoch+1, next.Epoch)
	v, err := newView(next, 1)
	require.NoError(t, err)
	require.Equal(t, "new:1", v.members[1].Addr)
	require.EqualValues(t, 2, v.members[1].Run)
	require.Equal(t, "old:1", top.Change.Next[0].Addr)
	again, changed := started(next, distrib.Member{ID: 1, Name: "n1", Addr: "new:1", Run: 2})
	require.False(t, changed)
	require.Equal(t, next.Epoch, again.Epoch)
}
