package certs

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Now()} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// logs collects what is logged.
type logs struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logs) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *logs) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// authority is a CA in a directory of its own.
type authority struct {
	t *testing.T
	Options
}

func newAuthority(t *testing.T, now func() time.Time) *authority {
	t.Helper()
	a := &authority{t: t, Options: Options{CA: t.TempDir(), Now: now}}
	_, err := CreateCA(a.Options)
	require.NoError(t, err)
	return a
}

func (a *authority) file(name string) string { return filepath.Join(a.CA, name) }

func (a *authority) files(p Pair) Files { return Files{CA: a.file("ca.crt"), Cert: p.Cert, Key: p.Key} }

// node makes a certificate for loopback, in a directory of its own.
func (a *authority) node(name string) Files {
	a.t.Helper()
	o := a.Options
	o.Out = a.t.TempDir()
	p, err := CreateNode(o, name, []string{"localhost", "127.0.0.1"})
	require.NoError(a.t, err)
	return a.files(p)
}

func (a *authority) client(name string) Files {
	a.t.Helper()
	o := a.Options
	o.Out = a.t.TempDir()
	p, err := CreateClient(o, name)
	require.NoError(a.t, err)
	return a.files(p)
}

func loaded(t *testing.T, files Files, now func() time.Time) *Security {
	t.Helper()
	s, err := load(files, now)
	require.NoError(t, err)
	return s
}

func content(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(name)
	require.NoError(t, err)
	return b
}

func write(t *testing.T, name string, b []byte) string {
	t.Helper()
	require.NoError(t, os.WriteFile(name, b, 0o600))
	return name
}

func TestLoad(t *testing.T) {
	a := newAuthority(t, nil)
	var log logs
	files := a.node("n1")
	files.Logger = log.logger()
	s, err := Load(files)
	require.NoError(t, err)
	role, name := s.Self()
	require.Equal(t, Node, role)
	require.Equal(t, "n1", name)
	require.NoError(t, s.CheckNode("n1"))
	require.ErrorContains(t, s.CheckNode("n2"), "is that of node n1, this is node n2: kvctl cert create-node n2")
	require.WithinDuration(t, time.Now().Add(ValidLeaf), s.Expires(), time.Hour)
	require.Empty(t, log.String())

	c, err := Load(a.client("app"))
	require.NoError(t, err)
	require.ErrorContains(t, c.CheckNode("app"), "is that of client app, this is node app")

	require.NoError(t, os.Chmod(files.Key, 0o644))
	_, err = Load(files)
	require.NoError(t, err)
	require.Contains(t, log.String(), "others may read the private key")
	require.Contains(t, log.String(), "mode=0644")
}

// TestLoadRefuses: the error names the file, what is wrong, and what to try.
func TestLoadRefuses(t *testing.T) {
	now := newClock()
	a, other := newAuthority(t, now.Now), newAuthority(t, now.Now)
	n1, n2, app := a.node("n1"), a.node("n2"), a.client("app")
	foreign := other.node("n1")
	short := *a
	short.Valid = time.Hour
	brief := short.node("n3")
	dir := t.TempDir()
	garbage := write(t, filepath.Join(dir, "garbage"), []byte("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"))
	text := write(t, filepath.Join(dir, "text"), []byte("hello"))
	large := write(t, filepath.Join(dir, "large"), make([]byte, maxFileBytes+1))
	both := write(t, filepath.Join(dir, "both"), append(content(t, n1.Cert), content(t, n1.Key)...))

	for _, c := range []struct {
		name  string
		files Files
		at    time.Duration
		want  []string
	}{
		{"no files", Files{}, 0, []string{"no file of the CA is named", "go together"}},
		{"no key", Files{CA: n1.CA, Cert: n1.Cert}, 0, []string{"no file of the private key is named"}},
		{"missing CA", Files{CA: dir + "/nowhere", Cert: n1.Cert, Key: n1.Key}, 0, []string{"CA " + dir + "/nowhere does not exist", "kvctl cert create-ca"}},
		{"missing key", Files{CA: n1.CA, Cert: n1.Cert, Key: dir + "/nowhere"}, 0, []string{"private key " + dir + "/nowhere does not exist"}},
		{"directory", Files{CA: dir, Cert: n1.Cert, Key: n1.Key}, 0, []string{"CA " + dir + " is no regular file"}},
		{"large", Files{CA: large, Cert: n1.Cert, Key: n1.Key}, 0, []string{"CA " + large + " has 1048577 bytes, the limit is 1048576"}},
		{"text", Files{CA: n1.CA, Cert: text, Key: n1.Key}, 0, []string{"certificate " + text + " holds no certificate"}},
		{"garbage", Files{CA: n1.CA, Cert: garbage, Key: n1.Key}, 0, []string{"certificate " + garbage + ": block 1: "}},
		{"key is text", Files{CA: n1.CA, Cert: n1.Cert, Key: text}, 0, []string{"private key " + text + " holds none"}},
		{"certificate and key in one", Files{CA: n1.CA, Cert: both, Key: n1.Key}, 0, []string{"certificate " + both + " holds a private key"}},
		{"no CA", Files{CA: n1.Cert, Cert: n1.Cert, Key: n1.Key}, 0, []string{"CA " + n1.Cert, `"n1" is not that of a CA`}},
		{"CA's own", Files{CA: n1.CA, Cert: n1.CA, Key: a.file("ca.key")}, 0, []string{"certificate " + n1.CA, "neither a node's nor a client's"}},
		{"another's key", Files{CA: n1.CA, Cert: n1.Cert, Key: n2.Key}, 0, []string{"private key " + n2.Key + " does not go with certificate " + n1.Cert}},
		{"another CA", Files{CA: a.file("ca.crt"), Cert: foreign.Cert, Key: foreign.Key}, 0, []string{"certificate " + foreign.Cert + " of node n1, issued by \"cambium CA ", "does not pass with CA " + n1.CA, "unknown authority"}},
		{"expired", brief, 49 * time.Hour, []string{"certificate " + brief.Cert + " of node n3 expired on ", " UTC, 2 days ago", "kvctl cert create-node n3"}},
		{"expired client", app, ValidLeaf + time.Minute, []string{"of client app expired on ", ", 1m", "s ago", "kvctl cert create-client app"}},
		{"not yet", n1, -25 * time.Hour, []string{"CA " + n1.CA + " is valid from ", "is the clock of this machine right?"}},
		{"CA expired", n1, ValidCA + time.Hour, []string{"CA " + n1.CA + " expired on "}},
	} {
		t.Run(c.name, func(t *testing.T) {
			at := clock{now: now.Now().Add(c.at)}
			_, err := load(c.files, at.Now)
			require.Error(t, err)
			for _, want := range c.want {
				require.ErrorContains(t, err, want)
			}
		})
	}
}

// A CA that has ended may stay in the file beside the one that replaces it.
func TestTwoAuthorities(t *testing.T) {
	now := newClock()
	old := &authority{t: t, Options: Options{CA: t.TempDir(), Valid: time.Hour, Now: now.Now}}
	_, err := CreateCA(old.Options)
	require.NoError(t, err)
	young := newAuthority(t, now.Now)
	files := young.node("n1")
	files.CA = write(t, filepath.Join(t.TempDir(), "ca.crt"), append(content(t, old.file("ca.crt")), content(t, young.file("ca.crt"))...))
	loaded(t, files, now.Now)
	now.advance(2 * time.Hour)
	loaded(t, files, now.Now)
}

func TestRenewal(t *testing.T) {
	now := newClock()
	a := newAuthority(t, now.Now)
	var log logs
	files := a.node("n1")
	files.Logger = log.logger()
	s := loaded(t, files, now.Now)
	name := func() string { _, name := s.Self(); return name }

	next := a.node("n2")
	write(t, files.Cert, content(t, next.Cert))
	require.Equal(t, "n1", name(), "the files are looked at once a second")
	now.advance(lookEvery)
	require.Equal(t, "n1", name(), "the key does not fit yet")
	require.Equal(t, 1, strings.Count(log.String(), "new certificates cannot be used"))
	require.Contains(t, log.String(), "does not go with certificate")
	now.advance(lookEvery)
	require.Equal(t, "n1", name())
	require.Equal(t, 1, strings.Count(log.String(), "new certificates cannot be used"), "said once for these files")
	write(t, files.Key, content(t, next.Key))
	now.advance(lookEvery)
	require.Equal(t, "n2", name())
	require.Contains(t, log.String(), "certificates were read anew")

	require.NoError(t, os.Remove(files.Key))
	now.advance(lookEvery)
	require.Equal(t, "n2", name())
	require.Contains(t, log.String(), "does not exist")
	third := a.node("n3")
	require.NoError(t, os.Rename(third.Key, files.Key))
	require.NoError(t, os.Rename(third.Cert, files.Cert))
	now.advance(lookEvery)
	require.Equal(t, "n3", name())
}
