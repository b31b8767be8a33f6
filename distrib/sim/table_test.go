package sim

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write docs/consistency.md")

// promise is a row of docs/consistency.md. tests are PACKAGE TEST, below distrib.
type promise struct{ operation, consistency, fault, get, tests string }

const (
	simSeeds = "sim TestSeeds"
	simBoth  = "sim TestSeeds, sim TestControls"
)

var promises = []promise{
	{"put, delete", "ONE, QUORUM, ALL", "none", "once acknowledged it is there, a sibling, or overwritten by who had seen it", "sim TestSeeds, chaos TestChaos"},
	{"get", "strict QUORUM after strict QUORUM", "none", "what was acknowledged before it began", simSeeds},
	{"get", "QUORUM", "a write under way", "it or what was before, and a later get may give the earlier again: QUORUM is not linearizable", simSeeds},
	{"put, get", "QUORUM", "one node killed, paused or cut off", "they go on; hints are handed over", "chaos TestChaos"},
	{"put", "QUORUM", "partition", "each side goes on; both values come back as siblings", "chaos TestBothSidesOfAPartition"},
	{"put", "any", "the answer is lost", "UNKNOWN; the same operation id makes no second sibling", simBoth},
	{"get, put, delete", "linearizable", "none, crash, pause, cuts, clocks that are wrong", "one order of all, each between its begin and its end", simBoth + ", chaos TestChaos"},
	{"any", "linearizable", "a minority", "FAILED at once, naming who is reachable", "coordinator TestOperateInMinority, chaos TestMinority"},
	{"any", "linearizable", "the first owner is killed or hangs", "another node carries it out", "coordinator TestFirstOwnerKilled, coordinator TestFirstOwnerHangs"},
	{"get", "linearizable", "a write ended UNKNOWN", "it is shown for good or not at all: finished first where it may have been decided", "sim TestControls, register TestScopes"},
	{"compare and swap, failed", "linearizable", "any", "ordered like a get; shows nothing that is not decided", "sim TestControls, register TestScopes"},
	{"put, compare and swap, delete", "linearizable", "the answer is lost", "UNKNOWN; tried again with its operation id it is done once", simBoth},
	{"put, delete with a context", "linearizable", "others have written since", "FAILED as MISMATCH, with what is there; without a context it replaces whatever is there", "service TestLinearizable"},
	{"compare and swap", "linearizable", "the key has siblings", "SIBLINGS by value; by context it replaces them all", "service TestCompareAndSwap"},
	{"any", "linearizable", "time to live, clocks that differ", "it has expired once the register has decided so, and then for all", "service TestLinearizableTTL, client TestDecided"},
	{"put, compare and swap, delete", "linearizable", "the client tries at several nodes", "it failed, or did not swap, only if no try can do it any more", "client TestConditions"},
	{"update of the Go client", "linearizable", "other writers", "each counts", "service TestClientLinearizable"},
	{"resolve", "linearizable", "after UNKNOWN", "it happened; or it did not, and never will", simBoth},
	{"compare and swap increments", "linearizable", "crash, pause, cuts", "each counts once", "sim TestSeeds, chaos TestCounter"},
	{"put", "eventual, key linearizable", "a replica that does not know it", "a sibling that the next linearizable operation shows; never dropped", simBoth},
	{"put, delete", "eventual, key linearizable", "none, crash, pause, cuts", "one order with the linearizable operations: without context it replaces all, with one what that has seen", "sim TestSeeds, coordinator TestEventualPutOfLinearizableKey"},
	{"put, delete", "eventual, key linearizable", "a minority that knows it", "FAILED as LINEARIZABLE_KEY, naming who is reachable", "coordinator TestEventualPutOfLinearizableKeyInMinority"},
	{"put", "eventual, key linearizable", "a slow replica stores it late", "it is done once; where the register cannot be asked it is UNKNOWN", "coordinator TestEventualPutHalfKnown"},
	{"get", "eventual, key linearizable", "any", "what was decided, and what was written by who did not know; it may be stale, and says so", "sim TestSeeds, coordinator TestEventualGetOfLinearizableKey"},
	{"resolve", "eventual, key linearizable", "after UNKNOWN", "it happened; or it did not, and never will", "coordinator TestResolveOfLinearizableKey, register TestScripts"},
	{"any", "linearizable", "a node has lost its directory, or got an old one back", "it answers for registers once it has copied them", "sim TestControls, register TestControls, chaos TestDisks"},
	{"register", "linearizable", "its owners change", "carried over before the new owners count", "register TestScopes, register TestControls, chaos TestLinearTopology"},
}

const consistencyHead = `# What you get: operation, consistency, fault

` + "`go test ./distrib/sim -run TestTable -update`" + ` writes this file from the table in distrib/sim/table_test.go; ` + "`make test`" + ` checks it, and that the tests exist.
[cluster.md](cluster.md) has the promises in words.

| operation | consistency | fault | you get | shown by |
|---|---|---|---|---|
`

// TestTable keeps docs/consistency.md as the table is, and wants each test to exist.
func TestTable(t *testing.T) {
	var b strings.Builder
	b.WriteString(consistencyHead)
	for _, p := range promises {
		var links []string
		for name := range strings.SplitSeq(p.tests, ", ") {
			pkg, test, _ := strings.Cut(name, " ")
			links = append(links, fmt.Sprintf("[%s.%s](../distrib/%s/%s)", pkg, test, pkg, fileOf(t, pkg, test)))
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s |\n", p.operation, p.consistency, p.fault, p.get, strings.Join(links, ", "))
	}
	const file = "../../docs/consistency.md"
	if *update {
		require.NoError(t, os.WriteFile(file, []byte(b.String()), 0o666))
	}
	is, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, b.String(), string(is), "run it with -update")
}

// fileOf is the file that has a test.
func fileOf(t *testing.T, pkg, test string) string {
	files, err := filepath.Glob("../" + pkg + "/*_test.go")
	require.NoError(t, err)
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		if strings.Contains(string(text), "\nfunc "+test+"(t *testing.T)") {
			return filepath.Base(f)
		}
	}
	t.Fatalf("there is no %s in distrib/%s", test, pkg)
	return ""
}
