package node

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/meta"
	"github.com/cambiumdb/cambium/distrib/recovery"
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

// TestOldCopyWaits: a node that keeps a part of the ring metadata waits for what the others know of its last start before that
// part serves; who has not found the cluster yet says it too.
func TestOldCopyWaits(t *testing.T) {
	waitLong(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := grpc.NewServer()
	api.RegisterMembershipServer(s, &starting{})
	go func() { _ = s.Serve(l) }()
	defer s.Stop()
	dir := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "meta"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "meta", "seat"), nil, 0o600))
	opts, err := Options{Name: "n1", Dir: dir, Listen: "127.0.0.1:0", OpenStore: new(disks).open}.withDefaults()
	require.NoError(t, err)
	n := &Node{opts: opts, found: recovery.Found{Self: &recovery.Self{ClusterID: "c", ID: 1, Name: "n1"}, Run: 6}}
	n.self.Store(&distrib.Member{ID: 1, Name: "n1"})
	last := joined(founded("c", nil, 3, nil, distrib.Member{Name: "n1", Weight: 1}), distrib.Member{Name: "n2", Addr: l.Addr().String(), Weight: 1})
	told, err := n.askForCluster(t.Context(), last, n.addresses(last))
	require.NoError(t, err)
	require.True(t, n.isOld(told))

	other := &Node{}
	other.self.Store(&distrib.Member{ID: 2, Name: "n2"})
	v, err := newView(last, 0)
	require.NoError(t, err)
	other.last.Store(v)
	store, err := new(disks).open(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, recovery.Remember(store, 1, 7))
	other.store.Store(&store)
	answer, err := membership{Node: other}.Hello(t.Context(), &api.HelloRequest{ClusterId: "c", Self: &api.Member{Name: "n1"}})
	require.NoError(t, err)
	require.EqualValues(t, 7, answer.KnownRun)
	require.Empty(t, answer.Topology)
}

// TestMayServe: who must have answered before a part of the ring metadata serves. Answers are NAME, NAME? of one that does not
// know this node, NAME+ of one that knows a later start.
func TestMayServe(t *testing.T) {
	for _, c := range []struct {
		what, members, join, told string
		noSeat, want              bool
	}{
		{what: "nobody yet", members: "n1 n2 n3"},
		{what: "one of two", members: "n1 n2 n3", told: "n2"},
		{what: "both", members: "n1 n2 n3", told: "n2 n3", want: true},
		{what: "one of them knows nothing", members: "n1 n2 n3", told: "n2 n3?"},
		{what: "a majority of four", members: "n1 n2 n3 n4 n5", told: "n2 n3 n5", want: true},
		{what: "half of them", members: "n1 n2 n3 n4 n5", told: "n2 n3"},
		{what: "one twice", members: "n1 n2 n3", told: "n2 n2"},
		{what: "a stranger", members: "n1 n2 n3", told: "n2 n9"},
		{what: "it is old", members: "n1 n2 n3", told: "n2+", want: true},
		{what: "it has no seat", members: "n1 n2 n3", noSeat: true, want: true},
		{what: "it is alone", members: "n1", want: true},
		{what: "it was alone, and others are named", members: "n1", join: "n2:1"},
		{what: "one of them has answered", members: "n1", join: "n2:1", told: "n2?", want: true},
	} {
		t.Run(c.what, func(t *testing.T) {
			n := &Node{opts: Options{Name: "n1", Dir: t.TempDir(), Join: strings.Fields(c.join)}, found: recovery.Found{Self: &recovery.Self{ClusterID: "c", ID: 1, Name: "n1"}, Run: 6}}
			if !c.noSeat {
				require.NoError(t, os.MkdirAll(n.metaDir(), 0o700))
				require.NoError(t, os.WriteFile(filepath.Join(n.metaDir(), "seat"), nil, 0o600))
			}
			top := &distrib.Topology{}
			for _, name := range strings.Fields(c.members) {
				top.Members = append(top.Members, distrib.Member{Name: name})
			}
			var told []*heard
			for _, word := range strings.Fields(c.told) {
				h := &heard{HelloResponse: &api.HelloResponse{Self: &api.Member{Name: strings.TrimRight(word, "?+")}, KnownId: 1, KnownRun: 6}}
				if strings.HasSuffix(word, "?") {
					h.KnownId, h.KnownRun = 0, 0
				}
				if strings.HasSuffix(word, "+") {
					h.KnownRun = 7
				}
				told = append(told, h)
			}
			require.Equal(t, c.want, n.mayServe(top, told))
		})
	}
}

// waitLong has nodes wait for others for as long as a busy machine may need.
func waitLong(t *testing.T) {
	before := seatPatience
	seatPatience = 30 * time.Second
	t.Cleanup(func() { seatPatience = before })
}

// TestOldCopyAmongAll: all nodes start at once, one of them an old copy. Its part of the ring metadata is put aside before it
// serves, and it is let in anew.
func TestOldCopyAmongAll(t *testing.T) {
	waitLong(t)
	c := withOldCopy(t)
	c.startAll()
	c.requireAside()
}

// TestOldCopyFirst: the old copy starts before all others, and its part of the ring metadata is put aside when they come.
func TestOldCopyFirst(t *testing.T) {
	before := seatPatience
	seatPatience = 0
	t.Cleanup(func() { seatPatience = before })
	c := withOldCopy(t)
	var place struct{ ClientURL string }
	b, err := os.ReadFile(filepath.Join(c.dir, "n3", "meta", "seat"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(b, &place))
	var n3 *Node
	ended := make(chan error)
	go func() {
		var err error
		n3, err = c.try(c.options("n3"))
		ended <- err
	}()
	c.eventually("its member has started", func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(place.ClientURL, "http://"))
		if err == nil {
			err = conn.Close()
		}
		return err == nil
	})
	c.start("n1")
	c.start("n2")
	require.NoError(t, <-ended)
	c.nodes["n3"] = n3
	c.requireAside()
}

// withOldCopy is a cluster of three, stopped, of which n3 is an old copy.
func withOldCopy(t *testing.T) *testCluster {
	c := newTestCluster(t, 3)
	c.eventually("three members", c.seated)
	c.stop("n3")
	dir, saved := filepath.Join(c.dir, "n3"), c.disks.stores[2]
	require.NoError(t, os.CopyFS(dir+".copy", os.DirFS(dir)))
	c.disks.stores[2] = copyOf(t, saved)
	c.start("n3")
	for _, name := range []string{"n1", "n2", "n3"} {
		c.stop(name)
	}
	require.NoError(t, os.RemoveAll(dir))
	require.NoError(t, os.Rename(dir+".copy", dir))
	c.disks.stores[2] = saved
	return c
}

func (c *testCluster) seated() bool { return len(c.nodes["n2"].view().topology.Metadata) == 3 }

// requireAside: what n3 held of the ring metadata is put aside, and it was let in anew.
func (c *testCluster) requireAside() {
	c.t.Helper()
	dir := filepath.Join(c.dir, "n3")
	require.True(c.t, c.nodes["n3"].verdict.Aside)
	require.DirExists(c.t, filepath.Join(dir, "meta.aside-1"))
	c.eventually("it holds a seat again", func() bool { return meta.HasSeat(filepath.Join(dir, "meta")) && c.seated() })
}

// TestMetadataGone: a founder's part of the ring metadata is removed. It is let in anew by the others, and where there are none
// it says so.
func TestMetadataGone(t *testing.T) {
	c := newTestCluster(t, 1)
	n := c.nodes["n1"]
	id := n.ClusterID()
	data := filepath.Join(n.metaDir(), "etcd")
	c.stop("n1")
	require.NoError(t, os.Rename(data, data+".gone"))
	_, err := c.try(c.options("n1"))
	require.ErrorContains(t, err, "it has served, but its data is gone")
	require.NoError(t, os.Rename(data+".gone", data))

	for _, name := range []string{"n1", "n2", "n3"} {
		c.start(name)
	}
	c.eventually("three members", func() bool { return len(c.nodes["n2"].view().topology.Metadata) == 3 })
	c.stop("n1")
	require.NoError(t, os.RemoveAll(data))
	n = c.start("n1")
	require.Equal(t, id, n.ClusterID())
	c.eventually("it is let in anew", func() bool {
		_, err := os.Stat(data)
		return err == nil && len(n.view().topology.Metadata) == 3
	})
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
