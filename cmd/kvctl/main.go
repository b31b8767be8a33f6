// Command kvctl looks into databases and their files and changes them from a shell, and asks
// clusters. The looking is package engine/inspect's, the storing package engine's, the asking
// package distrib/client's.
//
//	kvctl db load --db data packages.jsonl.zst
//	kvctl db put --db data user:1 Ada --ttl 30s
//	kvctl db scan --db data --from user: --limit 10 -o jsonl
//	kvctl sst dump data/000012.sst --entries
//	kvctl --endpoint 10.0.0.1:7400 get user:1
//
// Data goes to stdout, talk to stderr. Exit codes: 0 ok; 1 the key is not there, or the
// compare-and-swap lost; 2 usage: a flag, an argument, or a directory or file that is not what
// it should be; 3 unavailable: an I/O error, a full device, missing permission, an unsupported
// feature; 4 the outcome of a write is unknown; 5 corruption; 6 another process has the
// database open for writing; 130 interrupted.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	a := &app{stdout: os.Stdout, stderr: os.Stderr}
	code := a.run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
