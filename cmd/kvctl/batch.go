package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/cambiumdb/cambium/distrib/client"
	"github.com/cambiumdb/cambium/engine/inspect"
)

func (a *app) batchCommand() *cobra.Command {
	batch := a.group("batch", "read or store several keys of a cluster, with a status for each",
		"Nothing is promised across keys. The exit code is that of the worst: 4, 3, 2, 1, 0.")
	batch.AddCommand(a.batchGetCommand(), a.batchPutCommand())
	return batch
}

func (a *app) batchGetCommand() *cobra.Command {
	var l levelFlags
	cmd := a.command("get KEY..", "read keys",
		"Prints a line for each key: escaped key, tab, escaped value.", -1,
		func(ctx context.Context, args []string) error {
			keys := make([][]byte, len(args))
			for i, arg := range args {
				var err error
				if keys[i], err = a.key(arg); err != nil {
					return err
				}
			}
			level, err := l.level()
			if err != nil {
				return err
			}
			return a.online(ctx, func(c *client.Client) error {
				var worst worstError
				p := a.printer(true)
				p.Begin("items")
				for i, r := range c.BatchGet(ctx, keys, client.GetOptions{Level: level}) {
					v := &item{Key: inspect.NewKey(keys[i])}
					if r.Err != nil {
						v.Error = r.Err.Error()
						worst.add(r.Err)
					} else if v = itemOf(r.Item, false); !v.Found {
						worst.add(&statusError{code: exitNotFound, err: fmt.Errorf("get %q: not found", keys[i])})
					}
					if err := p.Item(v); err != nil {
						return err
					}
				}
				return errors.Join(p.Close(nil), worst.error())
			})
		})
	a.hexFlag(cmd.Flags())
	l.bind(cmd, false)
	return cmd
}

func (a *app) batchPutCommand() *cobra.Command {
	var w putFlags
	cmd := a.command("put KEY VALUE [KEY VALUE]..", "store values", "Stores each value as kvctl put does.", -2,
		func(ctx context.Context, args []string) error {
			if len(args)%2 != 0 {
				return usagef("got %d arguments, want a value for each key", len(args))
			}
			writes := make([]client.Write, len(args)/2)
			for i := range writes {
				key, value, err := a.pair(args[2*i], args[2*i+1])
				if err != nil {
					return err
				}
				o, err := a.putOptions(&w, key)
				if err != nil {
					return err
				}
				writes[i] = client.Write{Key: key, Value: value, Options: o}
			}
			return a.online(ctx, func(c *client.Client) error {
				var worst worstError
				p := a.printer(true)
				p.Begin("results")
				for i, r := range c.BatchPut(ctx, writes) {
					v := &acknowledged{Op: "put", Key: inspect.NewKey(writes[i].Key)}
					if r.Err != nil {
						v.Error = r.Err.Error()
						worst.add(r.Err)
					} else {
						v = acknowledgedOf("put", writes[i].Key, r.Put)
						a.remember(&w.memory, writes[i].Key, r.Put.Context)
					}
					if err := p.Item(v); err != nil {
						return err
					}
				}
				return errors.Join(p.Close(nil), worst.error())
			})
		})
	a.hexFlag(cmd.Flags())
	w.flags = cmd.Flags()
	w.levelFlags.bind(cmd, true)
	w.memory.bind(w.flags, false)
	w.flags.DurationVar(&w.ttl, "ttl", 0, "how long the values live, such as 30s or 24h (default: for ever)")
	return cmd
}

// worstError gathers errors of keys and keeps the worst.
type worstError struct {
	failed int
	worst  error
	code   int
	try    string
}

func (w *worstError) add(err error) {
	code, try := (&app{}).judge(err)
	if w.failed++; code > w.code {
		w.worst, w.code, w.try = err, code, try
	}
}

func (w *worstError) error() error {
	switch w.failed {
	case 0:
		return nil
	case 1:
		return w.worst
	}
	return &statusError{code: w.code, err: errors.New(strconv.Itoa(w.failed) + " keys failed, such as: " + w.worst.Error()), try: w.try}
}
