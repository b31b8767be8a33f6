package demo

import (
	"context"
	"fmt"
	"strings"
	"time"

	ps "github.com/cambiumdb/cambium/internal/process"
)

// process is a kvnode that runs.
type process struct {
	*ps.Process
	ready chan ready // what it says when it serves
}

// ready is what a node prints when it serves.
type ready struct{ name, grpc, http string }

// parseReady reads "ready name=n1 grpc=127.0.0.1:7001 http=127.0.0.1:8001 cluster=ID".
func parseReady(line string) (r ready, ok bool) {
	words := strings.Fields(line)
	if len(words) == 0 || words[0] != "ready" {
		return r, false
	}
	for _, w := range words[1:] {
		switch name, value, _ := strings.Cut(w, "="); name {
		case "name":
			r.name = value
		case "grpc":
			r.grpc = value
		case "http":
			r.http = value
		}
	}
	return r, r.name != "" && r.grpc != "" && r.http != ""
}

// spawn starts a node. What it prints is added to the file log.
func spawn(s *ps.Spawner, log, executable string, args ...string) (*process, error) {
	says := make(chan ready, 1)
	p, err := s.Start(ps.Command{Path: executable, Args: args, Log: log, Line: func(line string) {
		if r, ok := parseReady(line); ok {
			select {
			case says <- r:
			default: // it has said so before
			}
		}
	}})
	if err != nil {
		return nil, err
	}
	return &process{p, says}, nil
}

// awaitReady returns when the node serves.
func (p *process) awaitReady(ctx context.Context) (ready, error) {
	select {
	case r := <-p.ready:
		return r, nil
	case <-p.Exited():
		return ready{}, fmt.Errorf("it ended: %s", p.State())
	case <-ctx.Done():
		return ready{}, fmt.Errorf("it is not ready yet: %w", context.Cause(ctx))
	}
}

// endPatience is how long a node may take to end in order.
const endPatience = 15 * time.Second
