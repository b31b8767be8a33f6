package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The kinds of windows that are not those of faults.
const (
	calmKind  = "no fault"
	allKilled = "all killed"
)

// Options of a run. Executable, Dir and Nodes are required.
type Options struct {
	Executable string // a kvnode
	Dir        string // an empty one, for data and logs
	Nodes      int
	Etcd       []string      // endpoints of the metadata; none: nodes run it
	Seed       uint64        // of what clients do
	Clients    int           // of eventual operations, each does one after the other; 0 is 6
	Linear     int           // clients of linearizable operations beside them; with them the nodes' clocks are off
	Keys       int           // of eventual operations; 0 is 40
	ValueBytes int           // the least of a value, which has up to 255 more; 0 is 100
	Pause      time.Duration // of a client between operations
	Lasts      time.Duration // Run leaves the rest of a plan out when the load has lasted so long; 0: it does not
	Patience   time.Duration // of each wait for nodes to recover, and of the last until they agree; 0 is 2 min
	Logf       func(format string, args ...any)
}

// run is a cluster under load.
type run struct {
	Options
	cluster *cluster
	load    *load
	report  *Report
}

// Run starts nodes, has clients use them while the faults of a plan come and go, and ends all. The error is of the run itself:
// what nodes did wrong is in the report.
func Run(ctx context.Context, o Options, plan []Fault) (*Report, error) {
	return o.run(ctx, func(ctx context.Context, r *run) error {
		for _, f := range plan {
			if o.Lasts > 0 && time.Since(r.load.began) >= o.Lasts {
				break
			}
			if err := r.fault(ctx, f, f.String()); err != nil {
				return err
			}
			r.calm(ctx, f.Calm)
		}
		return nil
	})
}

// run has clients use nodes while trouble does something to these.
func (o Options) run(ctx context.Context, trouble func(context.Context, *run) error) (report *Report, err error) {
	if o.Clients == 0 {
		o.Clients = 6
	}
	if o.Keys == 0 {
		o.Keys = 40
	}
	if o.ValueBytes == 0 {
		o.ValueBytes = 100
	}
	if o.Patience == 0 {
		o.Patience = 2 * time.Minute
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	c, err := startCluster(ctx, &o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	r := &run{Options: o, cluster: c, report: &Report{Nodes: o.Nodes, Clients: o.Clients, Linear: o.Linear}}
	if err := r.patiently(ctx, c.recovered); err != nil {
		return nil, fmt.Errorf("the cluster has not begun to work: %w", err)
	}
	if r.load, err = startLoad(ctx, o, c.addresses()); err != nil {
		return nil, err
	}
	r.calm(ctx, 2*time.Second) // to compare with
	err = trouble(ctx, r)
	r.load.end()
	defer r.load.close()
	r.report.Lasted = time.Since(r.load.began)
	if err = errors.Join(err, ctx.Err()); err != nil {
		return nil, err
	}
	if err := r.judge(ctx); err != nil {
		return nil, err
	}
	return r.report, nil
}

// judge waits until nodes agree, and holds what they have against what clients were told.
func (r *run) judge(ctx context.Context) error {
	began := time.Now()
	if err := r.patiently(ctx, r.cluster.healed); err != nil {
		return fmt.Errorf("the nodes have not healed: %w", err)
	}
	r.report.Healed = time.Since(began)
	r.load.last()
	keys := r.load.lastLinear()
	if err := r.patiently(ctx, r.cluster.healed); err != nil {
		return fmt.Errorf("the nodes have not healed after the last operations: %w", err)
	}
	if len(keys) > 0 { // what a register has decided may reach a replica's record late
		if err := r.cluster.repair(ctx); err != nil {
			return err
		}
	}
	_, different, err := r.cluster.final(ctx, keys)
	if err != nil {
		return err
	}
	final, more, err := r.cluster.final(ctx, r.load.keys)
	if err != nil {
		return err
	}
	r.report.Different = append(different, more...)
	r.report.judge(r.load, final)
	return r.report.judgeLinear(r.load, len(keys), r.Dir)
}

func (r *run) patiently(ctx context.Context, missing func(context.Context) []string) error {
	ctx, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	return until(ctx, missing)
}

// calm lets the load go on for a time.
func (r *run) calm(ctx context.Context, d time.Duration) {
	from := time.Since(r.load.began)
	sleep(ctx, d)
	r.report.Windows = append(r.report.Windows, Window{Kind: calmKind, From: from, To: time.Since(r.load.began)})
}

// fault brings a fault about, mends it, and waits until the cluster can bear the next one. One that loses a
// directory waits until it can be borne.
func (r *run) fault(ctx context.Context, f Fault, name string) error {
	if f.Kind == Wipe || f.Kind == Restore {
		if err := r.patiently(ctx, r.cluster.bearsLoss); err != nil {
			return fmt.Errorf("before %s: %w", name, err)
		}
	}
	began := time.Now()
	w := Window{Kind: f.Kind.String(), Name: name, From: time.Since(r.load.began)}
	if err := r.cluster.apply(ctx, f); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	watching, stop := context.WithTimeout(ctx, f.Lasts)
	w.Suspect, w.Down = r.cluster.watch(watching, f, began)
	<-watching.Done()
	stop()
	if err := r.cluster.mend(ctx, f); err != nil {
		return fmt.Errorf("mend %s: %w", name, err)
	}
	mended := time.Now()
	if err := r.patiently(ctx, r.cluster.recovered); err != nil {
		return fmt.Errorf("recover from %s: %w", name, err)
	}
	w.Recovered, w.To = time.Since(mended), time.Since(r.load.began)
	r.report.Windows = append(r.report.Windows, w)
	r.Logf("%.1f s: %s: mended, recovered in %s", w.From.Seconds(), name, w.Recovered.Round(time.Millisecond))
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
