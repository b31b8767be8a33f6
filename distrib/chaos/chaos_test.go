package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(etcdEnv); dir != "" {
		if err := serveEtcd(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// TestChaos is the short form of TestSoak's chaos-3 and linear-3: one fault of each kind, half of the clients linearizable.
func TestChaos(t *testing.T) {
	o := options(t, 3, 40, 1)
	o.Clients, o.Linear = 3, 3
	r, err := Run(t.Context(), o, Plan(1, 3, Kinds, 25*time.Second))
	right(t, r, err)
}

// TestDisks is the short form of wipe and linear-wipe: a directory is lost, one comes back old.
func TestDisks(t *testing.T) {
	o := options(t, 3, 500, 1)
	o.Clients, o.Linear = 3, 3
	r, err := Run(t.Context(), o, Plan(2, 3, []Kind{Wipe, Restore}, 4*time.Second))
	right(t, r, err)
}

// TestTopology is the short form of topology: one kill in each of three changes.
func TestTopology(t *testing.T) {
	o, list := options(t, 3, 4000, 1), Changes(1, 1, false)
	o.steady()
	r, err := RunChanges(t.Context(), o, list)
	right(t, r, err)
	moved(t, r, len(list))
}

// TestLinearTopology is the short form of linear-topology: one kill in each of three changes.
func TestLinearTopology(t *testing.T) {
	o := options(t, 3, 40, 2)
	o.Clients, o.Linear = 2, 4
	list := Changes(2, 1, false)
	r, err := RunChanges(t.Context(), o, list)
	right(t, r, err)
	require.Len(t, r.Changes, len(list))
}

// TestCounter is the short form of counter.
func TestCounter(t *testing.T) {
	o := options(t, 3, 40, 3)
	o.Clients, o.Linear = 1, 1
	r, err := RunCounter(t.Context(), o, Plan(3, 3, []Kind{Kill, Partition}, time.Minute), 16, 50)
	right(t, r, err)
	require.EqualValues(t, 16*50, r.Counter.Acknowledged)
}

// TestMetadataDown is the short form of metadata.
func TestMetadataDown(t *testing.T) {
	o, e := options(t, 3, 500, 1), newEtcd(t)
	o.Etcd = e.endpoints
	r, err := RunOutages(t.Context(), o, []Outage{
		{Name: "killed", Stop: e.kill, Start: e.start, Faults: Plan(1, 3, []Kind{Kill}, time.Second), AllAtOnce: true},
	})
	right(t, r, err)
}

// steady makes a load under which the data hardly grows, by siblings and by what records remember of operations: so bytes that
// a plan estimates can be compared with those that are moved later.
func (o *Options) steady() { o.ValueBytes, o.Pause = 2000, 10*time.Millisecond }

// options are those of a run, with a node that is built for it.
func options(t *testing.T, nodes, keys int, seed uint64) Options {
	if testing.Short() {
		t.Skip("it takes a minute of real time")
	}
	return Options{Executable: buildNode(t), Dir: t.ArtifactDir(), Nodes: nodes, Keys: keys, Seed: seed, Pause: 2 * time.Millisecond, Logf: t.Logf}
}

// right wants a run to have shown nothing wrong.
func right(t *testing.T, r *Report, err error) {
	require.NoError(t, err)
	t.Logf("\n%s", r)
	require.Empty(t, r.Violations)
	require.Empty(t, r.Different)
	require.NotZero(t, r.Writes)
	if r.Linear > 0 {
		require.NotZero(t, r.Steps)
		require.Less(t, len(r.Undecided), r.Keys, "no key's history was judged")
	}
}

// moved wants so many changes to have moved what their plans said.
func moved(t *testing.T, r *Report, want int) {
	require.Len(t, r.Changes, want)
	for _, c := range r.Changes {
		require.InEpsilon(t, c.Planned, c.Moved, 0.1, c.Name)
	}
}

func buildNode(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "kvnode")
	out, err := exec.Command("go", "build", "-o", path, "github.com/cambiumdb/cambium/cmd/kvnode").CombinedOutput()
	require.NoError(t, err, string(out))
	return path
}

func TestLongestGap(t *testing.T) {
	ms := func(list ...time.Duration) (d []time.Duration) {
		for _, x := range list {
			d = append(d, x*time.Millisecond)
		}
		return d
	}
	success := ms(10, 20, 50, 60, 200)
	for _, c := range []struct{ begun, from, to, want time.Duration }{
		{0, 0, 5, 10}, {0, 12, 18, 10}, {0, 25, 30, 30}, {0, 55, 61, 140}, {0, 55, 60, 10}, {0, 210, 500, 300}, {100, 100, 150, 100}, {100, 100, 220, 100}, {205, 205, 210, 5},
	} {
		require.Equal(t, c.want*time.Millisecond, longestGap(success, c.begun*time.Millisecond, c.from*time.Millisecond, c.to*time.Millisecond), "%v", c)
	}
}
