package main

import (
	"os"
	"regexp"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/perf"
)

// TestDocsNameWhatIsThere holds docs/kvbench.md to the command tree, both ways.
func TestDocsNameWhatIsThere(t *testing.T) {
	b, err := os.ReadFile("../../docs/kvbench.md")
	require.NoError(t, err)
	text := string(b)
	parsed := false
	flags := map[string]bool{"help": true, "verify": true, "generate": true}
	for _, cmd := range rootCommand(&parsed).Commands() {
		if cmd.Hidden || cmd.Name() == "completion" || cmd.Name() == "help" {
			continue
		}
		require.Contains(t, text, "kvbench "+cmd.Name())
		visit(cmd, func(f *pflag.Flag) {
			if !flags[f.Name] {
				require.Contains(t, text, "`--"+f.Name, "docs/kvbench.md does not tell of --%s of %s", f.Name, cmd.Name())
			}
			flags[f.Name] = true
		})
	}
	for _, m := range regexp.MustCompile(`--([a-z][a-z-]+)`).FindAllStringSubmatch(text, -1) {
		require.True(t, flags[m[1]], "docs/kvbench.md names --%s, which no command has", m[1])
	}
	for _, s := range perf.Scenarios() {
		require.Contains(t, text, "| "+s.Name+" |")
	}
}

func visit(cmd *cobra.Command, f func(*pflag.Flag)) { cmd.Flags().VisitAll(f) }
