package node

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/certs"
	"github.com/cambiumdb/cambium/distrib/meta"
)

// Store is what a node keeps everything in. The node closes it.
type Store interface {
	distrib.Store
	io.Closer
	// DiskBytes is what it takes on the device.
	DiskBytes() int64
}

// Options of a node. Name, Dir, Listen and OpenStore are required.
type Options struct {
	Name   string // unique in the cluster, and the same at every start with Dir
	Dir    string // all that the node keeps: data, ring metadata
	Listen string // host:port of gRPC; port 0 is any that is free
	// Advertise is the host:port that others are told. Default: where it listens, which then must not be all
	// addresses of the machine.
	Advertise string
	HTTP      string // host:port of health, metrics and profiles; port 0 is any that is free; empty: none
	Gossip    string // host:port, of an IP, for UDP and TCP. Default: any free port of the host of Listen

	// Join are addresses of gRPC of some nodes of the cluster. Without any a node whose Dir is empty founds one.
	Join []string
	// Etcd are endpoints of the operator's own etcd for the ring metadata. Default: the nodes run it themselves.
	Etcd []string

	Zone     string  // where it fails together with others, empty: alone
	Weight   float64 // how much it holds beside others; 0 is 1
	Replicas int     // N of a cluster that is founded; 0 is 3

	// Sync is when a write is durable at each node before it counts.
	Sync distrib.Sync
	// NeverPromote refuses linearizable operations of clients.
	NeverPromote bool
	// HintBytes bounds what is kept for each node that does not answer; 0 is 1 GiB.
	HintBytes int64
	// HintRate is how many bytes a second of them are handed over at most; 0 is 64 MiB.
	HintRate int64
	// Operations is how many operations of clients are carried out at a time, and OperationBytes what their keys and
	// values take: others are refused. 0 are 4096 and 256 MiB.
	Operations     int
	OperationBytes int64

	// Security is the certificates of the node. nil: all is in the clear, which a node refuses off loopback unless
	// Insecure says that it may.
	Security *certs.Security
	Insecure bool

	// OpenStore opens the store in a directory, or makes it.
	OpenStore func(dir string) (Store, error)
	// AllowFaults serves the service that cuts the node off, for demonstrations and tests.
	AllowFaults bool
	Now         func() time.Time // the wall clock; nil: time.Now
	Logger      *slog.Logger     // nil: none
}

func (o Options) withDefaults() (Options, error) {
	host, _, err := net.SplitHostPort(o.Listen)
	ip := net.ParseIP(host)
	switch {
	case o.Name == "":
		return o, errors.New("a node needs a name: it is what others know it by")
	case o.Dir == "" || o.OpenStore == nil:
		return o, fmt.Errorf("node %s: no directory to keep its data in", o.Name)
	case err != nil:
		return o, fmt.Errorf("node %s: listen at %q: %w", o.Name, o.Listen, err)
	case o.Advertise == "" && (host == "" || ip.IsUnspecified()):
		return o, fmt.Errorf("node %s: it listens at %s, all addresses of this machine: say by which one others reach it", o.Name, o.Listen)
	}
	if o.Security == nil && !o.Insecure {
		for _, addr := range []string{o.Listen, o.HTTP, o.Gossip} {
			if addr != "" && !onLoopback(addr) {
				return o, fmt.Errorf("node %s: it listens at %s, beyond this machine, without TLS: give certificates, or say that it is to be insecure", o.Name, addr)
			}
		}
	}
	if o.Security != nil {
		if err := o.Security.CheckNode(o.Name); err != nil {
			return o, fmt.Errorf("node %s: %w", o.Name, err)
		}
	}
	if o.Gossip == "" {
		if o.Gossip, err = gossipAt(host); err != nil {
			return o, fmt.Errorf("node %s: %w", o.Name, err)
		}
	}
	if o.HintRate == 0 {
		o.HintRate = 64 << 20
	}
	if o.Replicas == 0 {
		o.Replicas = 3
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o, nil
}

// onLoopback reports whether only this machine reaches an address to listen at.
func onLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	return err != nil || host == "localhost" || net.ParseIP(host).IsLoopback() // where it is no address, listening says so
}

// gossipAt is any free port of an address of host.
func gossipAt(host string) (string, error) {
	addr, err := net.ResolveIPAddr("ip", host)
	if err != nil {
		return "", fmt.Errorf("address to gossip at: %w", err)
	}
	return net.JoinHostPort(addr.String(), "0"), nil
}

// credentials are those of connections to other nodes, tls the files of those to the ring metadata.
func (o Options) credentials() credentials.TransportCredentials {
	if o.Security == nil {
		return insecure.NewCredentials()
	}
	return o.Security.Client()
}

func (o Options) metaTLS() meta.TLS {
	if o.Security == nil {
		return meta.TLS{}
	}
	f := o.Security.Files()
	return meta.TLS{CA: f.CA, Cert: f.Cert, Key: f.Key, Host: certs.NodeHost}
}

const (
	// helloTimeout bounds a question to a node that starts, or that one that starts asks.
	helloTimeout = time.Second
	// againAfter is how long a node that starts waits until it asks again.
	againAfter = 200 * time.Millisecond
)
