package meta

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib/certs"
)

// A node reads and writes the topology in another's member; a client's certificate, which is of the same CA, does not
// come in.
func TestMembersAreForNodes(t *testing.T) {
	o := certs.Options{CA: t.TempDir()}
	ca, err := certs.CreateCA(o)
	require.NoError(t, err)
	node := func(name string) TLS {
		p, err := certs.CreateNode(o, name, []string{"127.0.0.1"})
		require.NoError(t, err)
		return TLS{CA: ca.Cert, Cert: p.Cert, Key: p.Key, Host: certs.NodeHost}
	}
	founder := open(t, Options{Dir: t.TempDir(), Name: "a", TLS: node("a")})
	first := topology(1)
	first.Metadata = founder.Endpoints()
	require.Regexp(t, "^https://", first.Metadata[0])
	_, err = founder.Update(t.Context(), first, 0)
	require.NoError(t, err)

	b := open(t, Options{Dir: t.TempDir(), Name: "b", TLS: node("b"), Seeds: first.Metadata})
	got, _, err := b.Load(t.Context())
	require.NoError(t, err)
	require.Equal(t, first, got)

	p, err := certs.CreateClient(o, "app")
	require.NoError(t, err)
	app := open(t, Options{Dir: t.TempDir(), Name: "app", TLS: TLS{CA: ca.Cert, Cert: p.Cert, Key: p.Key}, Seeds: first.Metadata, Timeout: time.Second})
	_, _, err = app.Load(t.Context())
	require.ErrorIs(t, err, ErrDown)
}
