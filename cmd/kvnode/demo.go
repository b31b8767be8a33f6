package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/cambiumdb/cambium/distrib/demo"
)

// demoError is a demo that has said what went wrong.
type demoError int

func (e demoError) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

func demoCommand() *cobra.Command {
	opts := demo.Options{Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr}
	var script string
	c := &cobra.Command{
		Use:   "demo",
		Short: "run a cluster to play with: a shell, a script or a guided tour",
		Long: `Runs nodes, each a process of its own, on free ports of the loopback interface, and
ends them when it ends itself. In a terminal it is a shell that writes and reads,
kills nodes and cuts the network; \help lists what it understands. With --exec it
carries out statements of that shell. Else it is a guided tour, which --tour asks for
in a terminal too.

  kvnode demo --exec 'put a 1; \kill 3; put a 2; \start 3; \wait; get a --at 3'

Exit codes of --exec: 0 ok; 1 the key is not there, or a compare-and-swap lost;
2 usage; 3 unavailable; 4 the outcome is unknown. 130: interrupted.`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if c.Flags().Changed("exec") {
				opts.Exec = &script
			}
			if opts.Executable, err = os.Executable(); err != nil {
				return err
			}
			if code := demo.Run(c.Context(), opts); code != 0 {
				return demoError(code)
			}
			return nil
		},
	}
	f := c.Flags()
	f.IntVar(&opts.Count, "nodes", 0, fmt.Sprintf("how many nodes, 1 to %d (default: as many as --dir holds, or 3)", demo.MaxNodes))
	f.StringVar(&opts.Dir, "dir", "", "where they keep their data and logs (default: a temporary directory, which is removed)")
	f.StringVar(&script, "exec", "", "carry out these statements, and stop at the first that fails")
	f.BoolVar(&opts.KeepGoing, "keep-going", false, "go on after a statement that fails")
	f.BoolVar(&opts.Tour, "tour", false, "go on a guided tour, and then on with the shell if this is a terminal")
	return c
}
