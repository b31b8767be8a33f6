package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/internal/process"
)

// Outage is a time without the metadata.
type Outage struct {
	Name      string // for people
	Stop      func() error
	Start     func() error
	Faults    []Fault // while it lasts
	Lasts     time.Duration
	AllAtOnce bool // at its end all nodes are killed and started again: requests fail then
}

// refusalPatience is how long a change of the topology may take to be refused.
const refusalPatience = 20 * time.Second

// RunOutages is Run with times without the metadata, which o.Etcd names.
func RunOutages(ctx context.Context, o Options, outages []Outage) (*Report, error) {
	return o.run(ctx, func(ctx context.Context, r *run) error {
		for _, outage := range outages {
			if err := r.outage(ctx, outage); err != nil {
				return fmt.Errorf("metadata %s: %w", outage.Name, err)
			}
			r.calm(ctx, time.Second)
		}
		return nil
	})
}

// outage stops the metadata, has nodes fail, and starts it again.
func (r *run) outage(ctx context.Context, o Outage) error {
	w := Window{Kind: "metadata " + o.Name, From: time.Since(r.load.began)}
	w.Name = w.Kind
	ends := time.Now().Add(o.Lasts)
	if err := o.Stop(); err != nil {
		return err
	}
	err := r.without(ctx, o, ends)
	if err = errors.Join(err, o.Start()); err != nil {
		return err
	}
	w.To = time.Since(r.load.began)
	r.report.Windows = append(r.report.Windows, w)
	began := time.Now()
	if err := r.patiently(ctx, r.reachable); err != nil {
		return fmt.Errorf("afterwards: %w", err)
	}
	r.Logf("all nodes reach it %.1f s after the metadata is back", time.Since(began).Seconds())
	return nil
}

// without is what happens while there is no metadata.
func (r *run) without(ctx context.Context, o Outage, ends time.Time) error {
	if err := r.refused(ctx, 0); err != nil {
		return err
	}
	if err := r.notLetIn(ctx); err != nil {
		return err
	}
	for _, f := range o.Faults {
		if err := r.fault(ctx, f, f.String()+", no metadata"); err != nil {
			return err
		}
		r.calm(ctx, f.Calm)
	}
	if o.AllAtOnce {
		if err := r.allAtOnce(ctx); err != nil {
			return err
		}
	}
	if sleep(ctx, time.Until(ends)); o.Lasts == 0 {
		return nil
	}
	return r.refused(ctx, len(r.cluster.nodes)-1)
}

// refused wants a node to refuse a change, and notes what it says.
func (r *run) refused(ctx context.Context, node int) error {
	ctx, cancel := context.WithTimeout(ctx, refusalPatience)
	defer cancel()
	n := r.cluster.nodes[node]
	cluster := api.NewClusterClient(n.conn)
	plan, err := cluster.Plan(ctx, &api.PlanRequest{Changes: []*api.Change{{Kind: "weight", Node: "n1", Weight: 2}}})
	if err == nil { // from what the node remembers
		_, err = cluster.Commit(ctx, &api.CommitRequest{Id: plan.Id})
	}
	if status.Code(err) != codes.Unavailable || ctx.Err() != nil {
		return fmt.Errorf("%s does not refuse a change as it should: %v", n.name, err)
	}
	r.refusal(status.Convert(err).Message())
	return nil
}

func (r *run) refusal(said string) {
	if !slices.Contains(r.report.Refusals, said) {
		r.report.Refusals = append(r.report.Refusals, said)
	}
}

// notLetIn wants a new node to end, and notes what it says.
func (r *run) notLetIn(ctx context.Context) error {
	err := r.cluster.add(ctx)
	last := len(r.cluster.nodes) - 1
	n := r.cluster.nodes[last]
	r.cluster.nodes = r.cluster.nodes[:last]
	if err == nil {
		n.process.Kill()
		return errors.Join(fmt.Errorf("%s was let in", n.name), n.conn.Close())
	}
	if n.process == nil {
		return err
	}
	running := n.process.Running()
	n.process.Kill()
	if running {
		return err
	}
	said := process.Tail(n.log)
	r.refusal(strings.TrimSpace(said[strings.LastIndexByte(said, '\n')+1:]))
	return nil
}

// allAtOnce kills all nodes and starts them again: each has nothing but the ring on its disk.
func (r *run) allAtOnce(ctx context.Context) error {
	w := Window{Kind: allKilled, Name: "all nodes killed, no metadata", From: time.Since(r.load.began)}
	for _, n := range r.cluster.nodes {
		if err := n.process.Signal(syscall.SIGKILL); err != nil {
			return err
		}
	}
	errs := make([]error, len(r.cluster.nodes))
	var all sync.WaitGroup
	for i, n := range r.cluster.nodes {
		all.Go(func() {
			<-n.process.Exited()
			errs[i] = r.cluster.start(ctx, i)
		})
	}
	all.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if err := r.patiently(ctx, r.cluster.recovered); err != nil {
		return fmt.Errorf("recover from %s: %w", w.Name, err)
	}
	w.To = time.Since(r.load.began)
	r.report.Windows = append(r.report.Windows, w)
	return nil
}

// reachable says who does not reach the metadata.
func (r *run) reachable(ctx context.Context) (missing []string) {
	for _, n := range r.cluster.nodes {
		if status, err := n.status(ctx); err != nil || status.Metadata != "reachable" {
			missing = append(missing, fmt.Sprintf("%s: %s %v", n.name, status.GetMetadata(), err))
		}
	}
	return missing
}
