package certs

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
)

// who answers with the caller's identity, as an error, which has room for it.
type who struct {
	grpc_health_v1.UnimplementedHealthServer
}

func (who) Check(ctx context.Context, _ *grpc_health_v1.HealthCheckRequest) (*grpc_health_v1.HealthCheckResponse, error) {
	role, name := PeerOf(ctx)
	return nil, status.Errorf(codes.AlreadyExists, "%s %s", role, name)
}

func (who) Watch(_ *grpc_health_v1.HealthCheckRequest, stream grpc.ServerStreamingServer[grpc_health_v1.HealthCheckResponse]) error {
	role, name := PeerOf(stream.Context())
	return status.Errorf(codes.AlreadyExists, "%s %s", role, name)
}

// serve starts a server on loopback and returns its port.
func serve(t *testing.T, creds credentials.TransportCredentials, guard bool) (port string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := grpc.NewServer(grpc.Creds(creds))
	var to grpc.ServiceRegistrar = s
	if guard {
		to = RequireNode(s)
	}
	grpc_health_v1.RegisterHealthServer(to, who{})
	done := make(chan error)
	go func() { done <- s.Serve(l) }()
	t.Cleanup(func() {
		s.Stop()
		require.NoError(t, <-done)
	})
	_, port, _ = net.SplitHostPort(l.Addr().String())
	return port
}

// dial calls a server of this machine by the host in address.
func dial(t *testing.T, address string, creds credentials.TransportCredentials) grpc_health_v1.HealthClient {
	t.Helper()
	conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(creds), grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
		_, port, _ := net.SplitHostPort(address)
		return new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort("127.0.0.1", port))
	}))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return grpc_health_v1.NewHealthClient(conn)
}

// ask returns what the server answered, or how it failed.
func ask(t *testing.T, c grpc_health_v1.HealthClient) (code codes.Code, message string) {
	_, err := c.Check(t.Context(), &grpc_health_v1.HealthCheckRequest{})
	return status.Code(err), status.Convert(err).Message()
}

// TestStrangers: who comes in, and what is told of who does not: to a client that refuses, and to the server's log. What
// the server sends before it hangs up may not arrive.
func TestStrangers(t *testing.T) {
	now := newClock()
	a, other := newAuthority(t, now.Now), newAuthority(t, now.Now)
	var log logs
	files := a.node("n1")
	files.Logger = log.logger()
	port := serve(t, loaded(t, files, now.Now).Server(), false)
	old := *a
	old.Valid = time.Hour
	expired := trusting(t, old.node("n9"))

	for _, c := range []struct {
		name   string
		as     credentials.TransportCredentials
		host   string
		code   codes.Code
		want   string
		logged string
	}{
		{"a node", loaded(t, a.node("n2"), now.Now).Client(), "127.0.0.1", codes.AlreadyExists, "node n2", ""},
		{"a client", loaded(t, a.client("app"), now.Now).Client(), "localhost", codes.AlreadyExists, "client app", ""},
		{"wrong host", loaded(t, a.client("app"), now.Now).Client(), "127.0.0.2", codes.Unavailable, "call it by one of these hosts", "bad certificate"},
		{"unknown CA", loaded(t, other.client("app"), now.Now).Client(), "127.0.0.1", codes.Unavailable, "give both sides the ca.crt of one cluster", "bad certificate"},
		{"a stranger that trusts anybody", credentials.NewTLS(trusting(t, other.client("app"))), "127.0.0.1", codes.Unavailable, "", "unknown authority"},
		{"no certificate", credentials.NewTLS(&tls.Config{InsecureSkipVerify: true}), "127.0.0.1", codes.Unavailable, "", "client didn't provide a certificate"},
		{"expired", credentials.NewTLS(expired), "127.0.0.1", codes.Unavailable, "", "certificate has expired"},
		{"TLS 1.2", credentials.NewTLS(&tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}), "127.0.0.1", codes.Unavailable, "protocol version not supported", "client offered only unsupported versions"},
		{"no TLS", insecure.NewCredentials(), "127.0.0.1", codes.Unavailable, "", "first record does not look like a TLS handshake"},
		{"the CA itself", credentials.NewTLS(trusting(t, Files{Cert: a.file("ca.crt"), Key: a.file("ca.key")})), "127.0.0.1", codes.Unavailable, "", "neither a node's nor a client's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			now.advance(2 * time.Second) // the log takes a refusal a second
			if c.name == "expired" {
				now.advance(2 * time.Hour)
			}
			at := len(log.String())
			code, message := ask(t, dial(t, net.JoinHostPort(c.host, port), c.as))
			require.Equal(t, c.code, code, message)
			require.Contains(t, message, c.want)
			logged := func() string { return log.String()[at:] }
			if c.logged == "" {
				require.Empty(t, logged())
				return
			}
			require.Eventually(t, func() bool { return strings.Contains(logged(), "refused a connection") }, 10*time.Second, time.Millisecond)
			require.Contains(t, logged(), c.logged)
		})
	}
}

// trusting is a client that does not look whom it calls.
func trusting(t *testing.T, files Files) *tls.Config {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	require.NoError(t, err)
	return &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &cert, nil }}
}

// A client's certificate does not make a server, though it is of the CA; nor does one of a server that is no node,
// which an operator's own CA may have made.
func TestOnlyNodesServe(t *testing.T) {
	a := newAuthority(t, nil)
	o := a.Options
	other, err := signed(o.withDefaults(ValidLeaf), "web", &x509.Certificate{DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}})
	require.NoError(t, err)
	own, err := createLeaf(o, Client, "cunning", &x509.Certificate{DNSNames: []string{"localhost"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	require.NoError(t, err)
	for _, c := range []struct {
		files Files
		want  string
	}{
		{a.client("app"), "certificate is not valid for any names"},
		{a.files(own), "certificate specifies an incompatible key usage"},
		{a.files(other), "is neither a node's nor a client's"},
	} {
		port := serve(t, credentials.NewTLS(presenting(t, c.files)), false)
		code, message := ask(t, dial(t, "localhost:"+port, loaded(t, a.node("n1"), time.Now).Client()))
		require.Equal(t, codes.Unavailable, code)
		require.Contains(t, message, c.want)
	}
}

func presenting(t *testing.T, files Files) *tls.Config {
	t.Helper()
	cert, err := tls.LoadX509KeyPair(files.Cert, files.Key)
	require.NoError(t, err)
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

func TestRequireNode(t *testing.T) {
	a := newAuthority(t, nil)
	server := loaded(t, a.node("n1"), time.Now)
	port := serve(t, server.Server(), true)
	watch := func(c grpc_health_v1.HealthClient) error {
		stream, err := c.Watch(t.Context(), &grpc_health_v1.HealthCheckRequest{})
		require.NoError(t, err)
		_, err = stream.Recv()
		return err
	}

	node := dial(t, "127.0.0.1:"+port, loaded(t, a.node("n2"), time.Now).Client())
	code, message := ask(t, node)
	require.Equal(t, codes.AlreadyExists, code)
	require.Equal(t, "node n2", message)
	require.Equal(t, codes.AlreadyExists, status.Code(watch(node)))

	app := dial(t, "127.0.0.1:"+port, loaded(t, a.client("app"), time.Now).Client())
	code, message = ask(t, app)
	require.Equal(t, codes.PermissionDenied, code)
	require.Equal(t, `grpc.health.v1.Health is for nodes, and the certificate of this connection is that of client "app": a node's is made with kvctl cert create-node`, message)
	require.Equal(t, codes.PermissionDenied, status.Code(watch(app)))
}

func TestHTTP(t *testing.T) {
	a := newAuthority(t, nil)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := &http.Server{
		TLSConfig: loaded(t, a.node("n1"), time.Now).ServerTLS(),
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, "%s over %s", r.TLS.PeerCertificates[0].Subject.CommonName, r.Proto)
		}),
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
	}
	done := make(chan error)
	go func() { done <- server.ServeTLS(l, "", "") }()
	defer func() {
		require.NoError(t, server.Close())
		require.ErrorIs(t, <-done, http.ErrServerClosed)
	}()
	get := func(config *tls.Config) (string, error) {
		tr := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
		defer tr.CloseIdleConnections()
		reply, err := (&http.Client{Transport: tr}).Get("https://" + l.Addr().String())
		if err != nil {
			return "", err
		}
		defer reply.Body.Close()
		b, err := io.ReadAll(reply.Body)
		return string(b), err
	}
	body, err := get(loaded(t, a.client("prometheus"), time.Now).ClientTLS())
	require.NoError(t, err)
	require.Equal(t, "prometheus over HTTP/2.0", body)
	_, err = get(loaded(t, newAuthority(t, nil).client("app"), time.Now).ClientTLS())
	require.ErrorContains(t, err, "certificate signed by unknown authority")
}

// TestRenewalUnderLoad: while the certificates of both sides and then the CA are replaced, and broken files lie there
// between, no call fails, neither of connections that stand nor of new ones.
func TestRenewalUnderLoad(t *testing.T) {
	a, next := newAuthority(t, nil), newAuthority(t, nil)
	now := newClock()
	files, app := a.node("n1"), a.client("app")
	bundle := filepath.Join(t.TempDir(), "ca.crt")
	write(t, bundle, append(content(t, a.file("ca.crt")), content(t, next.file("ca.crt"))...))
	files.CA, app.CA = bundle, bundle
	server, client := loaded(t, files, now.Now), loaded(t, app, now.Now)
	port := serve(t, server.Server(), false)
	standing := dial(t, "127.0.0.1:"+port, client.Client())

	stop := make(chan struct{})
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				conn, err := grpc.NewClient("passthrough:///127.0.0.1:"+port, grpc.WithTransportCredentials(client.Client()))
				if err != nil {
					t.Error(err)
					return
				}
				for _, c := range []grpc_health_v1.HealthClient{standing, grpc_health_v1.NewHealthClient(conn)} {
					if code, message := ask(t, c); code != codes.AlreadyExists || message != "client app" {
						t.Errorf("%s: %s", code, message)
					}
				}
				_ = conn.Close()
			}
		})
	}
	seen := map[time.Time]bool{server.Expires(): true}
	for i := range 12 {
		from := a
		if i >= 6 {
			from = next
		}
		from.Valid = ValidLeaf - time.Duration(i+1)*time.Hour // so that they can be told apart
		for _, pair := range [][2]Files{{files, from.node("n1")}, {app, from.client("app")}} {
			write(t, pair[0].Cert, []byte("half"))
			now.advance(lookEvery)
			server.Self()
			write(t, pair[0].Key, content(t, pair[1].Key))
			now.advance(lookEvery)
			server.Self()
			require.NoError(t, os.Rename(pair[1].Cert, pair[0].Cert))
			now.advance(lookEvery)
			seen[server.Expires()] = true
		}
	}
	close(stop)
	calls.Wait()
	require.Len(t, seen, 13, "each was used")
}
