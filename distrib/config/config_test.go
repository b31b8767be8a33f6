package config

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/certs"
)

// load returns the configuration of a file's text, an environment and arguments.
func load(t *testing.T, text string, environ, args []string) (*Config, error) {
	t.Helper()
	t.Chdir(t.TempDir())
	f := pflag.NewFlagSet("kvnode", pflag.ContinueOnError)
	Flags(f)
	if text != "" {
		require.NoError(t, os.WriteFile("c.yaml", []byte(text), 0o600))
		args = append(args, "--config", "c.yaml")
	}
	if err := f.Parse(args); err != nil {
		return nil, err
	}
	return Load(f, environ)
}

func TestOrigins(t *testing.T) {
	c, err := load(t, `
name: n1
dir: /data       # all of it
join: [10.0.0.2:7800, "10.0.0.3:7800"]
weight: 2
sync: per-write
promote: never
hints:
  bytes: 2GiB
operations: {limit: 100}
tls: {ca: ca.crt, cert: n1.crt}
`, []string{"CAMBIUM_WEIGHT=3", "CAMBIUM_LISTEN=10.0.0.1:7800", "CAMBIUM_TLS_KEY=n1.key", "CAMBIUM_PORT=tcp://10.1.2.3:7800", "HOME=/"},
		[]string{"--weight", "4", "--etcd", "10.0.0.9:2379", "--etcd", "https://10.0.0.8:2379", "--allow-faults", "--memory=512MiB"})
	require.NoError(t, err)
	values := c.Values()
	origins := map[string]string{}
	for _, v := range values {
		require.NotEmpty(t, v.Help)
		if v.Origin != "default" {
			origins[v.Key] = v.Value + " " + v.Origin
		}
	}
	require.Equal(t, map[string]string{
		"name": "n1 c.yaml:2", "dir": "/data c.yaml:3", "join": "10.0.0.2:7800,10.0.0.3:7800 c.yaml:4", "sync": "per-write c.yaml:6", "promote": "never c.yaml:7",
		"hints.bytes": "2GiB c.yaml:9", "operations.limit": "100 c.yaml:10", "tls.ca": "ca.crt c.yaml:11", "tls.cert": "n1.crt c.yaml:11", "tls.key": "n1.key CAMBIUM_TLS_KEY",
		"weight": "4 --weight", "listen": "10.0.0.1:7800 CAMBIUM_LISTEN", "etcd": "10.0.0.9:2379,https://10.0.0.8:2379 --etcd",
		"allow-faults": "true --allow-faults", "memory": "512MiB --memory",
	}, origins)
	c.values = nil
	require.Equal(t, &Config{
		Name: "n1", Dir: "/data", Listen: "10.0.0.1:7800", Join: []string{"10.0.0.2:7800", "10.0.0.3:7800"},
		Etcd: []string{"10.0.0.9:2379", "https://10.0.0.8:2379"}, Weight: 4, Replicas: 3, Sync: distrib.SyncNow, NeverPromote: true, Memory: 512 << 20, HintBytes: 2 << 30, HintRate: 64 << 20, Operations: 100, OperationBytes: 256 << 20,
		TLS: certs.Files{CA: "ca.crt", Cert: "n1.crt", Key: "n1.key"}, AllowFaults: true, LogLevel: slog.LevelInfo,
	}, c)
}

func TestFileByEnvironment(t *testing.T) {
	file := filepath.Join(t.TempDir(), "n.yaml")
	require.NoError(t, os.WriteFile(file, []byte("name: n1\ndir: d\n"), 0o600))
	c, err := load(t, "", []string{"CAMBIUM_CONFIG=" + file}, nil)
	require.NoError(t, err)
	require.Equal(t, "n1", c.Name)
	_, err = load(t, "", []string{"CAMBIUM_CONFIG=nowhere.yaml"}, nil)
	require.ErrorContains(t, err, "configuration: open nowhere.yaml")
}

// TestRefuses: each problem is told with its origin and the limit, all of them at once.
func TestRefuses(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"nam: n1\nwieght: 2", "c.yaml:1: nam: there is no such setting: is name meant?\nc.yaml:2: wieght: there is no such setting: is weight meant?"},
		{"tls:\n  cacert: x\n  foo-bar-baz-boo: 1", "c.yaml:2: tls.cacert: there is no such setting: is tls.cert meant?\nc.yaml:3: tls.foo-bar-baz-boo: there is no such setting: kvnode config init shows all"},
		{"Name: n1", "c.yaml:1: Name: there is no such setting: is name meant?"},
		{"weight: 99", `c.yaml:1: weight is "99", want a number from 0.0625 to 16`},
		{"weight: .nan", `c.yaml:1: weight: want a plain number`},
		{"replicas: 0", `c.yaml:1: replicas is "0", want a number from 1 to 7`},
		{"replicas: [3]", `c.yaml:1: replicas: want a plain number`},
		{"sync: never", `c.yaml:1: sync is "never", want per-write or per-second`},
		{"promote: maybe", `c.yaml:1: promote is "maybe", want on-demand or never`},
		{"promote: always", `c.yaml:1: promote is "always", want on-demand or never: this node cannot have other nodes carry out every write linearizable`},
		{"memory: 1MiB", `c.yaml:1: memory is "1MiB", want 64MiB to 1024TiB`},
		{"memory: lots", `c.yaml:1: memory is "lots", want a number of bytes, as 1073741824 or 1GiB, of KiB, MiB, GiB or TiB`},
		{"hints: {bytes: 0}", `c.yaml:1: hints.bytes is "0", want 1MiB to 1024TiB`},
		{"operations: {limit: 0}", `c.yaml:1: operations.limit is "0", want a number from 1 to 1048576`},
		{"operations: {bytes: 9MiB}", `c.yaml:1: operations.bytes is "9MiB", want 16MiB to 1024TiB`},
		{"hints: 5", `c.yaml:1: hints: want settings, as name: n1`},
		{"listen: 7800", `c.yaml:1: listen is "7800", want host:port, with an IPv6 address in brackets`},
		{"listen: 127.0.0.1:99999", `c.yaml:1: listen is "127.0.0.1:99999", the port is "99999", want 0 to 65535`},
		{"advertise: 10.0.0.1:0", `c.yaml:1: advertise is "10.0.0.1:0", the port is 0, want 1 to 65535`},
		{"advertise: 0.0.0.0:1", `c.yaml:1: advertise is "0.0.0.0:1", want the host by which others reach it`},
		{"gossip: db1:7946", `c.yaml:1: gossip is "db1:7946", the host is "db1", want an IP address`},
		{"join: [a:1, b]", `c.yaml:1: join is "a:1,b", want host:port, with an IPv6 address in brackets`},
		{"join: [[a:1]]", `c.yaml:1: join: want a plain list`},
		{"etcd: https://a:1/x", `c.yaml:1: etcd is "https://a:1/x", want host:port, http://host:port or https://host:port`},
		{"insecure: yes", `c.yaml:1: insecure is "yes", want true or false`},
		{"log: {level: loud}", `c.yaml:1: log.level is "loud", want debug, info, warn or error`},
		{"name: a b", `c.yaml:1: name is "a b", the name "a b": want letters, digits, and . _ - between them`},
		{"zone: " + strings.Repeat("z", 64), `the name has 64 bytes, the limit is 63`},
		{"name: n1\nname: n2", `c.yaml: no YAML: [2:1] mapping key "name" already defined at [1:1]`},
		{"name: [", "c.yaml: no YAML: "},
		{"- name", "c.yaml:1: the file: want settings, as name: n1"},
		{"name: n1\n---\nname: n2", "c.yaml:3: a second document begins: want one"},
		{"name: &a n1\ndir: *a", "c.yaml:1: name: want a plain string"},
		{"name: !!binary bjE=", "c.yaml:1: name: want a plain string"},
		{"dir: d", "name is not set: give --name, CAMBIUM_NAME or name: in the file"},
		{"name: n\ndir: d\nlisten: :7800\ninsecure: true", "listen is :7800, all addresses of this machine: say with advertise by which one others reach it"},
		{"name: n\ndir: d\ntls: {ca: a}", `tls.ca is "a", tls.cert "" and tls.key "": give all three, or none`},
		{"name: n\ndir: d\ninsecure: true\ntls: {ca: a, cert: b, key: c}", `insecure is true and tls.ca a: take one of them away`},
		{"name: n\ndir: d\nclock-offset: 2", `clock-offset is "2", want a duration such as -1500ms`},
		{"name: n\ndir: d\nclock-offset: 2s", "clock-offset is 2s: it is for tests: set allow-faults too"},
		{"name: n\ndir: d\nlisten: 10.0.0.1:7800", "listen is 10.0.0.1:7800, which other machines reach, and there is no TLS"},
	} {
		t.Run(c.text, func(t *testing.T) {
			_, err := load(t, c.text, nil, nil)
			require.ErrorContains(t, err, c.want)
		})
	}
	_, err := load(t, "", []string{"CAMBIUM_WEIGHT=0"}, []string{"--name", "n1", "--dir", "d"})
	require.EqualError(t, err, `CAMBIUM_WEIGHT: weight is "0", want a number from 0.0625 to 16`)
	_, err = load(t, "", nil, []string{"--weight", "0"})
	require.ErrorContains(t, err, `invalid argument "0" for "--weight" flag: want a number from 0.0625 to 16`)
}

func TestExposed(t *testing.T) {
	tls := certs.Files{CA: "ca.crt"}
	for _, c := range []struct {
		name string
		c    Config
		want string
	}{
		{"loopback", Config{Listen: "127.0.0.1:7800", HTTP: "localhost:7801", Gossip: "[::1]:0"}, ""},
		{"another loopback", Config{Listen: "127.8.8.8:7800"}, ""},
		{"listen", Config{Listen: "10.0.0.1:7800"}, "listen is 10.0.0.1:7800"},
		{"listen by name", Config{Listen: "db1:7800"}, "listen is db1:7800"},
		{"all addresses", Config{Listen: "0.0.0.0:7800"}, "listen is 0.0.0.0:7800"},
		{"all addresses, IPv6", Config{Listen: "[::]:7800"}, "listen is [::]:7800"},
		{"no host", Config{Listen: ":7800"}, "listen is :7800"},
		{"http", Config{Listen: "127.0.0.1:7800", HTTP: "10.0.0.1:7801"}, "http is 10.0.0.1:7801"},
		{"gossip", Config{Listen: "127.0.0.1:7800", Gossip: "10.0.0.1:7802"}, "gossip is 10.0.0.1:7802"},
		{"a name that looks like it", Config{Listen: "localhost.example.com:1"}, "listen is localhost.example.com:1"},
		{"TLS", Config{Listen: "10.0.0.1:7800", HTTP: "10.0.0.1:7801", TLS: tls}, ""},
		{"insecure", Config{Listen: "10.0.0.1:7800", Insecure: true}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := exposed(&c.c)
			if c.want == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, c.want+", which other machines reach, and there is no TLS")
		})
	}
}

// The example names every setting, and is what the defaults are, with or without its marks.
func TestExample(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, WriteExample(&b))
	want := func() []Value {
		c, err := load(t, "", nil, []string{"--name", "n1", "--dir", "/var/lib/cambium"})
		require.NoError(t, err)
		return c.Values()
	}()
	for _, text := range []string{b.String(), regexp.MustCompile(`(?m)^#(?:  )?[a-z-]+:`).ReplaceAllStringFunc(b.String(), func(line string) string { return line[1:] })} {
		c, err := load(t, text, nil, nil)
		require.NoError(t, err, text)
		for i, v := range c.Values() {
			require.Equal(t, want[i].Value, v.Value, v.Key)
			if text != b.String() {
				require.Contains(t, v.Origin, "c.yaml:", v.Key)
			}
		}
	}
}

// What Write writes says the same again, whatever stands in it.
func TestWrite(t *testing.T) {
	c, err := load(t, "", []string{"CAMBIUM_TLS_CERT=c: #1.crt"}, []string{"--name=1", "--dir", `/a "b"\\c`, "--listen=[::1]:7800", "--join=[fe80::1]:1,b:2", "--tls-ca=null", "--tls-key=~", "--memory=1GiB"})
	require.NoError(t, err)
	var plain, origins bytes.Buffer
	require.NoError(t, c.Write(&plain, false))
	require.NoError(t, c.Write(&origins, true))
	require.Contains(t, origins.String(), "\nweight: 1                              # default\n")
	require.Contains(t, origins.String(), "\ntls:\n  ca: \"null\"                           # --tls-ca\n")
	for _, text := range []string{plain.String(), origins.String()} {
		again, err := load(t, text, nil, nil)
		require.NoError(t, err, text)
		again.values, c.values = nil, nil
		require.Equal(t, c, again)
	}
}

func TestSecurity(t *testing.T) {
	c := &Config{Name: "n1"}
	s, err := c.Security(nil)
	require.NoError(t, err)
	require.Nil(t, s)
	o := certs.Options{CA: t.TempDir()}
	ca, err := certs.CreateCA(o)
	require.NoError(t, err)
	p, err := certs.CreateNode(o, "n1", []string{"localhost"})
	require.NoError(t, err)
	c.TLS = certs.Files{CA: ca.Cert, Cert: p.Cert, Key: p.Key}
	s, err = c.Security(nil)
	require.NoError(t, err)
	require.NotNil(t, s)
	c.Name = "n2"
	_, err = c.Security(nil)
	require.ErrorContains(t, err, "is that of node n1, this is node n2")
}

// FuzzFile: no file makes it panic, and what it says is wrong has a line.
func FuzzFile(f *testing.F) {
	var b bytes.Buffer
	if err := WriteExample(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	for _, text := range []string{"", "tls: {ca: a}\njoin: [a:1]\n", "- a", "a: &x b\nc: *x", "? a\n: b", "<<: {name: a}", "\"name\": |\n  x"} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		set, problems := parse("c.yaml", content)
		for _, p := range problems {
			if !strings.HasPrefix(p.Error(), "c.yaml:") {
				t.Errorf("no origin: %v", p)
			}
		}
		assemble(set)
	})
}
