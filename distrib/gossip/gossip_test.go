package gossip_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/gossip"
)

// TestMain waits for memberlist's last probes: a shutdown does not, and on a busy machine they take some seconds.
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

// cuts are the links of one node that are cut.
type cuts struct {
	mu       sync.Mutex // guards what follows
	to, from map[string]bool
}

func (c *cuts) To(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.to[name]
}

func (c *cuts) From(name string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.from[name]
}

func (c *cuts) set(to, from string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.to, c.from = map[string]bool{to: true}, map[string]bool{from: true}
}

type member struct {
	*gossip.Gossip
	cuts *cuts
	told *opinions
}

// opinions are those of a node of which it was told last.
type opinions struct {
	mu   sync.Mutex // guards last
	last map[uint64]distrib.Liveness
}

func (o *opinions) changed(node uint64, l distrib.Liveness) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last[node] = l
}

func (o *opinions) of(node uint64) distrib.Liveness {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.last[node]
}

func start(t *testing.T, id uint64, cluster string, seeds ...string) member {
	t.Helper()
	m := member{cuts: &cuts{}, told: &opinions{last: map[uint64]distrib.Liveness{}}}
	var err error
	m.Gossip, err = gossip.Start(gossip.Options{
		ClusterID: cluster, Node: id, Name: fmt.Sprintf("n%d", id), Bind: "127.0.0.1:0", Seeds: seeds, Faults: m.cuts,
		Key: []byte("0123456789abcdef"), Logger: slog.New(slog.DiscardHandler), OnChange: m.told.changed,
	})
	require.NoError(t, err)
	return m
}

// three starts nodes 1, 2 and 3 and waits until each has heard of both others. Of who was not heard of a node thinks well.
func three(t *testing.T) (nodes [4]member) {
	nodes[1] = start(t, 1, "c")
	for id := uint64(2); id <= 3; id++ {
		nodes[id] = start(t, id, "c", nodes[1].Addr())
	}
	for a := 1; a <= 3; a++ {
		t.Cleanup(func() { nodes[a].Close() })
		require.Eventually(t, func() bool { return len(nodes[a].Members()) == 2 }, time.Minute, 10*time.Millisecond, "node %d should know two others", a)
		for b := uint64(1); b <= 3; b++ {
			thinks(t, nodes[a], b, distrib.Up)
		}
	}
	return nodes
}

// thinks waits until a node thinks so of another.
func thinks(t *testing.T, m member, of uint64, want distrib.Liveness) {
	t.Helper()
	require.Eventually(t, func() bool { return m.Liveness(of) == want }, time.Minute, 10*time.Millisecond, "node %d should be %d", of, want)
}

func known(m member, id uint64) gossip.State {
	for _, o := range m.Members() {
		if o.Node == id {
			return o.State
		}
	}
	return gossip.State{}
}

func TestStateSpreads(t *testing.T) {
	nodes := three(t)
	want := gossip.State{Epoch: 1 << 40, Run: 3, DataBytes: 1 << 50, HintBytes: 7}
	nodes[3].SetState(want)
	for _, m := range nodes[1:3] {
		require.Eventually(t, func() bool { return known(m, 3) == want }, time.Minute, 10*time.Millisecond)
	}
	require.Len(t, nodes[1].Members(), 2)
}

func TestNodeGoesAndComesBack(t *testing.T) {
	nodes := three(t)
	require.NoError(t, nodes[3].Close())
	thinks(t, nodes[1], 3, distrib.Down)
	thinks(t, nodes[2], 3, distrib.Down)
	back := start(t, 3, "c", nodes[1].Addr()) // at another port
	defer back.Close()
	thinks(t, nodes[1], 3, distrib.Up)
	thinks(t, nodes[2], 3, distrib.Up)
	require.NoError(t, back.Leave(10*time.Second))
	thinks(t, nodes[2], 3, distrib.Down)
	for _, m := range nodes[2].Members() {
		require.Equal(t, m.Node == 3, m.Reason != "", "%+v", m)
	}
}

// TestPartition cuts node 3 off, both ways and then one way only, and heals.
func TestPartition(t *testing.T) {
	nodes := three(t)
	nodes[1].cuts.set("n3", "n3")
	nodes[2].cuts.set("n3", "n3")
	nodes[3].cuts.set("", "")
	thinks(t, nodes[1], 3, distrib.Down)
	thinks(t, nodes[2], 3, distrib.Down)
	thinks(t, nodes[3], 1, distrib.Down)
	require.Equal(t, distrib.Up, nodes[1].Liveness(2))
	for _, m := range nodes[1:] {
		m.cuts.set("", "")
	}
	for a := 1; a <= 3; a++ {
		for b := uint64(1); b <= 3; b++ {
			thinks(t, nodes[a], b, distrib.Up)
		}
	}
}

func TestOtherClusterIsNotHeard(t *testing.T) {
	nodes := three(t)
	stranger := start(t, 4, "other", nodes[1].Addr())
	defer stranger.Close()
	require.Error(t, stranger.Join([]string{nodes[1].Addr()}))
	require.Empty(t, stranger.Members())
	require.Len(t, nodes[1].Members(), 2)
}

// TestRequestsCount: requests that fail make a node Down before the probes find out, and one that is answered makes
// it Up.
func TestRequestsCount(t *testing.T) {
	nodes := three(t)
	refused := fmt.Errorf("dial: %w", distrib.ErrRefused)
	nodes[1].Observe(2, refused)
	require.Equal(t, distrib.Up, nodes[1].Liveness(2), "once may be chance")
	nodes[1].Observe(2, refused)
	require.Equal(t, distrib.Down, nodes[1].Liveness(2), "nothing listens")
	nodes[1].Observe(2, nil)
	require.Equal(t, distrib.Up, nodes[1].Liveness(2))
	lost := errors.New("no answer")
	for range 2 {
		nodes[1].Observe(2, lost)
	}
	require.Equal(t, distrib.Suspect, nodes[1].Liveness(2))
	for range 3 {
		nodes[1].Observe(2, lost)
	}
	require.Equal(t, distrib.Down, nodes[1].Liveness(2))
	require.Equal(t, distrib.Down, nodes[1].told.of(2))
	thinks(t, nodes[1], 2, distrib.Up) // the probes are believed again after some time
	require.Equal(t, distrib.Up, nodes[1].told.of(2))
	for range 9 {
		nodes[1].Observe(2, &distrib.Overloaded{What: "too much"})
	}
	require.Equal(t, distrib.Up, nodes[1].Liveness(2), "it answered")
}

func TestBadOptions(t *testing.T) {
	for bind, want := range map[string]string{"localhost:1": "no IP address", "127.0.0.1": "missing port", "127.0.0.1:x": "invalid syntax", "203.0.113.1:1": "cannot assign"} {
		_, err := gossip.Start(gossip.Options{ClusterID: "c", Node: 1, Name: "n1", Bind: bind})
		require.ErrorContains(t, err, want)
	}
	// Nothing listens afterwards: TestMain looks for what goes on.
	_, err := gossip.Start(gossip.Options{ClusterID: "c", Node: 1, Name: "n1", Bind: "127.0.0.1:0", Key: []byte("short"), Faults: &cuts{}})
	require.ErrorContains(t, err, "key size")
}
