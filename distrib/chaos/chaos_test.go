package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestChaos is the short form of TestChaosLong: one fault of each kind, over so many keys that none is written eight times
// while a request is late. That a second try of a put may then come back is in docs/cluster.md, and the long form,
// with few keys, may show it.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute of real time")
	}
	chaos(t, buildNode(t), 1, 3, 2000, Kinds, 25*time.Second)
}

// TestChaosLong runs for 10 minutes with 3 nodes and with 5, and then takes the directories of nodes away and brings old
// ones back. CHAOS_SEED is the seed.
func TestChaosLong(t *testing.T) {
	if os.Getenv("CAMBIUM_SOAK") == "" {
		t.Skip("CAMBIUM_SOAK is not set")
	}
	seed, err := strconv.ParseUint(os.Getenv("CHAOS_SEED"), 10, 64)
	if err != nil {
		seed = 1
	}
	kvnode := buildNode(t)
	for _, nodes := range []int{3, 5} {
		t.Run(fmt.Sprint(nodes), func(t *testing.T) { chaos(t, kvnode, seed, nodes, 40, Kinds, 10*time.Minute) })
	}
	t.Run("disks", func(t *testing.T) { chaos(t, kvnode, seed, 3, 40, []Kind{Wipe, Restore, Kill}, 2*time.Minute) })
}

func buildNode(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "kvnode")
	out, err := exec.Command("go", "build", "-o", path, "github.com/cambiumdb/cambium/cmd/kvnode").CombinedOutput()
	require.NoError(t, err, string(out))
	return path
}

func chaos(t *testing.T, kvnode string, seed uint64, nodes, keys int, kinds []Kind, d time.Duration) {
	r, err := Run(t.Context(), Options{Executable: kvnode, Dir: t.TempDir(), Nodes: nodes, Keys: keys, Seed: seed, Pause: 2 * time.Millisecond, Plan: Plan(seed, nodes, kinds, d), Logf: t.Logf})
	require.NoError(t, err)
	t.Logf("seed %d: %s", seed, r)
	require.Empty(t, r.Violations)
	require.Empty(t, r.Different)
	require.NotZero(t, r.Writes)
}

func TestLongestGap(t *testing.T) {
	ms := func(list ...time.Duration) (d []time.Duration) {
		for _, x := range list {
			d = append(d, x*time.Millisecond)
		}
		return d
	}
	success := ms(10, 20, 50, 60, 200)
	for _, c := range []struct{ from, to, want time.Duration }{
		{0, 5, 10}, {12, 18, 10}, {25, 30, 30}, {55, 61, 140}, {55, 60, 10}, {210, 500, 300},
	} {
		require.Equal(t, c.want*time.Millisecond, longestGap(success, c.from*time.Millisecond, c.to*time.Millisecond), "%v", c)
	}
}
