// Package gossip spreads what nodes say of themselves, and says which of them answer: hashicorp/memberlist, a
// SWIM (Das et al., DSN 2002) with Lifeguard (Dadgar et al., DSN-W 2018), that tells two random nodes each round.
//
//	g, err := gossip.Start(gossip.Options{ClusterID: id, Node: 1, Name: "n1", Bind: "10.0.0.1:7946", Seeds: seeds})
//	g.SetState(gossip.State{Epoch: 7, DataBytes: 1 << 30})
//	g.Observe(3, err)            // what became of a request to node 3
//	switch g.Liveness(3) { ... } // this node's own opinion
//
// # Two witnesses
//
// A node is Down when memberlist's probes say so, a second or two after it stopped to answer, or at once when
// several requests to it in a row were refused or broke. Requests that were answered make it Up again, whatever the
// probes say. Nothing rests on an opinion but time: who is Down is asked later or not at all, and a quorum is a
// quorum of all.
//
// All methods may be called by many goroutines at once.
package gossip

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/memberlist"

	"github.com/cambiumdb/cambium/distrib"
)

// Faults says which links are cut, for tests: To those to which nothing goes, From those from which nothing is
// taken.
type Faults interface {
	To(name string) bool
	From(name string) bool
}

// Options of a node's gossip. ClusterID, Node, Name and Bind are required.
type Options struct {
	ClusterID string // nodes of another cluster are not heard
	Node      uint64
	Name      string
	Bind      string   // IP:PORT for UDP and TCP; port 0 is any that is free
	Seeds     []string // host:port of some others
	Key       []byte   // of 16, 24 or 32 bytes, the same on all nodes: messages are encrypted with it (AES-GCM)
	Faults    Faults   // nil: none
	Logger    *slog.Logger
	// OnChange is called when the opinion of a node has changed. Of one that fades, since nothing was heard, it is called
	// when somebody asks. It must not call the Gossip.
	OnChange func(node uint64, l distrib.Liveness)
}

// Gossip is a node's part in the gossip.
type Gossip struct {
	opts     Options
	list     *memberlist.Memberlist
	addr     string
	opinions *opinions

	mu    sync.Mutex // guards state
	state State
}

// State is what a node says of itself.
type State struct {
	Epoch     uint64 // of the oldest topology under which something goes on there
	Run       uint64 // the number of its start
	DataBytes uint64
	HintBytes uint64
}

// Member is what is known of a node.
type Member struct {
	Node  uint64
	Name  string
	Addr  string // of its gossip
	State State
	Opinion
}

// Start begins to listen and to gossip, and looks for the seeds. That none of them answers is no error, since they
// may come later: Join tries again.
func Start(opts Options) (*Gossip, error) {
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	g := &Gossip{opts: opts, opinions: newOpinions(opts.Node, opts.OnChange)}
	config, err := g.config()
	if err == nil {
		if g.list, err = memberlist.Create(config); err != nil {
			err = errors.Join(err, config.Transport.Shutdown())
		}
	}
	if err != nil {
		return nil, fmt.Errorf("gossip at %s: %w", opts.Bind, err)
	}
	g.addr = g.list.LocalNode().Address() // memberlist writes to that node later on
	if err := g.Join(opts.Seeds); err != nil {
		opts.Logger.Info("gossip: seeds do not answer yet", "seeds", opts.Seeds, "error", err)
	}
	return g, nil
}

// config has the probes of a local network, faster: a node that stops is Down after some two seconds.
func (g *Gossip) config() (*memberlist.Config, error) {
	host, port, err := splitBind(g.opts.Bind)
	if err != nil {
		return nil, err
	}
	c := memberlist.DefaultLANConfig()
	c.Name, c.Label, c.SecretKey = g.opts.Name, g.opts.ClusterID, g.opts.Key
	c.BindAddr, c.BindPort, c.AdvertisePort = host, port, port
	c.GossipNodes = 2
	c.GossipInterval = 100 * time.Millisecond
	c.ProbeInterval = 500 * time.Millisecond
	c.ProbeTimeout = 250 * time.Millisecond
	c.SuspicionMult = 2
	c.SuspicionMaxTimeoutMult = 3
	c.PushPullInterval = 10 * time.Second
	c.DeadNodeReclaimTime = time.Second // a node may come back at another address
	c.GossipToTheDeadTime = 10 * time.Minute
	c.TCPTimeout = 2 * time.Second
	c.DisableTcpPings = true // a one-way cut must not pass for an answer
	c.Delegate, c.Events, c.Alive = delegate{g}, events{g}, alive{g}
	logger := log.New(logWriter{g.opts.Logger}, "", 0)
	c.LogOutput, c.Logger = nil, logger
	net, err := memberlist.NewNetTransport(&memberlist.NetTransportConfig{BindAddrs: []string{host}, BindPort: port, Logger: logger})
	if err != nil {
		return nil, err
	}
	if port == 0 {
		c.BindPort, c.AdvertisePort = net.GetAutoBindPort(), net.GetAutoBindPort()
	}
	c.Transport = newCutter(net, g.opts.Faults)
	return c, nil
}

func splitBind(bind string) (host string, port int, err error) {
	host, p, err := net.SplitHostPort(bind)
	if err == nil {
		port, err = strconv.Atoi(p)
	}
	if err == nil && net.ParseIP(host) == nil {
		err = fmt.Errorf("%q is no IP address", host)
	}
	return host, port, err
}

// Addr is where the node gossips, for the seeds of others.
func (g *Gossip) Addr() string { return g.addr }

// Join looks for other nodes at addresses. It is an error where none of them answers.
func (g *Gossip) Join(seeds []string) error {
	if len(seeds) == 0 {
		return nil
	}
	_, err := g.list.Join(seeds)
	return err
}

// SetState tells all others. They know it some rounds later.
func (g *Gossip) SetState(s State) {
	g.mu.Lock()
	same := g.state == s
	g.state = s
	g.mu.Unlock()
	if !same {
		_ = g.list.UpdateNode(toldWithin) // an error says that nobody was told yet: they are told anyway
	}
}

// toldWithin is how long SetState waits until the state is on its way.
const toldWithin = 200 * time.Millisecond

// Observe takes what became of a request to a node: nil, an error that wraps distrib.ErrRefused where nothing was
// listening, or another where no answer came. Errors that the node itself answered are none.
func (g *Gossip) Observe(node uint64, err error) { g.opinions.observe(node, err, time.Now()) }

// Liveness is this node's opinion of another. One that was never heard of is Up until requests to it fail.
func (g *Gossip) Liveness(node uint64) distrib.Liveness { return g.opinions.of(node).Liveness }

// Members returns what is known of all other nodes that were heard of since Start, by number.
func (g *Gossip) Members() []Member {
	list := g.opinions.members()
	slices.SortFunc(list, func(a, b Member) int { return cmp.Compare(a.Node, b.Node) })
	return list
}

// Forget drops what is known of nodes that are gone, unless they gossip still.
func (g *Gossip) Forget(gone func(node uint64) bool) { g.opinions.forget(gone) }

// Leave tells the others that the node goes, so that they need not find out.
func (g *Gossip) Leave(timeout time.Duration) error { return g.list.Leave(timeout) }

// Close ends the gossip.
func (g *Gossip) Close() error { return g.list.Shutdown() }

// delegate gives memberlist what the node says of itself, which travels with its address.
type delegate struct{ *Gossip }

func (d delegate) NodeMeta(limit int) []byte {
	d.mu.Lock()
	defer d.mu.Unlock()
	return appendMeta(nil, d.opts.Node, d.state)
}

func (delegate) NotifyMsg([]byte)                {}
func (delegate) GetBroadcasts(_, _ int) [][]byte { return nil }
func (delegate) LocalState(bool) []byte          { return nil }
func (delegate) MergeRemoteState([]byte, bool)   {}

// events takes what memberlist says of others.
type events struct{ *Gossip }

func (e events) NotifyJoin(n *memberlist.Node)   { e.heard(n) }
func (e events) NotifyUpdate(n *memberlist.Node) { e.heard(n) }

func (e events) heard(n *memberlist.Node) {
	if node, state, err := parseMeta(n.Meta); err == nil {
		e.opinions.heard(Member{Node: node, Name: n.Name, Addr: n.Address(), State: state}, time.Now())
	}
}

func (e events) NotifyLeave(n *memberlist.Node) {
	if node, _, err := parseMeta(n.Meta); err == nil {
		e.opinions.gone(node, "it left, or does not answer probes", time.Now()) // memberlist does not tell which
	}
}

// alive keeps out nodes whose words are not understood.
type alive struct{ *Gossip }

func (a alive) NotifyAlive(n *memberlist.Node) error {
	node, _, err := parseMeta(n.Meta)
	if err == nil && node == a.opts.Node && n.Name != a.opts.Name {
		err = errors.New("it says that it is this node")
	}
	if err != nil {
		return fmt.Errorf("node %s at %s: %w", n.Name, n.Address(), err)
	}
	return nil
}

// logWriter makes memberlist's lines quiet ones of ours.
type logWriter struct{ *slog.Logger }

var _ io.Writer = logWriter{}

func (w logWriter) Write(line []byte) (int, error) {
	w.Debug("gossip", "memberlist", string(line))
	return len(line), nil
}
