package transport

import (
	"net"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/certs"
)

// With certificates a node is taken for whom its own names, and a client for no node.
func TestWhoCallsIsInTheCertificate(t *testing.T) {
	o := certs.Options{CA: t.TempDir()}
	ca, err := certs.CreateCA(o)
	require.NoError(t, err)
	load := func(p certs.Pair, err error) *certs.Security {
		require.NoError(t, err)
		s, err := certs.Load(certs.Files{CA: ca.Cert, Cert: p.Cert, Key: p.Key})
		require.NoError(t, err)
		return s
	}
	hosts := []string{"127.0.0.1"}
	server := NewServer(ServerOptions{Self: func() Identity { return Identity{"c", 2, "n2"} }, Handler: &echo{}})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := grpc.NewServer(grpc.Creds(load(certs.CreateNode(o, "n2", hosts)).Server()))
	server.Register(certs.RequireNode(s))
	done := make(chan error)
	go func() { done <- s.Serve(listener) }()
	t.Cleanup(func() {
		s.Stop()
		server.Close()
		require.NoError(t, <-done)
	})

	for _, c := range []struct {
		as   *certs.Security
		want string
	}{
		{load(certs.CreateNode(o, "n1", hosts)), ""},
		{load(certs.CreateNode(o, "n3", hosts)), `who calls says to be node "n1" and has the certificate of node "n3"`},
		{load(certs.CreateClient(o, "n1")), `is for nodes, and the certificate of this connection is that of client "n1"`},
	} {
		client := NewClient(ClientOptions{Self: func() Identity { return Identity{"c", 1, "n1"} }, Local: &echo{}, Credentials: c.as.Client(),
			Addr: func(n uint64) (string, bool) { return listener.Addr().String(), n == 2 }, Name: func(uint64) string { return "n2" }})
		_, err := client.Read(t.Context(), 2, &distrib.ReadRequest{Key: []byte("k")})
		client.Close()
		if c.want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorIs(t, err, distrib.ErrRefused)
		require.ErrorContains(t, err, c.want)
	}
}
