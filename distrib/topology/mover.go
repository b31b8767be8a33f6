package topology

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/hint"
	"github.com/cambiumdb/cambium/distrib/replica"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// DefaultRate is how many bytes a second a node gets by moves at most.
const DefaultRate = 64 << 20

// Options of a Mover. All but Whole, MayLeave, Sync, Rate, Interval and Logger are required.
type Options struct {
	Self      uint64
	Store     distrib.Store
	Replica   *replica.Replica // of Store
	Hints     *hint.Hints      // of Store
	Meta      distrib.MetaStore
	Transport distrib.Transport
	// Liveness is this node's opinion of others.
	Liveness func(node uint64) distrib.Liveness
	// Ask asks another node's Stage.
	Ask func(ctx context.Context, m distrib.Member, r *api.StageRequest) (*api.StageResponse, error)
	// Whole says whether this node's reads count: else they must not be asked for by a switch. nil: they do.
	Whole func() bool
	// MayLeave says why this node cannot leave yet, such as that it still keeps ring metadata; it is asked again and again.
	// nil: it can, once it has handed over its data.
	MayLeave func() error
	// Sync says when what is delivered is durable at its owners.
	Sync distrib.Sync
	// Rate is how many bytes of keys and values a second the node is given at most; 0 is DefaultRate.
	Rate int64
	// Interval is how often the owner of a change asks how far it is; 0 is 250 ms.
	Interval time.Duration
	Logger   *slog.Logger // nil: none
}

// Mover is a node's part in changes of owners. All methods may be called by many goroutines at once.
type Mover struct {
	opts  Options
	views views
	pace  *rate.Limiter
	wake  chan struct{} // holds one where there is a topology that work has not seen
	turn  chan struct{} // likewise for drive

	mu      sync.Mutex // guards what follows
	at      progress
	part    []piece // of the stage that at is of
	trouble string
	plans   plans
}

// New returns the mover of a node.
func New(opts Options) (*Mover, error) {
	if opts.Rate == 0 {
		opts.Rate = DefaultRate
	}
	if opts.Interval == 0 {
		opts.Interval = 250 * time.Millisecond
	}
	if opts.Whole == nil {
		opts.Whole = func() bool { return true }
	}
	if opts.MayLeave == nil {
		opts.MayLeave = func() error { return nil }
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Mover{opts: opts, wake: make(chan struct{}, 1), turn: make(chan struct{}, 1)}
	m.pace = rate.NewLimiter(rate.Limit(opts.Rate), int(max(opts.Rate/8, 1)))
	var err error
	m.at, err = loadProgress(opts.Store)
	return m, err
}

// Adopt makes t, unless a newer one is known, the topology of what begins from now on, and goes on with this node's
// part in its change.
func (m *Mover) Adopt(t *distrib.Topology) error {
	newer, err := m.views.adopt(t)
	if !newer {
		return err
	}
	for _, c := range []chan struct{}{m.wake, m.turn} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
	return nil
}

// View returns where keys lie for an operation that begins now; release tells that it has ended. A topology must have
// been adopted.
func (m *Mover) View() (v *ring.View, release func()) {
	h := m.views.enter()
	return h.view, h.release
}

// Admit lets a request of another node in, as transport.ServerOptions says.
func (m *Mover) Admit(from, epoch uint64) (release func(), err error) {
	return m.views.admit(from, epoch)
}

// Oldest is the epoch of the oldest view under which something goes on, or may begin.
func (m *Mover) Oldest() uint64 { return m.views.oldest() }

// topology is the one adopted last; nil: there is none.
func (m *Mover) topology() *distrib.Topology {
	if h := m.views.current.Load(); h != nil {
		return h.topology
	}
	return nil
}

// Run carries out the node's part in changes, and drives those that it owns, until ctx ends.
func (m *Mover) Run(ctx context.Context) {
	var all sync.WaitGroup
	all.Go(func() { m.work(ctx) })
	all.Go(func() { m.drive(ctx) })
	all.Wait()
}

// Deliver gives what this node keeps of a key for target to whom it belongs by now: target, or, where owners change or
// target is none of them, all owners. An error says that not all of them have it.
func (m *Mover) Deliver(ctx context.Context, target uint64, key []byte, record distrib.Record) error {
	h := m.views.enter()
	if h == nil {
		return errors.New("no topology is known yet")
	}
	defer h.release()
	seats := h.view.Seats(ring.TokenOf(key))
	if h.view.Steady() {
		if i := slices.IndexFunc(seats, func(s ring.Seat) bool { return s.Node == target }); i >= 0 {
			seats = seats[i : i+1]
		}
	}
	g, ctx := errgroup.WithContext(ctx)
	for _, s := range seats {
		if !h.takes[s.Node] {
			continue // the change takes it out as dead
		}
		g.Go(func() error {
			if err := m.opts.Transport.Merge(ctx, s.Node, &distrib.MergeRequest{Key: key, Record: record, Sync: m.opts.Sync}); err != nil {
				return fmt.Errorf("%s: %w", nameOf(h.topology, s.Node), err)
			}
			return nil
		})
	}
	return g.Wait()
}

// giveAway hands over all that this node keeps for others.
func (m *Mover) giveAway(ctx context.Context) error {
	for _, k := range m.opts.Hints.Kept() {
		_, err := m.opts.Hints.Drain(ctx, k.Target, func(key []byte, record distrib.Record) error {
			return m.Deliver(ctx, k.Target, key, record)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// wait gives so many bytes their turn.
func (m *Mover) wait(ctx context.Context, bytes int) error {
	for bytes > 0 {
		n := min(bytes, m.pace.Burst())
		if err := m.pace.WaitN(ctx, n); err != nil {
			return err
		}
		bytes -= n
	}
	return nil
}
