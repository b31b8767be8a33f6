package tidy

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// allowed is the architecture: what each package may import of ours, lowest first. A package
// may import what stands in its line and nothing else. Groups are spelled out below.
var allowed = map[string][]string{
	// 0: depend on nothing
	"internal/corrupt":    {},
	"internal/invariants": {},
	"internal/ikey":       {},
	"internal/vfs":        {},
	"internal/entity":     {},
	"internal/tidy":       {},
	"internal/grid":       {},
	"internal/zstd":       {},
	"internal/process":    {},
	"internal/bugs":       {},
	"internal/decode":     {},
	"internal/cache":      {"internal/invariants"},
	"internal/filename":   {"internal/corrupt", "internal/vfs"},
	"internal/ledgerfile": {"internal/corrupt"},
	"internal/batch":      {"internal/ikey"},

	// 1: contracts and framings that several parts share
	"internal/rangedel": {"internal/ikey", "internal/invariants"},
	"internal/iterator": {"internal/ikey", "internal/invariants"},
	"internal/record":   {"internal/corrupt"},
	"sstable/block":     {"internal/cache", "internal/corrupt", "internal/ikey", "internal/invariants", "internal/vfs", "internal/zstd"},

	// 2: the parts of the engine; none knows another, but for tables and their blocks
	"memtable":          {"internal/ikey", "internal/invariants", "internal/iterator", "internal/rangedel"},
	"wal":               {"internal/corrupt", "internal/invariants", "internal/record", "internal/vfs", "internal/zstd"},
	"sstable":           {"internal/cache", "internal/corrupt", "internal/entity", "internal/ikey", "internal/invariants", "internal/iterator", "internal/rangedel", "internal/vfs", "sstable/block"},
	"sstable/blob":      {"internal/cache", "internal/corrupt", "internal/invariants", "internal/vfs", "sstable/block"},
	"internal/deadfile": {"internal/corrupt", "sstable/blob"},
	"internal/manifest": {"internal/corrupt", "internal/filename", "internal/ikey", "internal/invariants", "internal/record", "internal/vfs"},

	// 3
	"compaction": {"internal/cache", "internal/corrupt", "internal/entity", "internal/filename", "internal/ikey", "internal/invariants", "internal/iterator",
		"internal/manifest", "internal/rangedel", "internal/vfs", "sstable", "sstable/blob", "sstable/block"},

	// 4
	"engine":         belowEngine,
	"engine/inspect": append([]string{"engine", "internal/grid"}, belowEngine...),

	// distribution: knows the engine only through distrib.Store
	"distrib/vclock":    {"internal/bugs"},
	"distrib":           {"distrib/vclock", "internal/decode"},
	"distrib/storetest": {"distrib"},
	"distrib/api":       {},
	"distrib/certs":     {},
	"distrib/config":    {"distrib", "distrib/certs", "distrib/vclock"},
	"distrib/observe":   {"distrib", "distrib/vclock"},
	"distrib/ring":      {"distrib", "distrib/vclock"},
	"distrib/gossip":    {"distrib", "distrib/vclock"},
	"distrib/meta":      {"distrib", "distrib/vclock"},
	"distrib/hint":      {"distrib", "distrib/replica", "distrib/ring", "distrib/vclock"},
	"distrib/merkle":    {"distrib", "distrib/vclock"},
	"distrib/transport": {"distrib", "distrib/api", "distrib/certs", "distrib/transport/peer", "distrib/vclock", "internal/decode"},

	"distrib/transport/peer": {},

	"distrib/register":    {"distrib", "distrib/ring", "distrib/vclock", "internal/bugs", "internal/decode"},
	"distrib/coordinator": append([]string{"distrib/hlc", "distrib/register", "internal/bugs"}, distribValues...),
	"distrib/replica":     {"distrib", "distrib/register", "distrib/ring", "distrib/vclock", "internal/bugs"},
	"distrib/hlc":         {"distrib"},
	"distrib/recovery":    {"distrib", "distrib/replica", "distrib/vclock", "internal/bugs"},
	"distrib/service":     {"distrib", "distrib/api", "distrib/observe", "distrib/vclock", "distrib/ring", "distrib/coordinator", "distrib/hlc", "distrib/register"},
	"distrib/client":      {"distrib", "distrib/api", "distrib/ring", "distrib/vclock"},
	"distrib/antientropy": append([]string{"distrib/replica"}, distribValues...),
	"distrib/topology":    append([]string{"distrib/antientropy", "distrib/replica"}, distribValues...),
	"distrib/node":        append([]string{"distrib/certs", "distrib/observe", "distrib/recovery", "distrib/service"}, distribParts...),
	"distrib/demo":        {"distrib/api", "internal/process"},
	"distrib/check":       {"distrib", "distrib/vclock"},
	"distrib/chaos":       {"distrib", "distrib/api", "distrib/check", "distrib/client", "distrib/meta", "distrib/vclock", "internal/process"},
	"distrib/sim":         append([]string{"distrib/check", "distrib/recovery", "distrib/storetest", "internal/bugs"}, distribParts...),
	"distrib/local":       {"distrib", "distrib/vclock", "engine"},

	// 5 and 6: wiring
	"perf":         {"engine", "internal/grid"},
	"perf/cluster": {"distrib/api", "distrib/client", "internal/grid", "internal/process", "perf"},
	"cmd/kvnode":   commands,
	"cmd/kvctl":    commands,
	"cmd/kvbench":  commands,
	"fuzz":         append([]string{"engine", "engine/inspect", "perf"}, belowEngine...),
}

var belowEngine = []string{
	"internal/batch", "internal/cache", "internal/corrupt", "internal/entity", "internal/filename", "internal/ikey", "internal/invariants",
	"internal/deadfile", "internal/iterator", "internal/ledgerfile", "internal/manifest", "internal/rangedel", "internal/record", "internal/vfs", "internal/zstd",
	"memtable", "wal", "sstable", "sstable/block", "sstable/blob", "compaction",
}

var distribValues = []string{
	"distrib", "distrib/api", "distrib/vclock", "distrib/ring", "distrib/gossip", "distrib/meta", "distrib/hint", "distrib/merkle", "distrib/transport",
}

var distribParts = append([]string{
	"distrib/antientropy", "distrib/client", "distrib/coordinator", "distrib/hlc", "distrib/register", "distrib/replica", "distrib/topology",
}, distribValues...)

// Commands hold no logic and reach nothing below these.
var commands = []string{"engine", "engine/inspect", "distrib", "distrib/api", "distrib/certs", "distrib/config", "distrib/node", "distrib/local", "distrib/client", "distrib/demo", "perf", "perf/cluster"}

// upward are the imports of packages from above that the tests of a package may have.
var upward = map[string][]string{
	"engine": {"perf"}, // its workloads and its data set
}

// forbidden are imports of the standard library, subpackages included, that would make a pure
// package impure or tie a decision to the network.
var forbidden = map[string][]string{
	"distrib/vclock":      {"time", "sync", "net"},
	"distrib/ring":        {"time", "sync", "net"},
	"distrib/merkle":      {"time", "sync", "net"},
	"distrib/coordinator": {"net"},
	"distrib/replica":     {"net"},
	"engine":              {"net"},
	"compaction":          {"net"},
}

// badImports returns what breaks the table. Tests are bound less tightly: they may import
// anything that does not stand above their package.
func badImports(files []*source) (problems []string) {
	for _, f := range files {
		may, known := allowed[f.pkg]
		if !known {
			problems = append(problems, fmt.Sprintf("%s: package %q is not in the table of internal/tidy/imports_test.go", f.name, f.pkg))
			continue
		}
		for _, imp := range f.ours() {
			switch {
			case imp == f.pkg: // an external test of its own package
			case f.test && slices.Contains(upward[f.pkg], imp):
			case f.test && slices.Contains(below(imp), f.pkg):
				problems = append(problems, fmt.Sprintf("%s imports %s, which stands above %s", f.name, imp, f.pkg))
			case !f.test && !slices.Contains(may, imp):
				problems = append(problems, fmt.Sprintf("%s imports %s: %s may import %v", f.name, imp, f.pkg, may))
			}
		}
		if f.test {
			continue
		}
		for _, imp := range f.imports() {
			for _, no := range forbidden[f.pkg] {
				if imp == no || strings.HasPrefix(imp, no+"/") {
					problems = append(problems, fmt.Sprintf("%s imports %s, which %s never does", f.name, imp, f.pkg))
				}
			}
		}
	}
	return problems
}

// below returns everything that a package can reach by the table.
func below(pkg string) (all []string) {
	for _, imp := range allowed[pkg] {
		all = append(all, imp)
		all = append(all, below(imp)...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

func TestImports(t *testing.T) { report(t, badImports(repository(t))) }

// The table itself has no circle and names only packages that have a line.
func TestTable(t *testing.T) {
	const done, open = 2, 1
	state := map[string]int{}
	var visit func(pkg string, from []string)
	visit = func(pkg string, from []string) {
		if state[pkg] == done {
			return
		}
		require.NotEqual(t, open, state[pkg], "a circle: %v", append(from, pkg))
		state[pkg] = open
		require.Contains(t, allowed, pkg, "named by %v", from)
		for _, imp := range allowed[pkg] {
			visit(imp, append(from, pkg))
		}
		state[pkg] = done
	}
	for _, pkg := range slices.Sorted(maps.Keys(allowed)) {
		visit(pkg, nil)
	}
}

func TestImportRule(t *testing.T) {
	for _, c := range []struct{ name, code, want string }{
		{"internal/ikey/x.go", `import "bytes"`, ""},
		{"internal/ikey/x.go", `import "` + module + `/internal/vfs"`, "internal/ikey may import []"},
		{"memtable/x.go", `import "` + module + `/wal"`, "memtable/x.go imports wal"},
		{"sstable/x.go", `import b "` + module + `/sstable/block"`, ""},
		{"sstable/block/x.go", `import "` + module + `/sstable"`, "sstable/block/x.go imports sstable"},
		{"sstable/block/x_test.go", `import "` + module + `/sstable"`, "which stands above sstable/block"},
		{"wal/x_test.go", `import "` + module + `/memtable"`, ""},
		{"wal/x_test.go", `import "` + module + `/wal"`, ""},
		{"internal/vfs/x_test.go", `import "` + module + `/engine"`, "which stands above internal/vfs"},
		{"engine/x_test.go", `import "` + module + `/perf"`, ""},
		{"engine/x.go", `import "` + module + `/perf"`, "engine/x.go imports perf"},
		{"perf/x.go", `import "` + module + `/internal/vfs"`, "perf may import [engine internal/grid]"},
		{"cmd/kvctl/x.go", `import "` + module + `/sstable"`, "cmd/kvctl may import"},
		{"engine/x.go", `import "net/http"`, "engine never does"},
		{"engine/x.go", `import "network"`, ""},
		{"util/x.go", ``, `package "util" is not in the table`},
		{"x.go", ``, `package "" is not in the table`},
	} {
		f, err := parse(c.name, []byte("package x\n"+c.code))
		require.NoError(t, err)
		got := strings.Join(badImports([]*source{f}), "\n")
		if c.want == "" {
			require.Empty(t, got)
		} else {
			require.Contains(t, got, c.want)
		}
	}
}
