package tidy

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// embedders is everything beside the standard library that a program takes in with ./engine.
var embedders = []string{
	module,
	"golang.org/x/sys",
	"golang.org/x/sync",
	"github.com/ncw/directio",
	"github.com/DataDog/zstd",
	"github.com/klauspost/compress",
	"github.com/klauspost/cpuid",
	"github.com/pierrec/lz4",
	"github.com/RoaringBitmap/roaring",
	"github.com/bits-and-blooms/bitset",
	"github.com/cespare/xxhash",
	"github.com/zeebo/xxh3",
}

// One zstd at a time: the C library with cgo, the Go one without.
var onlyWithout = map[string]string{
	"1": "github.com/klauspost/compress/zstd",
	"0": "github.com/DataDog/zstd",
}

func within(pkg, of string) bool { return pkg == of || strings.HasPrefix(pkg, of+"/") }

func strangers(deps []string, cgo string) (problems []string) {
	for _, dep := range deps {
		known := false
		for _, of := range embedders {
			known = known || within(dep, of)
		}
		if !known {
			problems = append(problems, fmt.Sprintf("CGO_ENABLED=%s: ./engine depends on %s", cgo, dep))
		}
		if within(dep, onlyWithout[cgo]) {
			problems = append(problems, fmt.Sprintf("CGO_ENABLED=%s: ./engine depends on %s, which is for the other mode", cgo, dep))
		}
		for _, up := range []string{"distrib", "cmd", "perf", "fuzz"} {
			if within(dep, module+"/"+up) {
				problems = append(problems, fmt.Sprintf("./engine depends on %s, which stands above it", dep))
			}
		}
	}
	return problems
}

// TestEngineClosure asks the go command what a program that embeds the engine takes in.
func TestEngineClosure(t *testing.T) {
	for _, cgo := range []string{"0", "1"} {
		cmd := exec.Command("go", "list", "-deps", "-f", "{{if not .Standard}}{{.ImportPath}}{{end}}", "./engine")
		cmd.Dir = root
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
		out, err := cmd.Output()
		if exit, ok := err.(*exec.ExitError); ok {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		require.NoError(t, err)
		deps := strings.Fields(string(out))
		require.Contains(t, deps, module+"/engine")
		report(t, strangers(deps, cgo))
	}
}

func TestClosureRule(t *testing.T) {
	ok := []string{module + "/engine", "golang.org/x/sys/unix", "github.com/pierrec/lz4/v4/internal/lz4block", "github.com/klauspost/compress/internal/snapref"}
	for _, cgo := range []string{"0", "1"} {
		require.Empty(t, strangers(ok, cgo))
		require.Len(t, strangers([]string{"github.com/prometheus/client_golang/prometheus"}, cgo), 1)
		require.Len(t, strangers([]string{"golang.org/x/system"}, cgo), 1)
		require.Len(t, strangers([]string{module + "/distrib"}, cgo), 1)
	}
	require.Len(t, strangers([]string{"github.com/klauspost/compress/zstd"}, "1"), 1)
	require.Empty(t, strangers([]string{"github.com/klauspost/compress/zstd"}, "0"))
	require.Len(t, strangers([]string{"github.com/DataDog/zstd"}, "0"), 1)
	require.Empty(t, strangers([]string{"github.com/DataDog/zstd"}, "1"))
}
