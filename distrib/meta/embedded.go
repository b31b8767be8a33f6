package meta

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"go.etcd.io/etcd/server/v3/embed"
	"go.etcd.io/etcd/server/v3/storage/wal"
)

// TLS are the files of a member, PEM. Certificate and key are read anew with each handshake, the CA with each start. The
// zero value is none.
type TLS struct {
	CA, Cert, Key string
	// Host is one that the certificates of all members and nodes hold: who has a certificate of the CA without it
	// does not come in, so that a client cannot write the topology. It is not asked of the operator's etcd. "": any.
	Host string
}

func (t TLS) info() transport.TLSInfo {
	info := transport.TLSInfo{TrustedCAFile: t.CA, CertFile: t.Cert, KeyFile: t.Key, ClientCertAuth: t.CA != ""}
	if t.Host != "" {
		info.AllowedHostnames = []string{t.Host}
		info.SkipClientSANVerify = true // it would want the address from which a node calls in its certificate
	}
	return info
}

// EmbeddedOptions are of a member of an etcd in this process.
type EmbeddedOptions struct {
	Dir  string // its own
	Name string // unique among the members
	// ClientURL and PeerURL are where it listens and what it tells others, e.g. http://127.0.0.1:2379.
	// Default: free ports of ListenHost. A Dir that holds a member already keeps those that it was given first.
	ClientURL, PeerURL string
	ListenHost         string // an IP, default 127.0.0.1
	TLS                TLS
	Logger             *slog.Logger // gets warnings and errors; nil: none
}

// Embedded is a running member.
type Embedded struct {
	seat  seat
	etcd  *embed.Etcd
	quiet *atomic.Bool // nothing is logged any more
	once  sync.Once    // the closing
}

// seat is what a member must come back with, kept as JSON in the file DIR/seat.
type seat struct {
	Name, ClientURL, PeerURL string
	Join                     string // the members beside which it began, NAME=PEERURL,..; empty: it founded
}

// HasSeat tells whether dir holds a member.
func HasSeat(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "seat"))
	return err == nil
}

// StartEmbedded starts a member and waits until it serves, or ctx ends; a member that comes back without a
// majority of the others does not serve yet, and is returned all the same.
func StartEmbedded(ctx context.Context, options EmbeddedOptions) (*Embedded, error) {
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	if options.ListenHost == "" {
		options.ListenHost = "127.0.0.1"
	}
	s, err := takeSeat(options)
	if err != nil {
		return nil, fmt.Errorf("start etcd member %s in %s: %w", options.Name, options.Dir, err)
	}
	quiet := new(atomic.Bool)
	config, err := configure(options, s, quiet)
	if err != nil {
		return nil, err
	}
	etcd, err := embed.StartEtcd(config)
	if err != nil {
		return nil, fmt.Errorf("start etcd member %s at %s and %s: %w", s.Name, s.ClientURL, s.PeerURL, err)
	}
	select {
	case <-etcd.Server.ReadyNotify():
	case <-etcd.Server.StopNotify():
		etcd.Close()
		return nil, fmt.Errorf("etcd member %s in %s stopped as it began: it was removed from its cluster, or its log says why", s.Name, options.Dir)
	case <-ctx.Done():
		options.Logger.Warn("etcd member waits for a majority of the others", "name", s.Name)
	}
	return &Embedded{seat: s, etcd: etcd, quiet: quiet}, nil
}

// Endpoints are where clients of the member find it.
func (e *Embedded) Endpoints() []string { return []string{e.seat.ClientURL} }

// Close stops the member. Its seat stays: the others count it as down.
func (e *Embedded) Close() error {
	e.once.Do(func() {
		e.quiet.Store(true)
		e.etcd.Close()
	})
	return nil
}

// takeSeat reads the seat of options.Dir, or writes the one that options ask for.
func takeSeat(options EmbeddedOptions) (s seat, err error) {
	path := filepath.Join(options.Dir, "seat")
	s, err = readSeat(path)
	switch {
	case err == nil && s.Name != options.Name:
		return s, fmt.Errorf("it holds member %s", s.Name)
	case !errors.Is(err, fs.ErrNotExist):
		return s, err
	}
	if s, err = newSeat(options); err != nil {
		return s, err
	}
	return s, writeSeat(path, s)
}

// newSeat is the seat that options ask for.
func newSeat(options EmbeddedOptions) (s seat, err error) {
	s = seat{Name: options.Name, ClientURL: options.ClientURL, PeerURL: options.PeerURL}
	for _, u := range []*string{&s.ClientURL, &s.PeerURL} {
		if *u == "" {
			if *u, err = freeURL(options.ListenHost, options.TLS); err != nil {
				return s, err
			}
		}
	}
	return s, nil
}

func readSeat(path string) (s seat, err error) {
	b, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, fmt.Errorf("read %s: %w", path, err)
	}
	return s, nil
}

func writeSeat(path string, s seat) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return replace(path, b)
}

// freeURL returns a port of host that nobody listens on now.
func freeURL(host string, files TLS) (string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return "", fmt.Errorf("find a free port of %s: %w", host, err)
	}
	scheme := "http://"
	if files != (TLS{}) {
		scheme = "https://"
	}
	return scheme + l.Addr().String(), l.Close()
}

var smallLog = sync.OnceFunc(func() { wal.SegmentSizeBytes = 4 << 20 }) // 64 MB are made ahead otherwise

// configure makes a member small: a value of some hundred KB that changes a few times a day.
func configure(options EmbeddedOptions, s seat, quiet *atomic.Bool) (*embed.Config, error) {
	smallLog()
	client, err := url.Parse(s.ClientURL)
	if err != nil {
		return nil, fmt.Errorf("client URL of etcd member %s: %w", s.Name, err)
	}
	peer, err := url.Parse(s.PeerURL)
	if err != nil {
		return nil, fmt.Errorf("peer URL of etcd member %s: %w", s.Name, err)
	}
	c := embed.NewConfig()
	c.Dir, c.Name = filepath.Join(options.Dir, "etcd"), s.Name
	c.ListenClientUrls, c.AdvertiseClientUrls = []url.URL{*client}, []url.URL{*client}
	c.ListenPeerUrls, c.AdvertisePeerUrls = []url.URL{*peer}, []url.URL{*peer}
	c.InitialCluster, c.ClusterState = s.Name+"="+s.PeerURL, embed.ClusterStateFlagNew
	if s.Join != "" {
		c.InitialCluster, c.ClusterState = s.Join, embed.ClusterStateFlagExisting
	}
	c.ClientTLSInfo, c.PeerTLSInfo = options.TLS.info(), options.TLS.info()
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapLogger(options.Logger, quiet))
	c.LogLevel = "warn"
	c.EnableGRPCGateway = false
	c.TickMs, c.ElectionMs = 250, 2500                  // it changes seldom: a busy machine must not lose its leader
	c.SnapshotCount, c.SnapshotCatchUpEntries = 500, 50 // both hold values in memory
	c.QuotaBackendBytes = 256 << 20
	c.AutoCompactionMode, c.AutoCompactionRetention = embed.CompactorModeRevision, "50"
	return c, nil
}
