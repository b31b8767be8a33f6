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
				a.strays(got.Strays)
				if got.Linearizable && level.Consistency != client.Linearizable {
					fmt.Fprintf(a.stderr, "%s is linearizable: what was written last may be missing here, --consistency linearizable shows it\n", args[0])
				}
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

// strays says that values came to light which were written by nodes that did not know the key to be linearizable.
func (a *app) strays(n int) {
	if n > 0 {
		fmt.Fprintf(a.stderr, "%d values came to light that nodes had stored which did not know the key to be linearizable\n", n)
	}
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
	for _, s := range siblingsOf(got) {
		s.WriteText(a.stdout, inspect.Style{Hex: a.hex, Full: true})
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
others have written since stays beside it, as a concurrent value. With --consistency
linearizable it is not stored then, and the exit code is 1; where nothing of the key is
remembered, it replaces whatever is there.`, 2,
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
		`Removes what the last kvctl get or put of the key has seen. What others have written
since stays. With --consistency linearizable nothing is removed then, and the exit code
is 1. Removing what is not there is no error.`, 1,
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
		a.strays(p.Strays)
		if p.Siblings > 1 {
			fmt.Fprintf(a.stderr, "%d concurrent values: kvctl get shows them, and a put after it replaces them all\n", p.Siblings)
		}
		return a.printer(false).Report(acknowledgedOf(op, key, p))
	})
}

// casFlags are what a compare-and-swap expects, and what it does then.
type casFlags struct {
	old, context, op          string
	absent, remove, noContext bool
	ttl                       time.Duration
}

// expected is what it expects.
func (a *app) expected(w *casFlags) (e client.Expected, err error) {
	switch {
	case w.absent:
		e.Absent = true
	case w.context != "":
		e.Context, err = a.recall(&memory{context: w.context}, nil)
	default:
		e.Value, err = a.bytes("--old", w.old)
	}
	return e, err
}

func (a *app) onlineCasCommand() *cobra.Command {
	var w casFlags
	cmd := a.command("cas KEY (NEW | --delete) (--old OLD | --absent | --context T)", "change a key of a cluster if it is as expected",
		`Sets KEY to NEW, or removes it with --delete, if its value is OLD; if it has none, with
--absent; or if nobody has written since a get that gave the context T. Else it exits with
1 and says what is there. It is linearizable, and makes the key so.`, -1,
		func(ctx context.Context, args []string) error {
			if len(args) == 2 == w.remove || len(args) > 2 {
				return usagef("got %d arguments, want KEY NEW, or KEY with --delete", len(args))
			}
			key, err := a.key(args[0])
			if err != nil {
				return err
			}
			expected, err := a.expected(&w)
			if err != nil {
				return err
			}
			o := client.SwapOptions{TTL: w.ttl, Retried: w.op != ""}
			if o.Op, err = parseOp(w.op); err != nil {
				return err
			}
			do := func(c *client.Client) (*client.Swap, error) { return c.DeleteIf(ctx, key, expected, o) }
			if !w.remove {
				value, err := a.bytes("NEW", args[1])
				if err != nil {
					return err
				}
				do = func(c *client.Client) (*client.Swap, error) { return c.CompareAndSwap(ctx, key, expected, value, o) }
			}
			return a.online(ctx, func(c *client.Client) error {
				s, err := do(c)
				if err != nil {
					return err
				}
				a.remember(&memory{noContext: w.noContext}, key, s.Current.Context)
				return a.printSwap(args[0], s)
			})
		})
	a.hexFlag(cmd.Flags())
	f := cmd.Flags()
	opFlag(f, &w.op, "name of the operation, to try again one whose outcome is unknown: it is not done twice")
	f.DurationVar(&w.ttl, "ttl", 0, "how long the value lives, such as 30s or 24h (default: for ever)")
	f.StringVar(&w.old, "old", "", "the value that must be there; an empty one is a value")
	f.BoolVar(&w.absent, "absent", false, "the key must not be there")
	f.StringVar(&w.context, "context", "", "what was read, as get prints it with -o json: nobody must have written since")
	f.BoolVar(&w.remove, "delete", false, "remove the key, in place of storing a value")
	f.BoolVar(&w.noContext, "no-context", false, "do not remember what is there for the next put")
	cmd.MarkFlagsOneRequired("old", "absent", "context")
	cmd.MarkFlagsMutuallyExclusive("old", "absent", "context")
	cmd.MarkFlagsMutuallyExclusive("delete", "ttl")
	return cmd
}

// printSwap prints what came of a compare-and-swap; arg is the key as it was typed.
func (a *app) printSwap(arg string, s *client.Swap) error {
	a.strays(s.Current.Strays)
	r := &swapped{written: written{"cas", inspect.NewKey(s.Current.Key), s.Swapped}, Current: itemOf(s.Current, true), OpID: fmt.Sprintf("%x", s.OpID[:])}
	if !s.Swapped {
		r.Mismatch = s.Mismatch.Error()
	}
	if err := a.printer(false).Report(r); err != nil || s.Swapped {
		return err
	}
	return &statusError{code: exitNotFound, err: fmt.Errorf("cas %q: lost: %s", s.Current.Key, present(s.Current)), try: "kvctl get " + arg + " --consistency linearizable"}
}

// present says in short what is there.
func present(i *client.Item) string {
	const shown = 64
	switch live := i.Live(); {
	case len(live) == 0:
		return "it is not there"
	case len(live) > 1:
		return fmt.Sprintf("it has %d concurrent values", len(live))
	case len(live[0].Data) > shown:
		return fmt.Sprintf("its value is %q..", live[0].Data[:shown])
	default:
		return fmt.Sprintf("its value is %q", live[0].Data)
	}
}

// fate is what became of an operation.
type fate struct {
	inspect.Key
	OpID     string  `json:"op_id"`
	Fate     string  `json:"fate"` // HAPPENED, NOT_HAPPENED, NOT_SEEN, OVERTAKEN
	Answered []place `json:"answered"`
}

// WriteText writes the fate.
func (f *fate) WriteText(w io.Writer, _ inspect.Style) { fmt.Fprintln(w, f.Fate) }

func (a *app) resolveCommand() *cobra.Command {
	var op, consistency string
	cmd := a.command("resolve KEY --op ID", "find out what became of a write whose outcome was unknown",
		`Prints HAPPENED: it is there, or a write that has seen it; NOT_HAPPENED: it is not there
and never will be (exit code 1); NOT_SEEN: no node that answered knows it, it may still
come (exit code 1); or OVERTAKEN: too much has been written since to tell (exit code 4).
NOT_HAPPENED is said of linearizable keys. Of a write that was linearizable say so, with
--consistency linearizable.`, 1,
		func(ctx context.Context, args []string) error {
			key, err := a.key(args[0])
			if err != nil {
				return err
			}
			id, err := parseOp(op)
			if err != nil {
				return err
			}
			level, err := client.ParseConsistency(consistency)
			if err != nil {
				return usagef("--%w", err)
			}
			return a.online(ctx, func(c *client.Client) error {
				f, answered, err := c.Resolve(ctx, key, id, client.ResolveOptions{Linearizable: level == client.Linearizable})
				if err != nil {
					return err
				}
				err = a.printer(false).Report(&fate{inspect.NewKey(key), fmt.Sprintf("%x", id[:]), f.String(), placesOf(answered)})
				switch {
				case err != nil || f == client.Happened:
					return err
				case f == client.NotHappened:
					return &statusError{code: exitNotFound, err: fmt.Errorf("resolve %q: it did not happen, and never will", key), try: "the write again, with a new --op or none"}
				case f == client.NotSeen:
					return &statusError{code: exitNotFound, err: fmt.Errorf("resolve %q: no node that answered knows it; it may still come", key),
						try: fmt.Sprintf("the write again with --op %x: it is not done twice", id[:])}
				}
				return &statusError{code: exitUnknown, err: errors.New("too much has been written since to tell"), try: "kvctl get " + args[0]}
			})
		})
	a.hexFlag(cmd.Flags())
	opFlag(cmd.Flags(), &op, "name of the operation, as the failed write said it")
	cmd.Flags().StringVar(&consistency, "consistency", client.Quorum.String(), "that of the write: of a linearizable one the key's register is asked")
	_ = cmd.MarkFlagRequired("op")
	return cmd
}
