package meta

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/cambiumdb/cambium/distrib"
)

// Options say where a node's metadata is. What is first of these decides: External, a member in Dir from an
// earlier start, Seeds; with none of them the node founds: it runs the first member itself.
type Options struct {
	Dir        string   // of the member that the node runs or may run
	Name       string   // of the node
	ListenHost string   // IP of the member, default 127.0.0.1
	External   []string // endpoints of an etcd of the operator's
	Seeds      []string // Topology.Metadata as another node has it
	TLS        TLS
	Prefix     string        // see EtcdOptions
	Timeout    time.Duration // see EtcdOptions
	Logger     *slog.Logger  // nil: none
}

// Store is the metadata as a node has it: a client, and the member that the node may run.
type Store struct {
	*Etcd
	options Options
	member  *Embedded    // nil: none
	cut     func() error // of tests: its error cuts off what is done in steps, behind one of them
}

var _ distrib.MetaStore = (*Store)(nil)

// Open waits for a member of this node to serve for as long as ctx allows, and 5 s at most. One that cannot start, such
// as one that the others have taken out, does not matter where Seeds name others: Seats goes on from there.
func Open(ctx context.Context, options Options) (*Store, error) {
	if options.ListenHost == "" {
		options.ListenHost = "127.0.0.1"
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{options: options}
	endpoints := options.External
	var err error
	switch {
	case len(endpoints) > 0:
	case HasSeat(options.Dir) || len(options.Seeds) == 0:
		if endpoints, err = s.begin(ctx); err != nil {
			return nil, err
		}
	default:
		endpoints = options.Seeds
	}
	if s.Etcd, err = s.dial(endpoints); err != nil {
		return nil, errors.Join(err, s.closeMember())
	}
	return s, nil
}

// Endpoints are what a founder writes to Topology.Metadata: those of its member, or of what it is a client of.
func (s *Store) Endpoints() []string {
	if s.member != nil {
		return s.member.Endpoints()
	}
	return s.Etcd.Endpoints()
}

// Close closes the client and stops the member.
func (s *Store) Close() error { return errors.Join(s.Etcd.Close(), s.closeMember()) }

func (s *Store) closeMember() error {
	m := s.member
	if m == nil {
		return nil
	}
	s.member = nil
	return m.Close()
}

// begin runs the node's member, and returns where the metadata is.
func (s *Store) begin(ctx context.Context) (endpoints []string, err error) {
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err = s.startMember(short, s.embeddedOptions())
	if err == nil {
		return append(s.member.Endpoints(), s.options.Seeds...), nil
	}
	others := s.options.Seeds
	if t, err := readSeat(filepath.Join(s.options.Dir, seatTaken)); err == nil {
		others = without(others, t.ClientURL)
	}
	if len(others) == 0 {
		return nil, err
	}
	s.options.Logger.Warn("the node's member of the ring metadata does not start: others are asked", "others", others, "error", err)
	return others, nil
}

func (s *Store) embeddedOptions() EmbeddedOptions {
	return EmbeddedOptions{Dir: s.options.Dir, Name: s.options.Name, ListenHost: s.options.ListenHost, TLS: s.options.TLS, Logger: s.options.Logger}
}

func (s *Store) dial(endpoints []string) (*Etcd, error) {
	var config *tls.Config
	if files := s.options.TLS; files != (TLS{}) {
		if len(s.options.External) > 0 {
			files.Host = ""
		}
		var err error
		if config, err = files.info().ClientConfig(); err != nil {
			return nil, fmt.Errorf("TLS of the metadata store: %w", err)
		}
	}
	return DialEtcd(EtcdOptions{
		Endpoints: endpoints, TLS: config, Prefix: s.options.Prefix, Timeout: s.options.Timeout,
		Follow: len(s.options.External) == 0, Logger: s.options.Logger,
	})
}
