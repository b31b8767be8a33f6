package observe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/cambiumdb/cambium/distrib"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// all is a registry with every metric.
func all() (*prometheus.Registry, *Operations) {
	r := prometheus.NewRegistry()
	operations := NewOperations(r)
	Register(r, Sources{
		Hints: func() []Hints {
			return []Hints{{Target: "n2", Bytes: 700, Oldest: 90 * time.Second, Kept: 9, HandedOver: 4, Refused: 2}, {Target: "n3", Bytes: 1}}
		},
		Dirty:   func() int { return 12 },
		Epoch:   func() uint64 { return 7 },
		Members: func() map[distrib.Liveness]int { return map[distrib.Liveness]int{distrib.Up: 2, distrib.Down: 1} },
		Stored:  func() int64 { return 1 << 30 },
		Refused: func() uint64 { return 6 },
		Load: func() Load {
			return Load{Operations: 3, Behind: 4, Repairs: 1, Bytes: 300, BehindBytes: 400, Hedged: 9}
		},
		Certificate: func() time.Time { return time.Unix(1_800_000_000, 0) },
	})
	return r, operations
}

func TestFigures(t *testing.T) {
	r, _ := all()
	answer := httptest.NewRecorder()
	Handler(Options{Registry: r}).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	figures, _, _ := strings.Cut(answer.Body.String(), "# HELP promhttp")
	require.Equal(t, strings.TrimPrefix(`
# HELP cambium_certificate_expiry_timestamp_seconds When this node's certificate ends, in seconds since 1970.
# TYPE cambium_certificate_expiry_timestamp_seconds gauge
cambium_certificate_expiry_timestamp_seconds 1.8e+09
# HELP cambium_dirty_slots Ranges of tokens whose replicas may differ until they are compared.
# TYPE cambium_dirty_slots gauge
cambium_dirty_slots 12
# HELP cambium_hints_bytes Bytes of keys and values kept for a node that cannot be reached.
# TYPE cambium_hints_bytes gauge
cambium_hints_bytes{target="n2"} 700
cambium_hints_bytes{target="n3"} 1
# HELP cambium_hints_handed_over_total Records handed over to that node, or to those who own their keys now.
# TYPE cambium_hints_handed_over_total counter
cambium_hints_handed_over_total{target="n2"} 4
cambium_hints_handed_over_total{target="n3"} 0
# HELP cambium_hints_kept_total Records kept for a node that could not be reached.
# TYPE cambium_hints_kept_total counter
cambium_hints_kept_total{target="n2"} 9
cambium_hints_kept_total{target="n3"} 0
# HELP cambium_hints_oldest_age_seconds Age of the oldest record kept for a node.
# TYPE cambium_hints_oldest_age_seconds gauge
cambium_hints_oldest_age_seconds{target="n2"} 90
# HELP cambium_hints_refused_total Records refused, since too much was kept for that node, or for too long.
# TYPE cambium_hints_refused_total counter
cambium_hints_refused_total{target="n2"} 2
cambium_hints_refused_total{target="n3"} 0
# HELP cambium_members Nodes by this node's own opinion of them.
# TYPE cambium_members gauge
cambium_members{state="down"} 1
cambium_members{state="suspect"} 0
cambium_members{state="up"} 2
# HELP cambium_operations_in_progress Operations of clients under way.
# TYPE cambium_operations_in_progress gauge
cambium_operations_in_progress 3
# HELP cambium_operations_in_progress_bytes Bytes of the keys and values of the operations under way.
# TYPE cambium_operations_in_progress_bytes gauge
cambium_operations_in_progress_bytes 300
# HELP cambium_peer_requests_refused_total Requests of other nodes refused since too many waited.
# TYPE cambium_peer_requests_refused_total counter
cambium_peer_requests_refused_total 6
# HELP cambium_read_repairs_in_progress Repairs of nodes that lacked something that was read.
# TYPE cambium_read_repairs_in_progress gauge
cambium_read_repairs_in_progress 1
# HELP cambium_reads_hedged_total Reads for which another node was asked too, since one took longer than it mostly does.
# TYPE cambium_reads_hedged_total counter
cambium_reads_hedged_total 9
# HELP cambium_ring_epoch Epoch of the topology that this node has.
# TYPE cambium_ring_epoch gauge
cambium_ring_epoch 7
# HELP cambium_store_bytes Bytes of the store on the device.
# TYPE cambium_store_bytes gauge
cambium_store_bytes 1.073741824e+09
# HELP cambium_writes_behind Writes that were answered and still go to the rest of their nodes.
# TYPE cambium_writes_behind gauge
cambium_writes_behind 4
# HELP cambium_writes_behind_bytes Bytes of the keys and values of these writes.
# TYPE cambium_writes_behind_bytes gauge
cambium_writes_behind_bytes 400
`, "\n"), figures)

	empty := prometheus.NewRegistry()
	Register(empty, Sources{})
	families, err := empty.Gather()
	require.NoError(t, err)
	require.Empty(t, families, "who has no sources has no figures")
}

func TestOperations(t *testing.T) {
	r, operations := all()
	for range 3 {
		operations.Done(Get, Quorum, OK, 3*time.Millisecond)
	}
	operations.Done(Put, Nodes, Unknown, 20*time.Second)
	families, err := r.Gather()
	require.NoError(t, err)
	got := map[string]string{}
	for _, f := range families {
		if f.GetName() != "cambium_operation_duration_seconds" {
			continue
		}
		for _, m := range f.Metric {
			labels := ""
			for _, l := range m.Label {
				labels += l.GetName() + "=" + l.GetValue() + " "
			}
			h := m.Histogram
			got[labels] = fmt.Sprintf("%d in %.3f s, %d within %.1f s", h.GetSampleCount(), h.GetSampleSum(), h.Bucket[len(h.Bucket)-1].GetCumulativeCount(), h.Bucket[len(h.Bucket)-1].GetUpperBound())
		}
	}
	require.Equal(t, map[string]string{
		"consistency=quorum operation=get outcome=ok ":     "3 in 0.009 s, 3 within 6.6 s",
		"consistency=nodes operation=put outcome=unknown ": "1 in 20.000 s, 0 within 6.6 s",
	}, got)
	require.Zero(t, testing.AllocsPerRun(1000, func() { operations.Done(Get, Quorum, OK, time.Millisecond) }))
}

// TestDocs: docs/operations.md has a row for each metric, and no other; and the names are as Prometheus wants them.
func TestDocs(t *testing.T) {
	r, operations := all()
	operations.Done(Get, Quorum, OK, time.Millisecond)
	families, err := r.Gather()
	require.NoError(t, err)
	want := map[string]bool{}
	for _, f := range families {
		labels := []string{}
		for _, l := range f.Metric[0].Label {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		want[fmt.Sprintf("| `%s` | %s | %s | %s |", f.GetName(), strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp())] = true
	}
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)

	b, err := os.ReadFile("../../docs/operations.md")
	require.NoError(t, err)
	for _, row := range regexp.MustCompile("(?m)^\\| `cambium_.*$").FindAllString(string(b), -1) {
		require.True(t, want[row], "no metric is like this row:\n%s", row)
		delete(want, row)
	}
	require.Empty(t, want, "metrics without a row")
	for _, of := range [][]string{kinds[:], levels[:], outcomes[:]} {
		for _, word := range of {
			require.Contains(t, string(b), "`"+word+"`")
		}
	}
}

func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	reply, err := http.Get(url)
	require.NoError(t, err)
	defer reply.Body.Close()
	b, err := io.ReadAll(reply.Body)
	require.NoError(t, err)
	return reply.StatusCode, string(b)
}

func TestServer(t *testing.T) {
	var notReady error
	registry := NewRegistry()
	Register(registry, Sources{Epoch: func() uint64 { return 7 }})
	s, err := Start(Options{Listen: "127.0.0.1:0", Registry: registry, Ready: func() error { return notReady }})
	require.NoError(t, err)
	url := "http://" + s.Addr()

	for _, c := range []struct {
		path string
		code int
		want string
	}{
		{"/", 200, "/readyz"},
		{"/livez", 200, "ok\n"},
		{"/readyz", 200, "ok\n"},
		{"/metrics", 200, "\ncambium_ring_epoch 7\n"},
		{"/metrics", 200, "\ngo_goroutines "},
		{"/metrics", 200, "\nprocess_resident_memory_bytes "},
		{"/debug/pprof/", 200, "heap"},
		{"/debug/pprof/goroutine?debug=1", 200, "goroutine profile: total"},
		{"/debug/pprof/cmdline", 200, "observe.test"},
		{"/nothing", 404, "404"},
	} {
		code, body := get(t, url+c.path)
		require.Equal(t, c.code, code, c.path)
		require.Contains(t, body, c.want, c.path)
	}
	notReady = errors.New("the node joins")
	code, body := get(t, url+"/readyz")
	require.Equal(t, 503, code)
	require.Equal(t, "the node joins\n", body)
	code, _ = get(t, url+"/livez")
	require.Equal(t, 200, code)

	_, err = Start(Options{Listen: s.Addr()})
	require.ErrorContains(t, err, "listen for HTTP at "+s.Addr())

	// A profile that is being taken does not hold up the node.
	taken := make(chan error)
	go func() {
		reply, err := http.Get(url + "/debug/pprof/trace?seconds=600")
		if err == nil {
			_, err = io.Copy(io.Discard, reply.Body)
			reply.Body.Close()
		}
		taken <- err
	}()
	require.Eventually(t, func() bool {
		_, body := get(t, url+"/debug/pprof/goroutine?debug=1")
		return strings.Contains(body, "pprof.Trace")
	}, 10*time.Second, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	require.NoError(t, s.Close(ctx))
	require.NoError(t, <-taken)
	http.DefaultClient.CloseIdleConnections()
}

func BenchmarkDone(b *testing.B) {
	operations := NewOperations(prometheus.NewRegistry())
	b.ReportAllocs()
	for range b.N {
		operations.Done(Get, Quorum, OK, 300*time.Microsecond)
	}
}
