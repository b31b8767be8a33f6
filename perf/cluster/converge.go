package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/cambiumdb/cambium/distrib/api"
)

// convergePatience is how long nodes may take until they hold the same.
const convergePatience = 5 * time.Minute

// Recovery is what happened after the load of a step with chaos, from when all servers run again.
type Recovery struct {
	AllUp     time.Duration `json:"all_up_ns"`    // until each node took all others for up, and none was being refilled
	Drained   time.Duration `json:"drained_ns"`   // until no node kept a hint
	Converged time.Duration `json:"converged_ns"` // until no range was left to compare either
	MostHints uint64        `json:"most_hints"`   // bytes kept, all nodes together, at the most that was seen
	Lost      int64         `json:"lost"`         // keys of which afterwards an acknowledged version was not there
	Siblings  int64         `json:"siblings"`     // keys that afterwards have several values
}

// state is what nodes say of what they owe each other.
type state struct {
	down  int // pairs of nodes, one of which does not take the other for up
	empty int // nodes that are being refilled from the others, so that their reads do not count
	hints uint64
	dirty uint64 // slots
}

// awaitConvergence polls nodes until they owe each other nothing.
func awaitConvergence(ctx context.Context, addrs []string, r *Recovery) error {
	ctx, cancel := context.WithTimeout(ctx, convergePatience)
	defer cancel()
	begun := time.Now()
	var nodes []api.ClusterClient
	for _, addr := range addrs {
		conn, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		defer conn.Close()
		nodes = append(nodes, api.NewClusterClient(conn))
	}
	var last state
	for {
		now, err := ask(ctx, nodes)
		if err == nil {
			took := time.Since(begun)
			last = now
			r.MostHints = max(r.MostHints, now.hints)
			if r.AllUp == 0 && now.down+now.empty == 0 {
				r.AllUp = took
			}
			if r.Drained == 0 && now.down+now.empty == 0 && now.hints == 0 {
				r.Drained = took
			}
			if now == (state{}) {
				r.Converged = took
				return nil
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("the nodes have not converged in %s: %d pairs do not see each other, %d are being refilled, %d bytes of hints, %d ranges to compare (%v)",
					convergePatience, last.down, last.empty, last.hints, last.dirty, err)
			}
			return context.Cause(ctx)
		}
	}
}

// ask sums up what all nodes say.
func ask(ctx context.Context, nodes []api.ClusterClient) (s state, err error) {
	for _, n := range nodes {
		status, err := n.Status(ctx, &api.StatusRequest{})
		if err != nil {
			return s, err
		}
		for _, m := range status.GetMembers() {
			switch {
			case m.GetState() != "up":
				s.down++
			case m.GetReason() != "" && m.GetMember().GetId() == status.GetSelf().GetId():
				s.empty++
			}
		}
		for _, h := range status.GetHints() {
			s.hints += h.GetBytes()
		}
		s.dirty += status.GetDirtySlots()
	}
	return s, nil
}
