package cluster

import (
	"fmt"
	"os/exec"
	"slices"
	"strings"

	"github.com/cambiumdb/cambium/perf"
)

// etcdVersion is that of perf/peers/go.mod.
const etcdVersion = "3.7.3"

// fairness says under which conditions each engine is measured.
func fairness(cfg Config) ([]perf.Condition, error) {
	servers, redis := fmt.Sprint(cfg.Nodes), ""
	if len(cfg.Endpoints) > 0 {
		servers = "as they run at " + strings.Join(cfg.Endpoints, ",")
	}
	for _, p := range cfg.Peers {
		if p != Redis {
			continue
		}
		out, err := exec.Command("redis-server", "--version").Output()
		if err != nil {
			return nil, fmt.Errorf("redis-server: %w\n  try: make peers, or apt-get install redis-server", err)
		}
		redis = word(string(out), "v=")
	}
	durable := map[string]string{"per-second": "synced once a second", "per-write": "synced before it is acknowledged"}[cfg.Sync]
	put, sync := cfg.Consistency+", with the context of the writer's last", durable
	if cfg.Consistency == linearizable {
		put, sync = linearizable, "synced before it is acknowledged"
	}
	rows := []perf.Condition{
		{Name: "version", Values: map[string]string{Etcd: etcdVersion, Redis: redis}},
		{Name: "servers", Values: map[string]string{Own: servers + ", 3 copies of each key", Etcd: fmt.Sprintf("%d members", cfg.Nodes), Redis: fmt.Sprintf("a primary and %d replicas", cfg.Nodes-1)}},
		{Name: "put", Values: map[string]string{Own: put, Etcd: "put", Redis: "SET and WAIT 1 in one message"}},
		{Name: "get", Values: map[string]string{Own: cfg.Consistency, Etcd: "linearizable", Redis: "GET at the primary"}},
		{Name: "a write at a server", Values: map[string]string{Own: sync, Etcd: "synced before it is acknowledged (its default)", Redis: durable + " by the primary; replicas acknowledge what they have received"}},
		{Name: "clients", Values: map[string]string{Own: "distrib/client, a stream to each node", Etcd: "clientv3, a connection to each member", Redis: "go-redis, a connection for each client"}},
	}
	if slices.ContainsFunc(cfg.Mixes, func(m Mix) bool { return m.Swaps }) {
		rows = append(rows, perf.Condition{Name: "cas", Values: map[string]string{
			Own: "compare-and-swap by context, which shows what is there where it fails", Etcd: "a transaction: put if the revision is as it was, else get",
		}})
	}
	engines := map[string]bool{}
	for _, e := range cfg.engines() {
		engines[e] = true
	}
	for _, row := range rows {
		for e := range row.Values {
			if !engines[e] || row.Values[e] == "" {
				delete(row.Values, e)
			}
		}
	}
	return rows, nil
}

// word is what stands behind a prefix, to the next space.
func word(s, prefix string) string {
	for _, w := range strings.Fields(s) {
		if rest, ok := strings.CutPrefix(w, prefix); ok {
			return rest
		}
	}
	return ""
}
