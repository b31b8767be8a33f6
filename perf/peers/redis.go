package peers

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/cambiumdb/cambium/perf/cluster"
)

// redisStore is a primary whose replicas acknowledge writes. Each client has a connection.
type redisStore struct {
	client  *redis.Client
	timeout time.Duration
}

func openRedis(ctx context.Context, job cluster.Job) (cluster.Target, error) {
	c := redis.NewClient(&redis.Options{
		Addr: job.Endpoints[0], PoolSize: job.Clients, DialTimeout: job.Timeout, ReadTimeout: 2 * job.Timeout, WriteTimeout: job.Timeout,
		MaxRetries: -1, DisableIdentity: true,
	})
	ctx, cancel := context.WithTimeout(ctx, connectPatience)
	defer cancel()
	if err := awaitReplicas(ctx, c, len(job.Endpoints)-1); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return &redisStore{client: c, timeout: job.Timeout}, nil
}

// awaitReplicas returns when so many replicas follow.
func awaitReplicas(ctx context.Context, c *redis.Client, want int) error {
	online := 0
	for {
		info, err := c.Info(ctx, "replication").Result()
		if online = strings.Count(info, "state=online"); err == nil && online == want {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("of %d replicas %d follow the primary (%v): %w", want, online, err, ctx.Err())
		}
	}
}

// errAlone is a put that no replica has acknowledged.
var errAlone = errors.New("no replica has acknowledged it in time")

func (r *redisStore) Put(ctx context.Context, _ int64, key, value []byte) (int, error) {
	p := r.client.Pipeline()
	p.Set(ctx, string(key), value, 0)
	wait := p.Do(ctx, "WAIT", 1, strconv.FormatInt(r.timeout.Milliseconds(), 10))
	if _, err := p.Exec(ctx); err != nil {
		return 0, redisError(err, true)
	}
	if n, err := wait.Int(); err != nil || n < 1 {
		return 0, redisError(errors.Join(errAlone, err), true)
	}
	return 1, nil
}

func (r *redisStore) Get(ctx context.Context, key []byte, visit func(value []byte)) error {
	value, err := r.client.Get(ctx, string(key)).Bytes()
	switch {
	case errors.Is(err, redis.Nil):
		return nil
	case err != nil:
		return redisError(err, false)
	}
	visit(value)
	return nil
}

func (r *redisStore) Close() error { return r.client.Close() }

// redisError tells what is known of an operation: an answer of the server is a refusal.
func redisError(err error, put bool) error {
	var refusal redis.Error
	reason, unknown := "unavailable", put
	switch {
	case errors.Is(err, errAlone):
		reason = "no replica"
	case errors.As(err, &refusal):
		reason, unknown = "refused", false
	case errors.Is(err, context.DeadlineExceeded):
		reason = "timeout"
	}
	return &cluster.OpError{Unknown: unknown, Reason: reason, Err: err}
}
