package meta

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
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

// StartEmbedded starts a member and waits until it serves, or ctx ends; a member that comes back without a
// majority of the others does not serve yet, and is returned all the same. One whose data is gone does not start:
// it would be another under the same name, that knows nothing of what it has agreed to.
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
	etcd, err := startEtcd(config)
	if err == nil && !s.Served {
		s.Served = true
		if err = writeSeat(filepath.Join(options.Dir, seatTaken), s); err != nil {
			etcd.Close()
		}
	}
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

// startEtcd also returns where etcd would end its goroutine or the process: that of the node goes on.
func startEtcd(config *embed.Config) (etcd *embed.Etcd, err error) {
	ended := make(chan struct{})
	err = errors.New("it has ended its start: its log says why")
	go func() {
		defer close(ended)
		defer func() {
			if why := recover(); why != nil {
				err = fmt.Errorf("it has ended its start: %v", why)
			}
		}()
		etcd, err = embed.StartEtcd(config)
	}()
	<-ended
	return etcd, err
}

// stopped reports whether the member has stopped by itself: it was removed from its cluster, or cannot write its log.
func (e *Embedded) stopped() bool {
	select {
	case <-e.etcd.Server.StopNotify():
		return true
	default:
		return false
	}
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
