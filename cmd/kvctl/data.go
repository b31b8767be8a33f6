package main

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/cambiumdb/cambium/distrib/client"
	"github.com/cambiumdb/cambium/engine/inspect"
)

// memory is how a command uses the contexts that were remembered.
type memory struct {
	context   string // --context
	noContext bool
}

func (m *memory) bind(f *pflag.FlagSet, write bool) {
	f.BoolVar(&m.noContext, "no-context", false, "neither use nor remember what was read of the key")
	if write {
		f.StringVar(&m.context, "context", "", "what the writer has read, as get prints it with -o json, in place of what is remembered")
	}
}

// recall returns the context for a write of key.
func (a *app) recall(m *memory, key []byte) ([]byte, error) {
	if m.context != "" {
		token, err := base64.StdEncoding.DecodeString(m.context)
		if err != nil {
			return nil, usagef("--context %q: want base64, as get prints it with -o json", m.context)
		}
		return token, nil
	}
	if m.noContext {
		return nil, nil
	}
	kept, err := contextsOf(a.conn.endpoints)
	if err != nil {
		return nil, nil // remember has said so
	}
	return kept.get(key)
}

// remember keeps the context of key for its next write. That it cannot is worth a word, not an error.
func (a *app) remember(m *memory, key, token []byte) {
	if m.noContext {
		return
	}
	kept, err := contextsOf(a.conn.endpoints)
	if err == nil {
		err = kept.set(key, token)
	}
	if err != nil {
		fmt.Fprintf(a.stderr, "what was read is not remembered: %s\n", err)
	}
}

// traced says who took part, where --trace asks for it.
func (a *app) traced(trace bool, c *client.Client, key []byte, since time.Time, what string) {
	if trace {
		owners, _ := c.Where(key)
		fmt.Fprintf(a.stderr, "trace: %s; replicas %s; %s\n", what, listed(owners), time.Since(since).Round(10*time.Microsecond))
	}
}

func (a *app) onlineGetCommand() *cobra.Command {
	var l levelFlags
	var m memory
	var raw, repair, trace bool
	cmd := a.command("get KEY", "read a key of a cluster",
		`Prints the value as it is and a newline. Where values were written concurrently, each
is printed with its clocks: a put or del replaces them all. Exits with 1 where the
key is not there.`, 1,
		func(ctx context.Context, args []string) error {
			key, err := a.key(args[0])
			if err != nil {
				return err
			}
			level, err := l.level()
			if err != nil {
				return err
			}
			return a.online(ctx, func(c *client.Client) error {
				start := time.Now()
				got, err := c.Get(ctx, key, client.GetOptions{Level: level, Repair: repair})
				if err != nil {
					return err
				}
				a.remember(&m, key, got.Context)
				what := "answered by " + names(got.Answered)
				if got.Repaired {
					what += ", of which some lacked a version"
				}
				a.traced(trace, c, key, start, what)
				return a.printItem(args[0], got, raw)
			})
		})
	a.hexFlag(cmd.Flags())
	l.bind(cmd, false)
	m.bind(cmd.Flags(), false)
	cmd.Flags().BoolVar(&raw, "raw", false, "print exactly the bytes of the value, without a newline")
	cmd.Flags().BoolVar(&repair, "repair", false, "wait until nodes that lack a version have it")
	traceFlag(cmd.Flags(), &trace)
	return cmd
}

func traceFlag(f *pflag.FlagSet, to *bool) {
	f.BoolVar(to, "trace", false, "say on stderr which nodes took part, and how long it took")
}

// printItem prints what a get has found; arg is the key as it was typed.
func (a *app) printItem(arg string, got *client.Item, raw bool) error {
	live := got.Live()
	if a.format != inspect.Text && !raw {
		if err := a.printer(true).Report(itemOf(got, true)); err != nil {
			return err
		}
	}
	switch {
	case len(live) == 0:
		return &statusError{code: exitNotFound, err: fmt.Errorf("get %q: not found", got.Key)}
	case a.format != inspect.Text && !raw:
		return nil
	case len(live) == 1:
		return a.printValue(got.Key, live[0].Data, raw)
	case raw:
		return &statusError{code: exitUsage, err: fmt.Errorf("get %q: there are %d concurrent values, --raw prints one", got.Key, len(live)), try: "kvctl get " + arg}
	}
	now := time.Now().UnixMilli()
	for _, s := range got.Siblings {
		siblingOf(s, now).WriteText(a.stdout, inspect.Style{Hex: a.hex, Full: true})
	}
	fmt.Fprintf(a.stderr, "%d concurrent values: the next kvctl put or del of the key replaces them all\n", len(live))
	return nil
}

// putFlags are common to put and del.
type putFlags struct {
	levelFlags
	memory
	op    string
	ttl   time.Duration
	trace bool
	flags *pflag.FlagSet // tells a --ttl 0 from none
}

func (w *putFlags) bind(cmd *cobra.Command, ttl bool) {
	w.flags = cmd.Flags()
	w.levelFlags.bind(cmd, true)
	w.memory.bind(w.flags, true)
	opFlag(w.flags, &w.op, "name of the operation, to try again one whose outcome is unknown: it is not done twice")
	traceFlag(w.flags, &w.trace)
	if ttl {
		w.flags.DurationVar(&w.ttl, "ttl", 0, "how long the value lives, such as 30s or 24h (default: for ever)")
	}
}

// putOptions returns those of a put of key.
func (a *app) putOptions(w *putFlags, key []byte) (o client.PutOptions, err error) {
	if o.Level, err = w.level(); err != nil {
		return o, err
	}
	if w.flags.Changed("ttl") && w.ttl <= 0 {
		return o, usagef("--ttl %v: want a positive duration; without --ttl the value stays", w.ttl)
	}
	o.TTL = w.ttl
	if o.Op, err = parseOp(w.op); err != nil {
		return o, err
	}
	o.Retried = w.op != ""
	o.Context, err = a.recall(&w.memory, key)
	return o, err
}

func (a *app) onlinePutCommand() *cobra.Command {
	var w putFlags
	cmd := a.command("put KEY VALUE", "store a value in a cluster",
		`Stores a value in place of what the last kvctl get or put of the key has seen. What
others have written since stays beside it, as a concurrent value.`, 2,
		func(ctx context.Context, args []string) error {
			key, value, err := a.pair(args[0], args[1])
			if err != nil {
				return err
			}
			o, err := a.putOptions(&w, key)
			if err != nil {
				return err
			}
			return a.writeOnline(ctx, &w, "put", key, func(c *client.Client) (*client.Put, error) { return c.Put(ctx, key, value, o) })
		})
	a.hexFlag(cmd.Flags())
	w.bind(cmd, true)
	return cmd
}

func (a *app) onlineDelCommand() *cobra.Command {
	var w putFlags
	cmd := a.command("del KEY", "remove a key of a cluster",
		"Removes what the last kvctl get or put of the key has seen. What others have written\nsince stays. Removing what is not there is no error.", 1,
		func(ctx context.Context, args []string) error {
			key, err := a.key(args[0])
			if err != nil {
				return err
			}
			o, err := a.putOptions(&w, key)
			if err != nil {
				return err
			}
			return a.writeOnline(ctx, &w, "del", key, func(c *client.Client) (*client.Put, error) {
				return c.Delete(ctx, key, client.DeleteOptions{Level: o.Level, Context: o.Context, Op: o.Op, Retried: o.Retried})
			})
		})
	a.hexFlag(cmd.Flags())
	w.bind(cmd, false)
	return cmd
}

// writeOnline carries out a write and prints what came of it.
func (a *app) writeOnline(ctx context.Context, w *putFlags, op string, key []byte, do func(c *client.Client) (*client.Put, error)) error {
	return a.online(ctx, func(c *client.Client) error {
		start := time.Now()
		p, err := do(c)
		if err != nil {
			return err
		}
		a.remember(&w.memory, key, p.Context)
		a.traced(w.trace, c, key, start, fmt.Sprintf("stored by %s; op id %x", names(p.Acknowledged), p.OpID[:]))
		if p.Siblings > 1 {
			fmt.Fprintf(a.stderr, "%d concurrent values: kvctl get shows them, and a put after it replaces them all\n", p.Siblings)
		}
		return a.printer(false).Report(acknowledgedOf(op, key, p))
	})
}

func (a *app) onlineCasCommand() *cobra.Command {
	var old, op string
	var absent bool
	var ttl time.Duration
	cmd := a.command("cas KEY NEW (--old OLD | --absent)", "store a value in a cluster if the present one is as expected",
		"Sets KEY to NEW if its value is OLD, or if it has none with --absent. Exits with 1\nwhere it is something else. It is linearizable; clusters do not serve it yet, and say so.", 2,
		func(ctx context.Context, args []string) error {
			key, value, err := a.pair(args[0], args[1])
			if err != nil {
				return err
			}
			expected := client.Expected{Absent: absent}
			if !absent {
				if expected.Value, err = a.bytes("--old", old); err != nil {
					return err
				}
			}
			id, err := parseOp(op)
			if err != nil {
				return err
			}
			return a.online(ctx, func(c *client.Client) error {
				s, err := c.CompareAndSwap(ctx, key, expected, value, client.SwapOptions{TTL: ttl, Op: id})
				if err != nil {
					return err
				}
				if err := a.printer(false).Report(&written{"cas", inspect.NewKey(key), s.Swapped}); err != nil || s.Swapped {
					return err
				}
				return &statusError{code: exitNotFound, err: fmt.Errorf("cas %q: lost: the present value is not as expected", key), try: "kvctl get " + args[0]}
			})
		})
	a.hexFlag(cmd.Flags())
	opFlag(cmd.Flags(), &op, "name of the operation, to try again one whose outcome is unknown: it is not done twice")
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "how long the value lives, such as 30s or 24h (default: for ever)")
	cmd.Flags().StringVar(&old, "old", "", "the value that must be there; an empty one is a value")
	cmd.Flags().BoolVar(&absent, "absent", false, "the key must not be there")
	cmd.MarkFlagsOneRequired("old", "absent")
	cmd.MarkFlagsMutuallyExclusive("old", "absent")
	return cmd
}

// fate is what became of an operation.
type fate struct {
	inspect.Key
	OpID     string  `json:"op_id"`
	Fate     string  `json:"fate"` // HAPPENED, NOT_SEEN, OVERTAKEN
	Answered []place `json:"answered"`
}

// WriteText writes the fate.
func (f *fate) WriteText(w io.Writer, _ inspect.Style) { fmt.Fprintln(w, f.Fate) }

func (a *app) resolveCommand() *cobra.Command {
	var op string
	cmd := a.command("resolve KEY --op ID", "find out what became of a write whose outcome was unknown",
		`Prints HAPPENED: it is there, or a write that has seen it; NOT_SEEN: no node that
answered knows it, it may still come (exit code 1); or OVERTAKEN: too much has been
written since to tell (exit code 4).`, 1,
		func(ctx context.Context, args []string) error {
			key, err := a.key(args[0])
			if err != nil {
				return err
			}
			id, err := parseOp(op)
			if err != nil {
				return err
			}
			return a.online(ctx, func(c *client.Client) error {
				f, answered, err := c.Resolve(ctx, key, id, client.ResolveOptions{})
				if err != nil {
					return err
				}
				err = a.printer(false).Report(&fate{inspect.NewKey(key), fmt.Sprintf("%x", id[:]), f.String(), placesOf(answered)})
				switch {
				case err != nil || f == client.Happened:
					return err
				case f == client.NotSeen:
					return &statusError{code: exitNotFound, err: fmt.Errorf("resolve %q: no node that answered knows it; it may still come", key),
						try: fmt.Sprintf("the write again with --op %x: it is not done twice", id[:])}
				}
				return &statusError{code: exitUnknown, err: errors.New("too much has been written since to tell"), try: "kvctl get " + args[0]}
			})
		})
	a.hexFlag(cmd.Flags())
	opFlag(cmd.Flags(), &op, "name of the operation, as the failed write said it")
	_ = cmd.MarkFlagRequired("op")
	return cmd
}
