package meta

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/cambiumdb/cambium/distrib"
)

// EtcdOptions are where an etcd is and how long to wait for it.
type EtcdOptions struct {
	Endpoints []string      // host:port or URLs of its clients' side, at least one
	TLS       *tls.Config   // nil: none
	Prefix    string        // of the keys, default "cambium"
	Timeout   time.Duration // of one operation, default 2 s
	Follow    bool          // replace Endpoints by Topology.Metadata of each topology seen: the members move
	Logger    *slog.Logger  // nil: none
}

// Etcd is a store in an etcd: the topology is the value of PREFIX/topology, its revision that of the key's last
// change. An Update that failed with ErrDown may have been done all the same: load before the next.
type Etcd struct {
	options EtcdOptions
	key     string
	client  *clientv3.Client

	mu sync.Mutex // guards the client's endpoints from being set by two at once
}

var _ distrib.MetaStore = (*Etcd)(nil)

// DialEtcd returns at once: an etcd that does not answer shows with the first call.
func DialEtcd(options EtcdOptions) (*Etcd, error) {
	if len(options.Endpoints) == 0 {
		return nil, errors.New("dial etcd: no endpoint is given")
	}
	if options.Prefix == "" {
		options.Prefix = "cambium"
	}
	if options.Timeout == 0 {
		options.Timeout = 2 * time.Second
	}
	if options.Logger == nil {
		options.Logger = slog.New(slog.DiscardHandler)
	}
	client, err := clientv3.New(clientv3.Config{
		Endpoints:            options.Endpoints,
		TLS:                  options.TLS,
		DialKeepAliveTime:    10 * time.Second,
		DialKeepAliveTimeout: 3 * time.Second,
		Logger:               zapLogger(options.Logger, new(atomic.Bool)),
	})
	if err != nil {
		return nil, fmt.Errorf("dial etcd at %s: %w", strings.Join(options.Endpoints, ", "), err)
	}
	return &Etcd{options: options, key: options.Prefix + "/topology", client: client}, nil
}

// Endpoints are those that are asked.
func (e *Etcd) Endpoints() []string { return e.client.Endpoints() }

// Load implements distrib.MetaStore.
func (e *Etcd) Load(ctx context.Context) (*distrib.Topology, int64, error) {
	t, revision, _, err := e.load(ctx)
	return t, revision, err
}

// load returns the revision of the whole etcd as well: a watch goes on after it.
func (e *Etcd) load(ctx context.Context) (t *distrib.Topology, revision, now int64, err error) {
	short, cancel := context.WithTimeout(ctx, e.options.Timeout)
	defer cancel()
	r, err := e.client.Get(short, e.key)
	if err != nil {
		return nil, 0, 0, fmt.Errorf("load the topology: %w", e.explain(ctx, err))
	}
	if len(r.Kvs) == 0 {
		return nil, 0, r.Header.Revision, nil
	}
	t, err = e.accept(r.Kvs[0])
	return t, r.Kvs[0].ModRevision, r.Header.Revision, err
}

// Update implements distrib.MetaStore.
func (e *Etcd) Update(ctx context.Context, t *distrib.Topology, revision int64) (int64, error) {
	value, err := encode(t)
	if err != nil {
		return 0, err
	}
	short, cancel := context.WithTimeout(ctx, e.options.Timeout)
	defer cancel()
	r, err := e.client.Txn(short).
		If(clientv3.Compare(clientv3.ModRevision(e.key), "=", revision)). // a key that is not there has revision 0
		Then(clientv3.OpPut(e.key, string(value))).
		Commit()
	switch {
	case err != nil:
		return 0, fmt.Errorf("change the topology to epoch %d: %w", t.Epoch, e.explain(ctx, err))
	case !r.Succeeded:
		return 0, distrib.ErrChanged
	}
	return r.Header.Revision, nil
}

// Watch implements distrib.MetaStore. Each round loads and then watches until the watch ends, be it for a
// compaction, a lost leader or a lost connection: so none of these is a case of its own.
func (e *Etcd) Watch(ctx context.Context, changed func(*distrib.Topology, int64)) {
	const shortest, longest = 100 * time.Millisecond, 5 * time.Second
	var seen int64
	show := func(t *distrib.Topology, revision int64) {
		if revision > seen {
			seen = revision
			changed(t, revision)
		}
	}
	for wait := shortest; ctx.Err() == nil; wait = min(2*wait, longest) {
		t, revision, now, err := e.load(ctx)
		if err == nil {
			wait = shortest
			if t != nil {
				show(t, revision)
			}
			err = e.watch(ctx, now+1, show)
		}
		if ctx.Err() == nil {
			e.options.Logger.Debug("the watch of the topology ended and begins again", "err", err, "after", wait)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
	}
}

func (e *Etcd) watch(ctx context.Context, from int64, show func(*distrib.Topology, int64)) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel() // ends the watch at the server
	for r := range e.client.Watch(ctx, e.key, clientv3.WithRev(from), clientv3.WithFilterDelete()) {
		if err := r.Err(); err != nil {
			return err
		}
		if len(r.Events) == 0 {
			continue
		}
		kv := r.Events[len(r.Events)-1].Kv // it replaces those before
		t, err := e.accept(kv)
		if err != nil {
			return err
		}
		show(t, kv.ModRevision)
	}
	return errors.New("the connection was lost")
}

// Close implements distrib.MetaStore.
func (e *Etcd) Close() error {
	if err := e.client.Close(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// accept takes what etcd holds, and the endpoints that it names.
func (e *Etcd) accept(kv *mvccpb.KeyValue) (*distrib.Topology, error) {
	t, err := decode(kv.Value)
	if err == nil && e.options.Follow && len(t.Metadata) > 0 {
		e.mu.Lock()
		defer e.mu.Unlock()
		if !slices.Equal(t.Metadata, e.client.Endpoints()) {
			e.client.SetEndpoints(t.Metadata...)
		}
	}
	return t, err
}

// explain returns err as ErrDown with what each endpoint says, unless etcd has answered or the caller called off.
func (e *Etcd) explain(ctx context.Context, err error) error {
	endpoints := e.client.Endpoints()
	switch {
	case errors.Is(ctx.Err(), context.Canceled) || answered(err):
		return err
	case ctx.Err() != nil: // no time to ask each
		return fmt.Errorf("%w: %s (%w)", ErrDown, strings.Join(endpoints, ", "), err)
	}
	says := make([]string, len(endpoints))
	var wg sync.WaitGroup
	for i, endpoint := range endpoints {
		wg.Go(func() { says[i] = endpoint + " " + e.probe(ctx, endpoint) })
	}
	wg.Wait()
	return fmt.Errorf("%w: %s (%w)", ErrDown, strings.Join(says, ", "), err)
}

func (e *Etcd) probe(ctx context.Context, endpoint string) string {
	ctx, cancel := context.WithTimeout(ctx, min(e.options.Timeout, time.Second))
	defer cancel()
	switch r, err := e.client.Status(ctx, endpoint); {
	case err != nil:
		return "does not answer"
	case r.Leader == 0:
		return "answers but has no leader: a majority of the members is needed"
	default:
		return "answers"
	}
}

// answered tells an error that etcd gave from one of the way to it or of a missing majority.
func answered(err error) bool {
	var e rpctypes.EtcdError
	code := status.Code(err)
	if errors.As(err, &e) {
		code = e.Code()
	}
	switch code {
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown:
		return false
	}
	return true
}
