package chaos

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Options of a run. Executable, Dir, Nodes and Plan are required.
type Options struct {
	Executable string // a kvnode
	Dir        string // an empty one, for data and logs
	Nodes      int
	Plan       []Fault
	Seed       uint64        // of what clients do
	Clients    int           // each does one operation after the other; 0 is 6
	Keys       int           // 0 is 40
	Pause      time.Duration // of a client between operations
	Patience   time.Duration // of each wait for nodes to recover, and of the last until they agree; 0 is 2 min
	Logf       func(format string, args ...any)
}

// Run starts nodes, has clients use them while faults come and go, and ends all. The error is of the run itself: what
// nodes did wrong is in the report.
func Run(ctx context.Context, o Options) (r *Report, err error) {
	if o.Clients == 0 {
		o.Clients = 6
	}
	if o.Keys == 0 {
		o.Keys = 40
	}
	if o.Patience == 0 {
		o.Patience = 2 * time.Minute
	}
	if o.Logf == nil {
		o.Logf = func(string, ...any) {}
	}
	c, err := startCluster(ctx, o.Executable, o.Dir, o.Nodes)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	if err := o.patiently(ctx, c.recovered); err != nil {
		return nil, fmt.Errorf("the cluster has not begun to work: %w", err)
	}
	l, err := startLoad(ctx, o, c.addresses())
	if err != nil {
		return nil, err
	}
	r = &Report{Nodes: o.Nodes, Clients: o.Clients}
	err = o.trouble(ctx, c, l, r)
	l.end()
	defer l.close()
	r.Lasted = time.Since(l.began)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := o.patiently(ctx, c.healed); err != nil {
		return nil, fmt.Errorf("the nodes have not healed: %w", err)
	}
	r.Healed = time.Since(began)
	l.last()
	if err := o.patiently(ctx, c.healed); err != nil {
		return nil, fmt.Errorf("the nodes have not healed after the last writes: %w", err)
	}
	final, different, err := c.final(ctx, o.Keys)
	if err != nil {
		return nil, err
	}
	r.Different = different
	r.judge(l, final)
	return r, nil
}

func (o *Options) patiently(ctx context.Context, missing func(context.Context) []string) error {
	ctx, cancel := context.WithTimeout(ctx, o.Patience)
	defer cancel()
	return until(ctx, missing)
}

// trouble carries out the plan, after a time without any faults, to compare with.
func (o *Options) trouble(ctx context.Context, c *cluster, l *load, r *Report) error {
	calm := func(d time.Duration) {
		from := time.Since(l.began)
		sleep(ctx, d)
		r.Windows = append(r.Windows, Window{Name: "calm", From: from, To: time.Since(l.began)})
	}
	calm(2 * time.Second)
	for _, f := range o.Plan {
		began := time.Now()
		w := Window{Name: f.String(), From: time.Since(l.began)}
		if err := c.apply(ctx, f); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		watching, stop := context.WithTimeout(ctx, f.Lasts)
		w.Suspect, w.Down = c.watch(watching, f, began)
		<-watching.Done()
		stop()
		if err := c.mend(ctx, f); err != nil {
			return fmt.Errorf("mend %s: %w", f, err)
		}
		mended := time.Now()
		if err := o.patiently(ctx, c.recovered); err != nil {
			return fmt.Errorf("recover from %s: %w", f, err)
		}
		w.Recovered, w.To = time.Since(mended), time.Since(l.began)
		r.Windows = append(r.Windows, w)
		o.Logf("%s: mended, recovered in %s", f, w.Recovered.Round(time.Millisecond))
		calm(f.Calm)
	}
	return ctx.Err()
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
