package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cambiumdb/cambium/distrib/certs"
	"github.com/cambiumdb/cambium/engine/inspect"
)

// certificate is one for people.
type certificate struct{ certs.Info }

// WriteText writes what the certificate says.
func (c *certificate) WriteText(w io.Writer, _ inspect.Style) {
	fmt.Fprintf(w, "%s: %s %s\n", c.File, c.Role, c.Name)
	if len(c.Hosts) > 0 {
		fmt.Fprintf(w, "  hosts   %s\n", strings.Join(c.Hosts, ", "))
	}
	fmt.Fprintf(w, "  issuer  %s\n  serial  %s\n", c.Issuer, c.Serial)
	fmt.Fprintf(w, "  valid   %s to %s\n", c.From.Format(time.DateTime), c.Until.Format(time.DateTime))
	if c.Problem != "" {
		fmt.Fprintf(w, "  refused by all: %s\n", c.Problem)
	}
}

// created is a certificate that was made.
type created struct {
	Op string `json:"op"`
	certificate
	Key string `json:"key"` // the file of its private key
}

// WriteText writes the names of the files, and what the certificate says.
func (c *created) WriteText(w io.Writer, s inspect.Style) {
	c.certificate.WriteText(w, s)
	fmt.Fprintf(w, "%s: its private key\n", c.Key)
}

func (a *app) certCommand() *cobra.Command {
	group := a.group("cert", "make certificates for nodes and clients, and look into them",
		"One certificate authority (CA) stands for a cluster: who has a certificate of it may come in.\nIts key, ca.key, belongs on no node. No command replaces a file.")
	group.AddCommand(a.createCACommand(), a.createNodeCommand(), a.createClientCommand(), a.inspectCertCommand())
	return group
}

func (a *app) createCACommand() *cobra.Command {
	var o certs.Options
	cmd := a.command("create-ca", "make the CA of a cluster: ca.crt and ca.key", "", 0, func(context.Context, []string) error {
		return a.created("create-ca")(certs.CreateCA(o))
	})
	caFlags(cmd, &o, certs.ValidCA)
	return cmd
}

func (a *app) createNodeCommand() *cobra.Command {
	var o certs.Options
	var hosts []string
	cmd := a.command("create-node NAME", "make the certificate of a node: node-NAME.crt and node-NAME.key",
		"NAME is what kvnode start --name says. The hosts are all under which clients and other nodes\nreach the node: IP addresses and names, without ports.", 1, func(_ context.Context, args []string) error {
			return a.created("create-node")(certs.CreateNode(o, args[0], hosts))
		})
	leafFlags(cmd, &o)
	cmd.Flags().StringSliceVar(&hosts, "host", nil, "IP address or name under which the node is reached; several with commas")
	_ = cmd.MarkFlagRequired("host")
	return cmd
}

func (a *app) createClientCommand() *cobra.Command {
	var o certs.Options
	cmd := a.command("create-client NAME", "make the certificate of a client: client-NAME.crt and client-NAME.key",
		"A client reads, writes and administers. It cannot pass for a node.", 1, func(_ context.Context, args []string) error {
			return a.created("create-client")(certs.CreateClient(o, args[0]))
		})
	leafFlags(cmd, &o)
	return cmd
}

func (a *app) inspectCertCommand() *cobra.Command {
	cmd := a.command("inspect FILE...", "print what certificates say", "Exits with 2 where one of them is refused by all, as one that has expired.", -1,
		func(_ context.Context, args []string) error {
			p := a.printer(false)
			p.Begin("certificates")
			var refused error
			for _, file := range args {
				infos, err := certs.Inspect(file, time.Now())
				if err != nil {
					return p.Close(certError(err))
				}
				for _, info := range infos {
					if err := p.Item(&certificate{info}); err != nil {
						return err
					}
					if info.Problem != "" {
						refused = usagef("%s: %s %s %s", info.File, info.Role, info.Name, info.Problem)
					}
				}
			}
			p.End()
			return p.Close(refused)
		})
	cmd.ValidArgsFunction = nil
	return cmd
}

func caFlags(cmd *cobra.Command, o *certs.Options, valid time.Duration) *pflag.FlagSet {
	f := cmd.Flags()
	f.StringVar(&o.CA, "ca-dir", "", "directory of ca.crt and ca.key")
	f.DurationVar(&o.Valid, "valid", valid, "how long the certificate is valid")
	_ = cmd.MarkFlagRequired("ca-dir")
	_ = cmd.MarkFlagDirname("ca-dir")
	return f
}

func leafFlags(cmd *cobra.Command, o *certs.Options) {
	caFlags(cmd, o, certs.ValidLeaf).StringVar(&o.Out, "out", "", "directory for the files, if not that of the CA")
	_ = cmd.MarkFlagDirname("out")
}

// created prints the result of making a certificate.
func (a *app) created(op string) func(certs.Pair, error) error {
	return func(pair certs.Pair, err error) error {
		if err != nil {
			return certError(err)
		}
		infos, err := certs.Inspect(pair.Cert, time.Now())
		if err != nil {
			return err
		}
		return a.printer(false).Report(&created{Op: op, certificate: certificate{infos[0]}, Key: pair.Key})
	}
}

// certError gives an error its exit code: what is not the device's doing is usage.
func certError(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return &statusError{code: exitUsage, err: err}
}
