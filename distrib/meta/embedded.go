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
	// Default: free ports of 127.0.0.1. A Dir that holds a member already keeps those that it was given first.
	ClientURL, PeerURL string
	TLS                TLS
	Logger             *slog.Logger // gets warnings and errors; nil: none
}

// Embedded is a running member.
type Embedded struct {
	seat seat
	etcd *embed.Etcd
	once sync.Once // the closing
}

// seat is what a member must come back with, kept as JSON in the file DIR/seat.
type seat struct {
	Name, ClientURL, PeerURL string
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
	s, err := takeSeat(options)
	if err != nil {
		return nil, fmt.Errorf("start etcd member %s in %s: %w", options.Name, options.Dir, err)
	}
	config, err := configure(options, s)
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
	return &Embedded{seat: s, etcd: etcd}, nil
}

// Endpoints are where clients of the member find it.
func (e *Embedded) Endpoints() []string { return []string{e.seat.ClientURL} }

// Close stops the member. Its seat stays: the others count it as down.
func (e *Embedded) Close() error {
	e.once.Do(e.etcd.Close)
	return nil
}

// takeSeat reads the seat of options.Dir, or writes the one that options ask for.
func takeSeat(options EmbeddedOptions) (s seat, err error) {
	path := filepath.Join(options.Dir, "seat")
	b, err := os.ReadFile(path)
	switch {
	case err == nil:
		if err := json.Unmarshal(b, &s); err != nil {
			return s, fmt.Errorf("read %s: %w", path, err)
		}
		if s.Name != options.Name {
			return s, fmt.Errorf("it holds member %s", s.Name)
		}
		return s, nil
	case !errors.Is(err, fs.ErrNotExist):
		return s, err
	}
	s = seat{Name: options.Name, ClientURL: options.ClientURL, PeerURL: options.PeerURL}
	for _, u := range []*string{&s.ClientURL, &s.PeerURL} {
		if *u == "" {
			if *u, err = freeURL("127.0.0.1", options.TLS); err != nil {
				return s, err
			}
		}
	}
	if b, err = json.Marshal(s); err != nil {
		return s, err
	}
	if err := os.MkdirAll(options.Dir, 0o700); err != nil {
		return s, err
	}
	return s, replace(path, b)
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
func configure(options EmbeddedOptions, s seat) (*embed.Config, error) {
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
	c.ClientTLSInfo, c.PeerTLSInfo = options.TLS.info(), options.TLS.info()
	c.ZapLoggerBuilder = embed.NewZapLoggerBuilder(zapLogger(options.Logger))
	c.LogLevel = "warn"
	c.EnableGRPCGateway = false
	c.SnapshotCount, c.SnapshotCatchUpEntries = 500, 50 // both hold values in memory
	c.QuotaBackendBytes = 256 << 20
	c.AutoCompactionMode, c.AutoCompactionRetention = embed.CompactorModeRevision, "50"
	return c, nil
}
