package node

import (
	"context"
	"time"

	"golang.org/x/time/rate"

	"github.com/cambiumdb/cambium/distrib"
)

// backgroundPatience is how long a request that no client waits for may take.
const backgroundPatience = 5 * time.Second

// patient gives each request a limit of its own. Else one whose answer is lost would hold up for ever all that the
// background does after it.
type patient struct{ distrib.Transport }

func limited[A any](ctx context.Context, call func(ctx context.Context) (A, error)) (A, error) {
	ctx, cancel := context.WithTimeout(ctx, backgroundPatience)
	defer cancel()
	return call(ctx)
}

func (p patient) Put(ctx context.Context, to uint64, r *distrib.PutRequest) (*distrib.PutReply, error) {
	return limited(ctx, func(ctx context.Context) (*distrib.PutReply, error) { return p.Transport.Put(ctx, to, r) })
}

func (p patient) Merge(ctx context.Context, to uint64, r *distrib.MergeRequest) error {
	_, err := limited(ctx, func(ctx context.Context) (struct{}, error) { return struct{}{}, p.Transport.Merge(ctx, to, r) })
	return err
}

func (p patient) Read(ctx context.Context, to uint64, r *distrib.ReadRequest) (*distrib.ReadReply, error) {
	return limited(ctx, func(ctx context.Context) (*distrib.ReadReply, error) { return p.Transport.Read(ctx, to, r) })
}

func (p patient) Parts(ctx context.Context, to uint64, r *distrib.PartsRequest) ([]distrib.Part, error) {
	return limited(ctx, func(ctx context.Context) ([]distrib.Part, error) { return p.Transport.Parts(ctx, to, r) })
}

func (p patient) Keys(ctx context.Context, to uint64, r *distrib.KeysRequest) ([]distrib.KeyDots, error) {
	return limited(ctx, func(ctx context.Context) ([]distrib.KeyDots, error) { return p.Transport.Keys(ctx, to, r) })
}

// pace lets so many bytes pass in a second.
func pace(bytesPerSecond int64) func(ctx context.Context, bytes int) error {
	l := rate.NewLimiter(rate.Limit(bytesPerSecond), int(max(bytesPerSecond/8, 1)))
	return func(ctx context.Context, bytes int) error {
		for bytes > 0 {
			n := min(bytes, l.Burst())
			if err := l.WaitN(ctx, n); err != nil {
				return err
			}
			bytes -= n
		}
		return nil
	}
}
