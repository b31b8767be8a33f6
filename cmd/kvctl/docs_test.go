package main

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"github.com/stretchr/testify/require"
)

// TestDocs: docs/kvctl.md and --help name every command, flag and exit code, and no other
// command and flag.
func TestDocs(t *testing.T) {
	b, err := os.ReadFile("../../docs/kvctl.md")
	require.NoError(t, err)
	text := string(b)
	root := (&app{}).rootCommand()
	synopsis := map[string]string{} // command -> its line
	for _, line := range regexp.MustCompile(`(?m)^kvctl [a-z].*$`).FindAllString(text, -1) {
		cmd, _, err := root.Find(strings.Fields(line)[1:])
		require.NoError(t, err, line)
		synopsis[cmd.CommandPath()] = line
	}
	flags := map[string]bool{}
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
		if cmd.HasSubCommands() {
			return
		}
		line, ok := synopsis[cmd.CommandPath()]
		require.True(t, ok, "%s is not in docs/kvctl.md", cmd.CommandPath())
		delete(synopsis, cmd.CommandPath())
		cmd.LocalNonPersistentFlags().VisitAll(func(f *pflag.Flag) {
			flags[f.Name] = true
			require.Contains(t, line, "--"+f.Name, "%s", cmd.CommandPath())
		})
		for _, word := range regexp.MustCompile(`--([a-z-]+)`).FindAllStringSubmatch(line, -1) {
			require.NotNil(t, cmd.Flags().Lookup(word[1]), "%s has no --%s", cmd.CommandPath(), word[1])
		}
		require.NotEmpty(t, cmd.Short, cmd.CommandPath())
	}
	visit(root)
	require.Empty(t, synopsis, "commands that do not exist")
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) { flags[f.Name] = true })
	for name := range flags {
		require.Regexp(t, "(?m)^\\| .*`--"+name+"`.* \\| ", text, "no row says what --%s means", name)
	}
	for _, code := range []int{exitOK, exitNotFound, exitUsage, exitUnavailable, exitUnknown, exitCorruption, exitLocked, exitInterrupted} {
		require.Regexp(t, `(?m)^\| `+strconv.Itoa(code)+` \| `, text)
		require.Regexp(t, `(?m)^  `+strconv.Itoa(code)+` +\w`, longHelp)
	}
}
