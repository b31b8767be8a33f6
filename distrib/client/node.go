package client

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/cambiumdb/cambium/distrib/api"
)

// node is one that can be asked: its connection, its session, and what is thought of it.
//
// A node that let a request wait longer than the patience with it is suspect, and so is one that has said nothing for
// longer than it ever does while it owes answers: under load that shows within milliseconds. Whatever the cause, one
// good answer ends the suspicion; so that nobody has to wait for that, it is asked by probes.
type node struct {
	client   *Client
	addr     string
	name     atomic.Pointer[string] // in the ring; nil: it is none of it
	patience patience               // with an answer
	quiet    patience               // with its saying nothing at all while it owes answers
	heard    atomic.Int64           // when something last came, by Client.now
	state    atomic.Uint32
	suspect  atomic.Bool
	probing  atomic.Int64 // when the last probe was sent that is not answered, 0: none
	probed   atomic.Int64 // when the last one was

	mu      sync.Mutex // guards what follows; a session's comes before it
	conn    *grpc.ClientConn
	session *session // nil: none, and none is being opened
	failed  error    // why the last one ended
	again   time.Duration
	pause   time.Duration
	closed  bool
}

// The states of a node.
const (
	stateFresh uint32 = iota // nothing is known: requests wait for the first connection
	stateUp
	stateDown // the last session ended; requests do not wait for another
)

const (
	pauseLeast, pauseMost = 50 * time.Millisecond, time.Second

	connectMax = 2 * time.Second
	// silenceMax is how long a suspect node may be silent until it gets another connection. After a cut TCP waits as
	// long as that lasted before it tries again; a new connection does not.
	silenceMax = 4 * time.Second

	probeEvery = 100 * time.Millisecond
	probeMax   = 5 * time.Second // after which a probe that was not answered is given up
)

var errConnecting = errors.New("connecting")

// String names the node.
func (n *node) String() string {
	if name := n.name.Load(); name != nil {
		return *name
	}
	return n.addr
}

// Plain takes from an error of a call, such as of an api.ClusterClient, what is only of gRPC.
func Plain(err error) error {
	s, ok := status.FromError(err)
	if !ok || err == nil {
		return err
	}
	text := s.Message()
	if _, cause, ok := strings.Cut(text, "Error while dialing: "); ok {
		text = strings.TrimSuffix(cause, `"`)
	}
	return errors.New(text)
}

// dialed returns a connection, which may have been closed meanwhile.
func (n *node) dialed() (*grpc.ClientConn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dial(false)
}

// dial returns the connection, or with anew another one. The caller holds the mutex.
func (n *node) dial(anew bool) (*grpc.ClientConn, error) {
	if n.closed {
		return nil, errClosed
	}
	if n.conn != nil && !anew {
		return n.conn, nil
	}
	if n.conn != nil {
		_ = n.conn.Close() // what is under way on it fails
	}
	b := backoff.DefaultConfig
	b.BaseDelay, b.MaxDelay = pauseLeast, pauseMost
	conn, err := grpc.NewClient("passthrough:///"+n.addr,
		grpc.WithTransportCredentials(n.client.opts.Credentials),
		grpc.WithDisableServiceConfig(),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: b, MinConnectTimeout: connectMax}),
		grpc.WithStaticStreamWindowSize(1<<20), grpc.WithStaticConnWindowSize(4<<20),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(api.MaxAnswerBytes)))
	if err != nil {
		return nil, err
	}
	n.conn = conn
	return conn, nil
}

// current returns the session. Where there is none it begins to open one, unless that has failed just now.
func (n *node) current() (*session, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.session != nil {
		return n.session, nil
	}
	if !n.closed && n.failed != nil && n.client.now() < n.again {
		return nil, n.failed
	}
	conn, err := n.dial(n.failed != nil)
	if err != nil {
		return nil, err
	}
	s := newSession(n)
	n.session = s
	n.client.work.Go(func() { s.run(conn) })
	return s, nil
}

// submit gives t to the node. An error means that it does not reach the node. wait lets it wait for a connection.
func (n *node) submit(t *try, wait bool) error {
	s, err := n.current()
	if err != nil {
		return err
	}
	t.node, t.begun = n, n.client.now()
	return s.submit(t, wait || n.state.Load() == stateFresh)
}

// opened is called by a session that has a connection.
func (n *node) opened() {
	n.state.Store(stateUp)
	n.hear()
}

// lost is called by a session that has ended.
func (n *node) lost(s *session, err error, useful bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.session != s {
		return
	}
	n.session, n.failed = nil, err
	n.state.Store(stateDown)
	n.probing.Store(0)
	if useful {
		n.pause = 0
	} else {
		n.pause = min(max(2*n.pause, pauseLeast), pauseMost)
	}
	n.again = n.client.now() + n.pause
	n.client.refreshSoon()
}

// close ends the session and the connection.
func (n *node) close() {
	n.mu.Lock()
	n.closed = true
	s, conn := n.session, n.conn
	n.conn = nil
	n.mu.Unlock()
	if s != nil {
		s.end(errClosed)
	}
	if conn != nil {
		_ = conn.Close() // nothing is under way on it
	}
	n.trust()
}

func (n *node) hear() { n.heard.Store(int64(n.client.now())) }

// silent reports whether nothing has come since then.
func (n *node) silent(since time.Duration) bool { return n.heard.Load() < int64(since) }

// doubt makes the node suspect.
func (n *node) doubt() {
	if n.suspect.CompareAndSwap(false, true) {
		n.client.suspects.Add(1)
	}
}

// trust ends the suspicion.
func (n *node) trust() {
	if n.suspect.CompareAndSwap(true, false) {
		n.client.suspects.Add(-1)
	}
}

// rank says how soon the node is asked, beside others: 0 before 1 before 2. Of a node that is suspect or down it is
// the occasion to find out whether it still is.
func (n *node) rank(key []byte) int {
	if n.state.Load() == stateDown {
		_, _ = n.current() // it opens a session, which says so when it is open
		return 2
	}
	if n.suspect.Load() {
		n.probe(key)
		return 1
	}
	return 0
}

// probe reads key at the node, for nobody, unless another probe is under way or was just now.
func (n *node) probe(key []byte) {
	now := n.client.now()
	last, open := time.Duration(n.probed.Load()), time.Duration(n.probing.Load())
	if now-last < probeEvery || open != 0 && now-open < probeMax || !n.probed.CompareAndSwap(int64(last), int64(now)) {
		return
	}
	if n.silent(now - silenceMax) {
		n.mu.Lock()
		s := n.session
		n.mu.Unlock()
		if s != nil { // as soon as there is another one, something was heard
			s.end(errors.New("nothing came for " + silenceMax.String()))
		}
	}
	t := &try{frame: frame{field: requestGet, body: appendGet(nil, key, GetOptions{}), timeout: uint64(time.Second.Milliseconds())}}
	if n.submit(t, true) == nil {
		n.probing.Store(int64(now))
	}
}

// probeAnswered is called by the session that has the answer to a probe. It must not take long.
func (n *node) probeAnswered(t *try, field protowire.Number, body []byte) {
	n.probing.Store(0)
	n.patience.record(n.client.now() - t.begun)
	if field == responseFailure {
		if e := (decoder{}).failure(nil, body); e == nil || e.Reason == reasonUnavailable || e.Reason == reasonTimeout {
			return
		}
	}
	n.trust()
}

// clusterClient asks the node about the cluster.
func (n *node) clusterClient() (api.ClusterClient, error) {
	conn, err := n.dialed()
	if err != nil {
		return nil, err
	}
	return api.NewClusterClient(conn), nil
}
