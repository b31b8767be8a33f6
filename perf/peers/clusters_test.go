package peers

import (
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/etcd/server/v3/embed"

	"github.com/cambiumdb/cambium/perf/cluster"
)

// address is a port of the loopback interface that is free.
func address(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// load fills an engine with keys, overwrites some, and reads all: what a kvbench asks of kvbench-peers.
func load(t *testing.T, engine string, also []cluster.Step, endpoints ...string) {
	var in, out bytes.Buffer
	orders := json.NewEncoder(&in)
	require.NoError(t, orders.Encode(cluster.Job{
		Protocol: 1, Engine: engine, Endpoints: endpoints, Clients: 4, Keys: 40, Prefix: "test:", ValueSize: 100, Compressible: 1, Timeout: 10 * time.Second,
	}))
	for _, s := range append([]cluster.Step{{Do: "fill"}, {Do: "load", Mix: cluster.Mix{Name: "mix", Puts: 50}, Duration: 200 * time.Millisecond}}, append(also, cluster.Step{Do: "verify"})...) {
		require.NoError(t, orders.Encode(s))
	}
	require.NoError(t, cluster.Serve(t.Context(), Targets(), &in, &out))
	var last struct{ Load *cluster.Load }
	for answers := json.NewDecoder(&out); ; {
		err := answers.Decode(&last)
		if err == io.EOF {
			break
		}
		require.NoError(t, err)
		if l := last.Load; l != nil {
			require.Zero(t, l.Failed+l.Unknown+l.Stale+l.Missing+l.Wrong, "%+v", l)
		}
	}
	require.EqualValues(t, 40, last.Load.Gets.Count)
}

func TestEtcdUnderLoad(t *testing.T) {
	cfg := embed.NewConfig()
	cfg.Dir, cfg.LogLevel = t.TempDir(), "error"
	clients, members := []url.URL{{Scheme: "http", Host: address(t)}}, []url.URL{{Scheme: "http", Host: address(t)}}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls, cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = clients, clients, members, members
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	e, err := embed.StartEtcd(cfg)
	require.NoError(t, err)
	defer e.Close()
	load(t, cluster.Etcd, []cluster.Step{{Do: "load", Mix: cluster.Mix{Name: "cas", Swaps: true}, Duration: 200 * time.Millisecond}}, clients[0].Host)
}

func TestRedisUnderLoad(t *testing.T) {
	redis, err := exec.LookPath("redis-server")
	if err != nil {
		require.NotEqual(t, "true", os.Getenv("CI"), "make peers installs redis-server")
		t.Log("redis-server is not here, so it is not tested")
		return
	}
	primary, replica := address(t), address(t)
	host, at, _ := net.SplitHostPort(primary)
	_, port, _ := net.SplitHostPort(replica)
	for _, args := range [][]string{{"--port", at}, {"--port", port, "--replicaof", host + " " + at}} {
		cmd := exec.Command(redis, append(args, "--bind", host, "--dir", t.TempDir(), "--save", "", "--appendonly", "yes", "--repl-diskless-sync-delay", "0")...)
		require.NoError(t, cmd.Start())
		t.Cleanup(func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait() // it was killed
		})
	}
	load(t, cluster.Redis, nil, primary, replica)
}
