package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
)

// ServerTLS is for a listener that is not gRPC's, as of HTTP: it lets in who has a certificate of the CA, in
// any role. A Security with a client's certificate has no use for it: nobody believes it to be a server.
func (s *Security) ServerTLS() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS13,
		ClientAuth:         tls.RequireAndVerifyClientCert,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return s.material().server, nil },
	}
}

func serverConfig(m *material, now func() time.Time) *tls.Config {
	return &tls.Config{
		MinVersion:             tls.VersionTLS13,
		Certificates:           []tls.Certificate{m.cert},
		ClientAuth:             tls.RequireAndVerifyClientCert,
		ClientCAs:              m.roots,
		NextProtos:             []string{"h2", "http/1.1"},
		SessionTicketsDisabled: true, // who comes back is checked like who comes
		Time:                   now,
		VerifyConnection: func(cs tls.ConnectionState) error {
			_, _, err := identify(cs.PeerCertificates[0])
			return err
		},
	}
}

// ClientTLS is for a client of HTTP or of an etcd that has certificates of the CA: it wants the host that was called
// in the server's certificate, and no role. Its own certificate follows the files; the CAs are those of now.
func (s *Security) ClientTLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		RootCAs:    s.material().roots,
		Time:       s.now,
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			return &s.material().cert, nil
		},
	}
}

// Client returns the credentials of who calls nodes: only a node answers, at the host that was called.
func (s *Security) Client() credentials.TransportCredentials {
	return &clientCredentials{TransportCredentials: credentials.NewTLS(s.ClientTLS()), security: s}
}

type clientCredentials struct {
	credentials.TransportCredentials // says what it is
	security                         *Security
}

// ClientHandshake implements credentials.TransportCredentials.
func (c *clientCredentials) ClientHandshake(ctx context.Context, authority string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	config := c.security.ClientTLS()
	config.VerifyConnection = func(cs tls.ConnectionState) error { return checkNode(cs.PeerCertificates[0]) }
	conn, info, err := credentials.NewTLS(config).ClientHandshake(ctx, authority, raw)
	var unverified *tls.CertificateVerificationError
	if errors.As(err, &unverified) {
		leaf := unverified.UnverifiedCertificates[0]
		err = fmt.Errorf("certificate of %q, issued by %q: %w%s", leaf.Subject.CommonName, leaf.Issuer.CommonName, unverified.Err, c.security.advice(unverified.Err, leaf))
	}
	return conn, info, err
}

// Clone implements credentials.TransportCredentials.
func (c *clientCredentials) Clone() credentials.TransportCredentials {
	return &clientCredentials{TransportCredentials: c.TransportCredentials.Clone(), security: c.security}
}

// checkNode returns why a server is none of ours.
func checkNode(leaf *x509.Certificate) error {
	role, name, err := identify(leaf)
	if err == nil && role != Node {
		err = fmt.Errorf("the certificate is that of %s %s, no node", role, name)
	}
	return err
}

// advice says what to try where a server's certificate does not pass.
func (s *Security) advice(err error, leaf *x509.Certificate) string {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	switch {
	case errors.As(err, &unknown):
		return fmt.Sprintf(": it is not of a CA in %s: give both sides the ca.crt of one cluster", s.files.CA)
	case errors.As(err, &host):
		return ": call it by one of these hosts, or make it a certificate for this one: kvctl cert create-node --host"
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Sprintf(": it is valid from %s to %s: renew it, or set the clock right", leaf.NotBefore.UTC().Format(time.RFC3339), leaf.NotAfter.UTC().Format(time.RFC3339))
	}
	return ""
}

// Server returns the credentials of a gRPC server that is called by nodes and clients.
func (s *Security) Server() credentials.TransportCredentials {
	return &serverCredentials{TransportCredentials: credentials.NewTLS(s.ServerTLS()), security: s}
}

type serverCredentials struct {
	credentials.TransportCredentials
	security *Security
}

// AuthInfo is what is known of who called.
type AuthInfo struct {
	credentials.TLSInfo
	Role Role
	Name string
}

// ServerHandshake implements credentials.TransportCredentials.
func (c *serverCredentials) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := c.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		c.security.refused(raw.RemoteAddr(), c.security.now(), err)
		return nil, nil, err
	}
	of := AuthInfo{TLSInfo: info.(credentials.TLSInfo)}
	of.Role, of.Name, err = identify(of.State.PeerCertificates[0])
	return conn, of, err
}

// Clone implements credentials.TransportCredentials.
func (c *serverCredentials) Clone() credentials.TransportCredentials {
	return &serverCredentials{TransportCredentials: c.TransportCredentials.Clone(), security: c.security}
}

// PeerOf returns who calls, in a handler of a gRPC server with the credentials of Security.Server; of another
// it returns Anonymous.
func PeerOf(ctx context.Context) (Role, string) {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(AuthInfo); ok {
			return info.Role, info.Name
		}
	}
	return Anonymous, ""
}

// refusals tells the log who was refused, at most once a second: a stranger must not fill it.
type refusals struct {
	log *slog.Logger

	mu     sync.Mutex // guards what follows
	told   time.Time
	untold int // since then
}

func (r *refusals) refused(from net.Addr, now time.Time, err error) {
	if errors.Is(err, io.EOF) { // only looked whether somebody listens
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if now.Sub(r.told) < time.Second {
		r.untold++
		return
	}
	r.log.Warn("refused a connection", "from", from.String(), "reason", strings.TrimPrefix(err.Error(), "tls: "), "untold", r.untold)
	r.told, r.untold = now, 0
}
