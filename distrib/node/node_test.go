package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/meta"
	"github.com/cambiumdb/cambium/distrib/recovery"
	"github.com/cambiumdb/cambium/distrib/storetest"
)

// TestMain waits for what others' libraries leave for some seconds after their end.
func TestMain(m *testing.M) {
	code := m.Run()
	for range 20 {
		if code != 0 || goleak.Find() == nil {
			os.Exit(code)
		}
	}
	fmt.Fprintln(os.Stderr, goleak.Find())
	os.Exit(1)
}

// disks are stores in memory by directory. A directory that is moved, copied or removed takes its store along.
type disks struct {
	mu     sync.Mutex // guards stores
	stores []*storetest.Mem
	left   *atomic.Int64 // of stores that are opened from now on
}

type memStore struct {
	*storetest.Mem
	// left is how many changes are taken until the power is gone; nil: all.
	left *atomic.Int64
}

func (memStore) Close() error     { return nil }
func (memStore) DiskBytes() int64 { return 1 }

func (m memStore) Apply(ops []distrib.Op, sync distrib.Sync) error {
	if m.left != nil && m.left.Add(-1) < 0 {
		return errors.New("the power is gone")
	}
	return m.Mem.Apply(ops, sync)
}

func (d *disks) open(dir string) (Store, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "number")
	if b, err := os.ReadFile(path); err == nil {
		i, err := strconv.Atoi(string(b))
		return memStore{d.stores[i], d.left}, err
	}
	d.stores = append(d.stores, storetest.NewMem())
	return memStore{d.stores[len(d.stores)-1], d.left}, os.WriteFile(path, strconv.AppendInt(nil, int64(len(d.stores)-1), 10), 0o600)
}

func copyOf(t *testing.T, s *storetest.Mem) *storetest.Mem {
	saved := storetest.NewMem()
	require.NoError(t, s.Scan(nil, nil, func(k, v []byte) error {
		return saved.Apply([]distrib.Op{{Key: append([]byte{}, k...), Value: append([]byte{}, v...)}}, distrib.SyncNow)
	}))
	return saved
}

// testCluster is some nodes in this process.
type testCluster struct {
	t     *testing.T
	dir   string
	disks disks
	nodes map[string]*Node
	addrs map[string]string
	etcd  []string // of the operator's
}

func newTestCluster(t *testing.T, n int) *testCluster {
	c := &testCluster{}
	c.begin(t, n)
	return c
}

func (c *testCluster) begin(t *testing.T, n int) {
	c.t, c.dir, c.nodes, c.addrs = t, t.TempDir(), map[string]*Node{}, map[string]string{}
	t.Cleanup(func() {
		for name := range c.nodes {
			c.stop(name)
		}
	})
	for i := range n {
		c.start(fmt.Sprintf("n%d", i+1))
	}
	c.eventually("all reads count", func() bool {
		for _, n := range c.nodes {
			if n.refilled() != recovery.RefillNot {
				return false
			}
		}
		return true
	})
}

func (c *testCluster) options(name string) Options {
	o := Options{Name: name, Dir: filepath.Join(c.dir, name), Listen: "127.0.0.1:0", OpenStore: c.disks.open, Etcd: c.etcd, Sync: distrib.SyncNow, AllowFaults: true}
	if testing.Verbose() {
		o.Logger = slog.New(slog.NewTextHandler(os.Stderr, nil)).With("at", name)
	}
	if addr, ok := c.addrs[name]; ok {
		o.Listen = addr
	}
	for other, addr := range c.addrs {
		if other != name {
			o.Join = append(o.Join, addr)
		}
	}
	return o
}

func (c *testCluster) start(name string) *Node {
	c.t.Helper()
	n, err := c.try(c.options(name))
	require.NoError(c.t, err)
	c.nodes[name], c.addrs[name] = n, n.Addr()
	return n
}

// startAll starts three nodes at once.
func (c *testCluster) startAll() {
	c.t.Helper()
	var started sync.WaitGroup
	nodes := make([]*Node, 3)
	for i := range nodes {
		started.Go(func() { nodes[i], _ = c.try(c.options(fmt.Sprintf("n%d", i+1))) })
	}
	started.Wait()
	for i, n := range nodes {
		require.NotNil(c.t, n)
		c.nodes[fmt.Sprintf("n%d", i+1)] = n
	}
}

func (c *testCluster) try(o Options) (*Node, error) {
	ctx, cancel := context.WithTimeout(c.t.Context(), time.Minute)
	defer cancel()
	return Start(ctx, o)
}

func (c *testCluster) stop(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	require.NoError(c.t, c.nodes[name].Close(ctx))
	delete(c.nodes, name)
}

// crash ends a node without a word.
func (c *testCluster) crash(name string) {
	n := c.nodes[name]
	n.ready.Store(false)
	require.NoError(c.t, n.close())
	delete(c.nodes, name)
}

func (c *testCluster) kv(name string) api.KVClient {
	conn, err := grpc.NewClient(c.nodes[name].Addr(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = conn.Close() })
	return api.NewKVClient(conn)
}

func (c *testCluster) put(name, key, value string, of *api.GetResponse) *api.PutResponse {
	c.t.Helper()
	r, err := c.kv(name).Put(c.t.Context(), &api.PutRequest{Key: []byte(key), Value: []byte(value), Context: of.GetContext()})
	require.NoError(c.t, err)
	return r
}

func (c *testCluster) get(name, key string) *api.GetResponse {
	c.t.Helper()
	r, err := c.kv(name).Get(c.t.Context(), &api.GetRequest{Key: []byte(key)})
	require.NoError(c.t, err)
	return r
}

func (c *testCluster) values(name, key string) (list []string) {
	for _, s := range c.get(name, key).Siblings {
		list = append(list, string(s.Value))
	}
	return list
}

// holds reports whether a node itself holds a value, however it came there.
func (c *testCluster) holds(name, key, value string) bool {
	record, err := c.nodes[name].parts.data.Read([]byte(key))
	require.NoError(c.t, err)
	for _, s := range record {
		if string(s.Value.Data) == value {
			return true
		}
	}
	return false
}

func (c *testCluster) eventually(what string, f func() bool) {
	c.t.Helper()
	require.Eventually(c.t, f, 2*time.Minute, 20*time.Millisecond, what) // of a busy machine
}

// TestCluster: three nodes serve; one that crashes is written for by the others, and gets that when it is back.
func TestCluster(t *testing.T) {
	c := newTestCluster(t, 3)
	require.Empty(t, c.get("n1", "a").Siblings)
	c.put("n1", "a", "1", nil)
	require.Equal(t, []string{"1"}, c.values("n2", "a"))
	c.put("n3", "a", "2", c.get("n3", "a"))
	require.Equal(t, []string{"2"}, c.values("n1", "a"))

	c.crash("n3")
	for i := range 20 {
		c.put("n1", fmt.Sprintf("k%d", i), "v", nil)
	}
	c.eventually("hints are kept", func() bool {
		return len(c.nodes["n1"].parts.hints.Kept())+len(c.nodes["n2"].parts.hints.Kept()) > 0
	})
	run := c.nodes["n1"].view().members[3].Run
	n3 := c.start("n3")
	require.Equal(t, run+1, n3.births.Run())
	c.eventually("hints are handed over", func() bool {
		return len(c.nodes["n1"].parts.hints.Kept())+len(c.nodes["n2"].parts.hints.Kept()) == 0
	})
	for i := range 20 {
		require.True(t, c.holds("n3", fmt.Sprintf("k%d", i), "v"))
	}
	kept := uint64(0)
	for _, name := range []string{"n1", "n2"} {
		r, err := c.cluster(name).Hints(t.Context(), &api.HintsRequest{})
		require.NoError(t, err)
		for _, h := range r.Hints {
			require.Equal(t, []any{name, "n3", "drained", h.HandedOver}, []any{h.Node, h.Target, h.State, h.Kept})
			kept += h.Kept
		}
	}
	require.EqualValues(t, 20, kept)
}

// TestLostData: a node whose directory was wiped is known, and refilled; one with an old copy is set aside.
func TestLostData(t *testing.T) {
	c := newTestCluster(t, 3)
	c.put("n1", "a", "old", nil)
	c.stop("n3")
	before := c.disks.stores[2]
	saved := copyOf(t, before)
	c.start("n3")
	c.put("n3", "a", "new", c.get("n3", "a"))
	c.eventually("all have it", func() bool {
		return c.holds("n3", "a", "new") && c.holds("n1", "a", "new") && c.holds("n2", "a", "new")
	})
	c.stop("n3")

	c.disks.stores[2] = saved // the copy of before
	n3 := c.start("n3")
	require.Equal(t, recovery.Verdict{Aside: true, Refill: recovery.RefillAll, Dirty: true}, n3.verdict)
	require.EqualValues(t, 3, n3.births.Run())
	c.eventually("it is refilled", func() bool { return n3.refilled() == recovery.RefillNot })
	require.True(t, c.holds("n3", "a", "new"))
	require.DirExists(t, filepath.Join(c.dir, "n3", "data.aside-1"))

	c.stop("n3")
	require.NoError(t, os.RemoveAll(filepath.Join(c.dir, "n3")))
	n3 = c.start("n3")
	require.EqualValues(t, 4, n3.births.Run(), "others know of the three before")
	require.EqualValues(t, 3, n3.self.Load().ID)
	c.eventually("it is refilled", func() bool { return n3.refilled() == recovery.RefillNot })
	require.True(t, c.holds("n3", "a", "new"))
	require.Equal(t, []string{"new"}, c.values("n3", "a"))
}

// TestCrashesAtStart: a node that lost its data crashes at each change that its start makes. Whatever it has written by then,
// the next start works, and knows that it lacks something.
func TestCrashesAtStart(t *testing.T) {
	c := newTestCluster(t, 2)
	c.put("n1", "a", "1", nil)
	c.stop("n2")
	for changes := int64(0); ; changes++ {
		require.NoError(t, os.RemoveAll(filepath.Join(c.dir, "n2")))
		c.disks.left = &atomic.Int64{}
		c.disks.left.Store(changes)
		n, err := c.try(c.options("n2"))
		c.disks.left = nil
		if err == nil {
			require.Greater(t, changes, int64(1))
			require.NoError(t, n.close())
			return
		}
		require.ErrorContains(t, err, "the power is gone")
		n2 := c.start("n2")
		require.Equal(t, recovery.RefillAll, n2.verdict.Refill, "after %d changes", changes)
		c.eventually("it is refilled", func() bool { return n2.refilled() == recovery.RefillNot })
		require.True(t, c.holds("n2", "a", "1"))
		c.stop("n2")
		require.NoError(t, n2.Close(t.Context()), "again")
	}
}

// TestSeats: the metadata comes to run on three nodes, so it stands the loss of the founder, and a fourth node is let in.
func TestSeats(t *testing.T) {
	c := newTestCluster(t, 3)
	c.eventually("three members", func() bool { return len(c.nodes["n2"].view().topology.Metadata) == 3 })
	c.crash("n1")
	delete(c.addrs, "n1")
	n4 := c.start("n4")
	v := n4.view()
	require.Len(t, v.topology.Members, 3)
	require.Equal(t, "n4", v.topology.Joining[0].Name, "it waits for a plan")
	c.put("n4", "a", "1", nil)
	require.Equal(t, []string{"1"}, c.values("n2", "a"), "it serves though it holds nothing")
}

// TestWithoutMetadata: nodes come back without their etcd, from what they have on disk; who is not one of them must wait.
func TestWithoutMetadata(t *testing.T) {
	etcd, err := meta.StartEmbedded(t.Context(), meta.EmbeddedOptions{Dir: t.TempDir(), Name: "etcd"})
	require.NoError(t, err)
	t.Cleanup(func() { _ = etcd.Close() })
	c := &testCluster{etcd: etcd.Endpoints()}
	c.begin(t, 3)
	c.put("n1", "a", "1", nil)
	for name := range c.nodes {
		c.stop(name)
	}
	require.NoError(t, etcd.Close())
	c.startAll()
	require.Equal(t, []string{"1"}, c.values("n3", "a"))
	c.put("n2", "a", "2", c.get("n2", "a"))
	require.Equal(t, []string{"2"}, c.values("n3", "a"))
	_, err = c.try(c.options("n4"))
	require.ErrorIs(t, err, meta.ErrDown)
	require.ErrorContains(t, err, "join cluster")
}
