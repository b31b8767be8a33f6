package node

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/certs"
)

// With certificates everything that a node listens at takes only those of the CA, and shows what the node does.
func TestSecured(t *testing.T) {
	ca := certs.Options{CA: t.TempDir()}
	pair, err := certs.CreateCA(ca)
	require.NoError(t, err)
	load := func(p certs.Pair, err error) *certs.Security {
		require.NoError(t, err)
		s, err := certs.Load(certs.Files{CA: pair.Cert, Cert: p.Cert, Key: p.Key})
		require.NoError(t, err)
		return s
	}
	c := newTestCluster(t, 0)
	for _, name := range []string{"n1", "n2"} {
		o := c.options(name)
		o.HTTP = "127.0.0.1:0"
		o.Security = load(certs.CreateNode(ca, name, []string{"127.0.0.1"}))
		n, err := c.try(o)
		require.NoError(t, err)
		c.nodes[name], c.addrs[name] = n, n.Addr()
	}
	n1, app := c.nodes["n1"], load(certs.CreateClient(ca, "app"))

	conn, err := grpc.NewClient(n1.Addr(), grpc.WithTransportCredentials(app.Client()))
	require.NoError(t, err)
	defer conn.Close()
	c.eventually("a put", func() bool {
		_, err := api.NewKVClient(conn).Put(t.Context(), &api.PutRequest{Key: []byte("k"), Value: []byte("v"), Level: &api.Level{Consistency: api.Consistency_ALL}})
		return err == nil
	})
	_, err = api.NewMembershipClient(conn).Hello(t.Context(), &api.HelloRequest{})
	require.Equal(t, codes.PermissionDenied, status.Code(err))

	transport := &http.Transport{TLSClientConfig: app.ClientTLS()}
	defer transport.CloseIdleConnections()
	get := func(path string) (int, string) {
		reply, err := (&http.Client{Transport: transport}).Get("https://" + n1.HTTP() + path)
		require.NoError(t, err)
		defer reply.Body.Close()
		b, err := io.ReadAll(reply.Body)
		require.NoError(t, err)
		return reply.StatusCode, string(b)
	}
	code, body := get("/readyz")
	require.Equal(t, 200, code)
	require.Equal(t, "ok\n", body)
	c.eventually("both nodes are up", func() bool {
		_, body = get("/metrics")
		return strings.Contains(body, "\ncambium_members{state=\"up\"} 2\n")
	})
	for _, want := range []string{
		`cambium_operation_duration_seconds_count{consistency="all",operation="put",outcome="ok"} 1`,
		"cambium_certificate_expiry_timestamp_seconds ", "cambium_dirty_slots ", "cambium_store_bytes 1\n", "cambium_peer_requests_refused_total 0\n",
	} {
		require.Contains(t, body, "\n"+want)
	}
	n1.ready.Store(false)
	code, _ = get("/readyz")
	require.Equal(t, 503, code)
	n1.ready.Store(true)

	stranger := certs.Options{CA: t.TempDir()}
	pair, err = certs.CreateCA(stranger)
	require.NoError(t, err)
	strange, err := grpc.NewClient(n1.Addr(), grpc.WithTransportCredentials(load(certs.CreateClient(stranger, "app")).Client()))
	require.NoError(t, err)
	defer strange.Close()
	_, err = api.NewKVClient(strange).Get(t.Context(), &api.GetRequest{Key: []byte("k")})
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.ErrorContains(t, err, "give both sides the ca.crt of one cluster")
}

func TestReachedAt(t *testing.T) {
	for _, c := range [][3]string{
		{"127.0.0.1:1", "10.0.0.1:7800", "127.0.0.1:1"},
		{"0.0.0.0:1", "10.0.0.1:7800", "10.0.0.1:1"},
		{"[::]:1", "db1:7800", "db1:1"},
	} {
		require.Equal(t, c[2], reachedAt(c[0], c[1]))
	}
}
