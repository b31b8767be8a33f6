package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/certs"
	"github.com/cambiumdb/cambium/distrib/client"
)

// connection is what the commands that ask a cluster have in common.
type connection struct {
	endpoints     []string
	ca, cert, key string
	timeout       time.Duration
}

func (c *connection) bind(f *pflag.FlagSet) {
	f.StringSliceVar(&c.endpoints, "endpoint", nil, "nodes of the cluster to ask, host:port; one that answers names the others")
	f.StringVar(&c.ca, "ca", "", "certificate of the cluster's CA; without it nothing is encrypted")
	f.StringVar(&c.cert, "cert", "", "certificate to show to nodes")
	f.StringVar(&c.key, "key", "", "private key of --cert")
	f.DurationVar(&c.timeout, "timeout", 5*time.Second, "how long an operation of a cluster may take")
}

// credentials returns those of TLS, or nil for none.
func (c *connection) credentials() (credentials.TransportCredentials, error) {
	if c.ca == "" && c.cert == "" && c.key == "" {
		return nil, nil
	}
	if c.ca == "" || c.cert == "" || c.key == "" {
		return nil, usagef("--ca, --cert and --key belong together: kvctl cert create-client makes the files")
	}
	security, err := certs.Load(certs.Files{CA: c.ca, Cert: c.cert, Key: c.key})
	if err != nil {
		return nil, usagef("%w", err)
	}
	return security.Client(), nil
}

// online connects to the cluster and hands the client to do.
func (a *app) online(ctx context.Context, do func(c *client.Client) error) error {
	if len(a.conn.endpoints) == 0 {
		return usagef("--endpoint is missing: want host:port of a node, or several with commas")
	}
	if a.conn.timeout <= 0 {
		return usagef("--timeout %s: want more than 0", a.conn.timeout)
	}
	for _, e := range a.conn.endpoints {
		if host, port, err := net.SplitHostPort(e); err != nil || host == "" || port == "" {
			return usagef("--endpoint %q: want host:port of a node", e)
		}
	}
	creds, err := a.conn.credentials()
	if err != nil {
		return err
	}
	c, err := client.Open(ctx, client.Options{Endpoints: a.conn.endpoints, Credentials: creds, Timeout: a.conn.timeout})
	if err != nil {
		return &statusError{code: exitUnavailable, err: err, try: "is the cluster running, and --endpoint the gRPC address of one of its nodes?"}
	}
	defer c.Close()
	return do(c)
}

// levelFlags say how many nodes must answer.
type levelFlags struct {
	consistency string
	nodes       int
	strict      bool
}

// bind adds the flags; of reads or of writes.
func (l *levelFlags) bind(cmd *cobra.Command, write bool) {
	f := cmd.Flags()
	f.StringVar(&l.consistency, "consistency", client.Quorum.String(), "how many of the key's N nodes must answer: one, quorum, all, linearizable")
	if write {
		f.IntVarP(&l.nodes, "write", "w", 0, "how many nodes must have stored it, in place of --consistency")
		cmd.MarkFlagsMutuallyExclusive("write", "consistency")
	} else {
		f.IntVarP(&l.nodes, "read", "r", 0, "how many nodes must answer, in place of --consistency")
		cmd.MarkFlagsMutuallyExclusive("read", "consistency")
	}
	f.BoolVar(&l.strict, "strict", false, "only the key's own nodes count; else the next ones stand in for those that do not answer")
	_ = cmd.RegisterFlagCompletionFunc("consistency", cobra.FixedCompletions([]string{"one", "quorum", "all", "linearizable"}, cobra.ShellCompDirectiveNoFileComp))
}

func (l *levelFlags) level() (client.Level, error) {
	c, err := client.ParseConsistency(l.consistency)
	if err != nil {
		return client.Level{}, usagef("--%w", err)
	}
	if l.nodes < 0 {
		return client.Level{}, usagef("%d nodes with -r or -w: want 1 to N", l.nodes)
	}
	return client.Level{Consistency: c, Nodes: l.nodes, Strict: l.strict}, nil
}

func opFlag(f *pflag.FlagSet, to *string, what string) { f.StringVar(to, "op", "", what) }

// parseOp reads the name of an operation: 32 hexadecimal digits. An empty one is zero.
func parseOp(s string) (op distrib.OpID, err error) {
	if s == "" {
		return op, nil
	}
	if b, err := hex.DecodeString(s); err != nil || len(b) != len(op) {
		return op, usagef("--op %q: want %d hexadecimal digits, as a put prints with -o json", s, 2*len(op))
	} else {
		copy(op[:], b)
	}
	return op, nil
}

// judgeOnline returns the exit code of an error of a cluster, and what to try; code 0: it is none.
func judgeOnline(err error) (code int, try string) {
	var e *client.Error
	if errors.As(err, &e) {
		try = e.Try
		switch {
		case e.Outcome == client.Unknown:
			code = exitUnknown
			if !strings.Contains(try, "kvctl") {
				way := ""
				if e.Linearizable {
					way = " --consistency linearizable"
				}
				try = fmt.Sprintf("kvctl resolve %q --op %x%s tells whether it happened; with the same --op it can be written again", e.Key, e.OpID[:], way)
			}
		case errors.Is(e, client.ErrMismatch):
			code = exitNotFound
		case errors.Is(e, client.ErrInvalid):
			code = exitUsage
		default:
			code = exitUnavailable
		}
		return code, try
	}
	var s interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &s) {
		return exitOK, ""
	}
	switch s.GRPCStatus().Code() {
	case codes.InvalidArgument, codes.NotFound, codes.FailedPrecondition, codes.AlreadyExists, codes.OutOfRange:
		return exitUsage, ""
	}
	return exitUnavailable, "kvctl cluster status"
}

// called names the call that failed, without what is only of gRPC.
func called(what, node string, err error) error {
	if err == nil {
		return nil
	}
	return &callError{fmt.Sprintf("%s: node %s: %s", what, node, client.Plain(err)), err}
}

type callError struct {
	message string
	err     error
}

func (e *callError) Error() string { return e.message }
func (e *callError) Unwrap() error { return e.err }
