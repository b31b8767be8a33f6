package certs

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestCreate(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	o := Options{CA: dir}
	_, err := CreateNode(o, "n1", []string{"localhost"})
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, "kvctl cert create-ca --ca-dir "+dir)
	ca, err := CreateCA(o)
	require.NoError(t, err)
	require.Equal(t, Pair{Cert: filepath.Join(dir, "ca.crt"), Key: filepath.Join(dir, "ca.key")}, ca)
	n1, err := CreateNode(o, "n1", []string{"db1.example.com", "*.db.example.com", "10.0.0.1", "::1", "[fe80::1]"})
	require.NoError(t, err)
	app, err := CreateClient(o, "app")
	require.NoError(t, err)
	for _, p := range []Pair{ca, n1, app} {
		info, err := os.Stat(p.Key)
		require.NoError(t, err)
		require.Equal(t, fs.FileMode(0o600), info.Mode())
	}

	infos, err := Inspect(n1.Cert, time.Now())
	require.NoError(t, err)
	require.Len(t, infos, 1)
	i := infos[0]
	require.Equal(t, "node n1", i.Role+" "+i.Name)
	require.Equal(t, []string{"*.db.example.com", "10.0.0.1", "::1", "db1.example.com", "fe80::1"}, i.Hosts)
	require.WithinDuration(t, time.Now().Add(ValidLeaf), i.Until, time.Minute)
	require.Empty(t, i.Problem)
	infos, err = Inspect(n1.Cert, time.Now().Add(2*ValidLeaf))
	require.NoError(t, err)
	require.Contains(t, infos[0].Problem, "expired on ")
	infos, err = Inspect(ca.Cert, time.Now())
	require.NoError(t, err)
	require.Equal(t, "ca", infos[0].Role)
	require.Equal(t, i.Issuer, infos[0].Name)
	_, err = Inspect(n1.Key, time.Now())
	require.ErrorContains(t, err, "holds a private key")
}

// What exists stays as it is, to the byte, and no half of a pair is left.
func TestCreateNeverReplaces(t *testing.T) {
	a := newAuthority(t, nil)
	before := content(t, a.file("ca.key"))
	_, err := CreateCA(a.Options)
	require.ErrorIs(t, err, fs.ErrExist)
	require.ErrorContains(t, err, "no file is replaced")
	require.Equal(t, before, content(t, a.file("ca.key")))

	write(t, a.file("client-app.crt"), []byte("mine"))
	_, err = CreateClient(a.Options, "app")
	require.ErrorIs(t, err, fs.ErrExist)
	require.Equal(t, "mine", string(content(t, a.file("client-app.crt"))))
	require.NoFileExists(t, a.file("client-app.key"))
}

func TestCreateRefuses(t *testing.T) {
	now := newClock()
	a := newAuthority(t, now.Now)
	long := strings.Repeat("n", nameMax+1)
	for name, want := range map[string]string{"": "is empty", long: "64 bytes, the limit is 63", "a/b": "want letters", "../x": "want letters", "-a": "want letters", "ä": "want letters", "n1\n": "want letters"} {
		_, err := CreateClient(a.Options, name)
		require.ErrorContains(t, err, want, "%q", name)
	}
	for _, host := range []string{"", "db1:7000", "http://db1", "10.0.0", "1.2.3.400", "a b", "a..b", "*", strings.Repeat("a.", 130) + "a"} {
		_, err := CreateNode(a.Options, "n1", []string{host})
		require.ErrorContains(t, err, "want an IP address or a name, without a port", "%q", host)
	}
	_, err := CreateNode(a.Options, "n1", nil)
	require.ErrorContains(t, err, "no host is named")
	brief := a.Options
	brief.Valid = time.Second
	_, err = CreateClient(brief, "app")
	require.ErrorContains(t, err, "valid for 1s, want a minute or more")

	long20 := a.Options
	long20.Valid = 2 * ValidCA
	p, err := CreateClient(long20, "app")
	require.NoError(t, err)
	ca, err := Inspect(a.file("ca.crt"), now.Now())
	require.NoError(t, err)
	leaf, err := Inspect(p.Cert, now.Now())
	require.NoError(t, err)
	require.Equal(t, ca[0].Until, leaf[0].Until, "no certificate outlives its CA")

	now.advance(ValidCA + time.Hour)
	_, err = CreateClient(a.Options, "late")
	require.ErrorContains(t, err, "ca.crt expired on ")
	entries, err := os.ReadDir(a.CA)
	require.NoError(t, err)
	require.Len(t, entries, 4, "what was refused left nothing")
}
