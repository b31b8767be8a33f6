package peers

import (
	"bytes"
	"context"
	"errors"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
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
	hot     []*seen // by client: what it has met last of the key that all change; nil: nothing is known
}

// seen is what a client has met of a key.
type seen struct {
	value    []byte
	revision int64 // of its last change; 0: it is not there
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
	return &etcd{client: c, timeout: job.Timeout, hot: make([]*seen, job.Clients)}, nil
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

// Update implements cluster.Swapper, with a transaction that reads where it may not write.
func (e *etcd) Update(ctx context.Context, number int, key []byte, change func(old []byte) []byte) (tries int, err error) {
	ctx, cancel := context.WithTimeout(ctx, e.timeout)
	defer cancel()
	at := &e.hot[number]
	if *at == nil {
		found, err := e.client.Get(ctx, string(key))
		if err != nil {
			return 0, etcdError(err, false)
		}
		*at = met(found.Kvs)
	}
	for {
		tries++
		value := change((*at).value)
		done, err := e.client.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(string(key)), "=", (*at).revision)).
			Then(clientv3.OpPut(string(key), string(value))).Else(clientv3.OpGet(string(key))).Commit()
		if err != nil {
			*at = nil
			return tries, etcdError(err, true)
		}
		if done.Succeeded {
			*at = &seen{bytes.Clone(value), done.Header.Revision}
			return tries, nil
		}
		*at = met(done.Responses[0].GetResponseRange().Kvs)
	}
}

func met(list []*mvccpb.KeyValue) *seen {
	if len(list) == 0 {
		return &seen{}
	}
	return &seen{list[0].Value, list[0].ModRevision}
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
