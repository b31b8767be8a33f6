package chaos

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/perf"
)

// soakHead begins the file that SOAK_MARKDOWN names.
const soakHead = `# Long runs

What the cluster has shown in long runs of real processes, with the commit. ` + "`make soak`" + ` writes this file; it is not edited by hand. Each run ends
with a check of all that clients were told: a violation is a write that was acknowledged and is lost, one that was overwritten and came back, or one
that failed and is there.

A *gap* is a client's longest time without a success while a fault lasts, and until the cluster has recovered from it: the median client's in the median
fault, and the longest of all. One that lies in a fault only in part counts, for the time without a fault beside it too. *Suspect* and *down* are the
times until a node first said so of another.
`

// TestSoak are the long forms, each a step of make soak. CHAOS_SEED is the seed.
func TestSoak(t *testing.T) {
	if os.Getenv("CAMBIUM_SOAK") == "" {
		t.Skip("CAMBIUM_SOAK is not set")
	}
	seed, err := strconv.ParseUint(os.Getenv("CHAOS_SEED"), 10, 64)
	if err != nil {
		seed = 1
	}
	step := func(name, title string, nodes, keys int, run func(t *testing.T, o Options) (*Report, error)) {
		t.Run(name, func(t *testing.T) {
			o := options(t, nodes, keys, seed)
			how := perf.NewReport("soak", []string{"make", "soak", "STEPS=" + name}, o.Dir, perf.Config{}, time.Now())
			how.Build.Revision, how.Build.Modified = git(t, "rev-parse", "HEAD"), git(t, "status", "--porcelain", ":/", ":!/docs/soak.md") != ""
			r, err := run(t, o)
			record(t, title, how, seed, r, err)
			right(t, r, err)
			if r.Linear == 0 { // what registers hold grows meanwhile
				moved(t, r, len(r.Changes))
			}
		})
	}
	faults := func(kinds []Kind, d time.Duration) func(t *testing.T, o Options) (*Report, error) {
		return func(t *testing.T, o Options) (*Report, error) {
			o.Lasts = d
			return Run(t.Context(), o, Plan(o.Seed, o.Nodes, kinds, d))
		}
	}
	linear := func(run func(t *testing.T, o Options) (*Report, error)) func(t *testing.T, o Options) (*Report, error) {
		return func(t *testing.T, o Options) (*Report, error) {
			o.Clients, o.Linear = 2, 6
			return run(t, o)
		}
	}
	step("chaos-3", "Faults, 3 nodes", 3, 40, faults(Kinds, 10*time.Minute))
	step("chaos-5", "Faults, 5 nodes", 5, 40, faults(Kinds, 10*time.Minute))
	step("wipe", "Directories lost, and brought back old", 3, 40, faults(Disks, 5*time.Minute))
	step("topology", "Nodes join and leave", 3, 6000, func(t *testing.T, o Options) (*Report, error) {
		o.steady()
		return RunChanges(t.Context(), o, Changes(seed, 3, true))
	})
	step("linear-3", "Linearizable operations, 3 nodes", 3, 40, linear(faults(Kinds, 15*time.Minute)))
	step("linear-5", "Linearizable operations, 5 nodes", 5, 40, linear(faults(Kinds, 15*time.Minute)))
	step("linear-wipe", "Linearizable operations, directories lost, and brought back old", 3, 40, linear(faults(Disks, 10*time.Minute)))
	step("linear-topology", "Linearizable operations, nodes join and leave", 3, 40, linear(func(t *testing.T, o Options) (*Report, error) {
		return RunChanges(t.Context(), o, Changes(seed, 3, true))
	}))
	step("counter", "A counter", 3, 40, linear(func(t *testing.T, o Options) (*Report, error) {
		return RunCounter(t.Context(), o, Plan(o.Seed, o.Nodes, []Kind{Kill, Partition}, time.Hour), 64, 1000)
	}))
	step("metadata", "No metadata", 3, 40, func(t *testing.T, o Options) (*Report, error) {
		e := newEtcd(t)
		o.Etcd = e.endpoints
		return RunOutages(t.Context(), o, []Outage{
			{Name: "killed", Stop: e.kill, Start: e.start, Faults: Plan(seed, 3, []Kind{Kill, Pause, Restart}, 90*time.Second), Lasts: 5 * time.Minute, AllAtOnce: true},
			{Name: "stopped", Stop: e.pause, Start: e.goOn, Faults: Plan(seed, 3, []Kind{Kill, Restart}, 30*time.Second), Lasts: time.Minute},
		})
	})
}

// record writes what a step has shown to the file that SOAK_MARKDOWN names.
func record(t *testing.T, title string, how *perf.Report, seed uint64, r *Report, err error) {
	file := os.Getenv("SOAK_MARKDOWN")
	if file == "" {
		return
	}
	text := fmt.Sprintf("seed %d\n", seed)
	if err != nil {
		text += "FAILED " + err.Error()
	} else {
		text += r.Summary()
	}
	if _, missing := os.Stat(file); missing != nil {
		require.NoError(t, os.WriteFile(file, []byte(soakHead), 0o666))
	}
	require.NoError(t, perf.WriteSection(file, title, how.Section(title, text, nil)))
}

// git is what git says; empty: this is no clone.
func git(t *testing.T, args ...string) string {
	out, err := exec.Command("git", args...).Output()
	if err != nil {
		t.Logf("git %v: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}
