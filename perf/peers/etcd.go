package peers

import (
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/cambiumdb/cambium/perf/cluster"
)

// Targets are the stores of others that kvbench cluster puts load on.
func Targets() cluster.Targets {
	return cluster.Targets{cluster.Etcd: openEtcd, cluster.Redis: openRedis}
}

// connectPatience is how long servers may take until they are a cluster.
const connectPatience = 30 * time.Second

// etcd is one client of all members: requests take turns among them, gets are linearizable.
type etcd struct {
	client  *clientv3.Client
	timeout time.Duration
}

func openEtcd(ctx context.Context, job cluster.Job) (cluster.Target, error) {
	c, err := clientv3.New(clientv3.Config{Endpoints: job.Endpoints, DialTimeout: connectPatience, Logger: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	if _, err := c.Get(ctx, "leader?"); err != nil { // is answered once there is one
		return nil, errors.Join(err, c.Close())
	}
	return &etcd{client: c, timeout: job.Timeout}, nil
}

func (e *etcd) Put(ctx context.Context, _ int64, key, value []byte) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	if _, err := e.client.Put(ctx, string(key), string(value)); err != nil {
		return 0, etcdError(err, true)
	}
	return 1, nil
}

func (e *etcd) Get(ctx context.Context, key []byte, visit func(value []byte)) error {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	found, err := e.client.Get(ctx, string(key))
	if err != nil {
		return etcdError(err, false)
	}
	for _, kv := range found.Kvs {
		visit(kv.Value)
	}
	return nil
}

func (e *etcd) Close() error { return e.client.Close() }

// etcdError tells puts that were refused from those of which nobody knows.
func etcdError(err error, put bool) error {
	refused := errors.Is(err, rpctypes.ErrNoLeader) || errors.Is(err, rpctypes.ErrTooManyRequests) || errors.Is(err, rpctypes.ErrNoSpace)
	reason := "unavailable"
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, rpctypes.ErrTimeout) {
		reason = "timeout"
	}
	return &cluster.OpError{Unknown: put && !refused, Reason: reason, Err: err}
}
