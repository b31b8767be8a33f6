// Package cluster measures a cluster under load, and beside it etcd and Redis: throughput, latency,
// outcomes, what each operation costs in CPU time, and what happens while nodes are killed. It is
// `kvbench cluster`.
//
//	c := cluster.Command{Config: cluster.DefaultConfig(), Stdout: os.Stdout, Stderr: os.Stderr, Args: os.Args}
//	c.Config.Nodes, c.Config.Peers = 3, []string{"etcd", "redis"}
//	err := c.Run(ctx)
//
// # Who does what
//
// For each round and engine the command starts the servers, processes of their own in a new
// directory (servers.go), and one more process that puts load on them (Serve). That is kvbench itself, or
// kvbench-peers for engines of others, so that the clients of all engines are measured alike and none
// is disturbed by what another has left in memory. The command tells it what to do, a Step
// at a time, and signals servers meanwhile as the plan of chaos says.
//
// # The load
//
// Keys are dealt to clients: each is written by one client only, one put after another, and each put has
// a higher version. So a get that begins when version 7 is acknowledged must find version 7 or a later
// one, among siblings perhaps; what it finds instead is stale. Gets draw from all keys. In an open loop
// each client begins its operations at intended moments, and latency counts from these.
//
// # Concurrency
//
// A Target is used by all clients at once. Everything else belongs to one goroutine.
package cluster
