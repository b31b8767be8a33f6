package main

import (
	"context"
	"fmt"
	"io"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/client"
	"github.com/cambiumdb/cambium/engine/inspect"
)

func (a *app) onlineScanCommand() *cobra.Command {
	var l levelFlags
	var first, last, after string
	var limit int
	var keysOnly, count bool
	cmd := a.command("scan", "print the keys and values of a cluster",
		`Prints a line for each key, in the order of the ring: escaped key, tab, escaped value.
With --hex a line is hexkey hexvalue. Of concurrent values each has a line, with
its clocks. -o jsonl prints what kvctl db load reads, where no key has several.`, 0,
		func(ctx context.Context, _ []string) error {
			o := client.ScanOptions{Limit: limit, KeysOnly: keysOnly || count}
			var err error
			if o.Level, err = l.level(); err != nil {
				return err
			}
			if limit < 0 {
				return usagef("--limit %d: want 0 (all) or more", limit)
			}
			if o.First, err = parseToken("--first", first); err != nil {
				return err
			}
			if o.Last, err = parseToken("--last", last); err != nil {
				return err
			}
			if after != "" {
				if o.After, err = a.bytes("--after", after); err != nil {
					return err
				}
			}
			return a.online(ctx, func(c *client.Client) error { return a.scanOnline(ctx, c, o, count) })
		})
	a.hexFlag(cmd.Flags())
	l.bind(cmd, false)
	f := cmd.Flags()
	f.StringVar(&first, "first", "", "first token, 16 hexadecimal digits, as kvctl where prints them (default: the ring's first)")
	f.StringVar(&last, "last", "", "last token (default: the ring's last)")
	f.StringVar(&after, "after", "", "go on behind this key, the last that an earlier scan printed")
	f.IntVar(&limit, "limit", 0, "print at most this many keys (0: all)")
	f.BoolVar(&keysOnly, "keys-only", false, "print no values")
	f.BoolVar(&count, "count", false, "print only the number of keys")
	return cmd
}

func parseToken(flag, s string) (uint64, error) {
	if s == "" {
		return 0, nil
	}
	t, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		return 0, usagef("%s %q: want up to 16 hexadecimal digits", flag, s)
	}
	return t, nil
}

// scannedKey is a key without its value.
type scannedKey struct{ inspect.Key }

// WriteText writes the key.
func (k *scannedKey) WriteText(w io.Writer, s inspect.Style) { fmt.Fprintln(w, s.Bytes(k.Bytes())) }

func (a *app) scanOnline(ctx context.Context, c *client.Client, o client.ScanOptions, count bool) error {
	p := a.printer(true)
	if !count {
		p.Begin("items")
	}
	n, several := int64(0), 0
	err := c.Scan(ctx, o, func(i *client.Item) error {
		live := len(i.Live())
		if live == 0 && !o.KeysOnly { // it has expired since the node looked
			return nil
		}
		if live > 1 {
			several++
		}
		n++
		switch {
		case count:
			return nil
		case o.KeysOnly:
			return p.Item(&scannedKey{inspect.NewKey(i.Key)})
		}
		return p.Item(itemOf(i, false))
	})
	if several > 0 {
		fmt.Fprintf(a.stderr, "%d keys have concurrent values\n", several)
	}
	if count && err == nil {
		return p.Report(counted{n})
	}
	return p.Close(err)
}

// whereabouts is which nodes hold a key.
type whereabouts struct {
	inspect.Key
	Token     string   `json:"token"` // the top half of its place on the ring
	Owners    []string `json:"owners"`
	Fallbacks []string `json:"fallbacks"` // who stands in, nearest first
}

// WriteText writes what there is on a line each.
func (v *whereabouts) WriteText(w io.Writer, _ inspect.Style) {
	fmt.Fprintf(w, "token      %s\nowners     %s\nfallbacks  %s\n", v.Token, listed(v.Owners), listed(v.Fallbacks))
}

func (a *app) whereCommand() *cobra.Command {
	cmd := a.command("where KEY", "say which nodes of a cluster hold a key", "Prints the key's token, the nodes that hold it, and those that stand in for them.", 1,
		func(ctx context.Context, args []string) error {
			key, err := a.key(args[0])
			if err != nil {
				return err
			}
			return a.onlineCluster(ctx, func(c api.ClusterClient, node string) error {
				m, err := c.Where(ctx, &api.WhereRequest{Key: key})
				if err != nil {
					return called("where", node, err)
				}
				return a.printer(false).Report(&whereabouts{inspect.NewKey(key), fmt.Sprintf("%016x", m.GetToken()), namesOf(m.GetOwners()), namesOf(m.GetFallbacks())})
			})
		})
	a.hexFlag(cmd.Flags())
	return cmd
}

func namesOf(members []*api.Member) []string {
	names := []string{}
	for _, m := range members {
		names = append(names, m.GetName())
	}
	return names
}
