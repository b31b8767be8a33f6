// Command etcd-peer is an etcd server as it is configured by default, with Go's own package of it:
// etcd's program cannot be installed by version. kvbench cluster starts members of it.
//
//	etcd-peer --name n1 --dir D --client 127.0.0.1:2379 --peer 127.0.0.1:2380 --cluster n1=http://127.0.0.1:2380,..
//
// It prints "ready" when it serves and ends with SIGTERM. Exit codes: 0 ok, 1 that failed, 2 usage.
package main

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"os"
	"os/signal"
	"syscall"

	"go.etcd.io/etcd/server/v3/embed"
)

func main() {
	cfg := embed.NewConfig()
	flag.StringVar(&cfg.Name, "name", "", "name of the member")
	flag.StringVar(&cfg.Dir, "dir", "", "directory of its data")
	client := flag.String("client", "", "host:port of clients")
	peer := flag.String("peer", "", "host:port of the other members")
	flag.StringVar(&cfg.InitialCluster, "cluster", "", "all members, NAME=URL of its peer port each")
	flag.Parse()
	if cfg.Name == "" || cfg.Dir == "" || *client == "" || *peer == "" || flag.NArg() > 0 {
		flag.Usage()
		os.Exit(2)
	}
	at := func(addr string) []url.URL { return []url.URL{{Scheme: "http", Host: addr}} }
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = at(*client), at(*client)
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = at(*peer), at(*peer)
	cfg.LogLevel = "warn"
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, cfg); err != nil {
		fmt.Fprintln(os.Stderr, "etcd-peer:", err)
		os.Exit(1)
	}
}

// serve runs the member until ctx ends.
func serve(ctx context.Context, cfg *embed.Config) error {
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		return err
	}
	defer e.Close()
	select {
	case <-e.Server.ReadyNotify():
	case err := <-e.Err():
		return err
	case <-ctx.Done():
		return nil
	}
	fmt.Println("ready name=" + cfg.Name)
	select {
	case err := <-e.Err():
		return err
	case <-ctx.Done():
		return nil
	}
}
