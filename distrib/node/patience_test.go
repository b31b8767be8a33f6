package node

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
)

// silent is a transport whose requests are all lost.
type silent struct{}

func lost(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func (silent) Put(ctx context.Context, _ uint64, _ *distrib.PutRequest) (*distrib.PutReply, error) {
	return nil, lost(ctx)
}
func (silent) Merge(ctx context.Context, _ uint64, _ *distrib.MergeRequest) error { return lost(ctx) }
func (silent) Read(ctx context.Context, _ uint64, _ *distrib.ReadRequest) (*distrib.ReadReply, error) {
	return nil, lost(ctx)
}
func (silent) Parts(ctx context.Context, _ uint64, _ *distrib.PartsRequest) ([]distrib.Part, error) {
	return nil, lost(ctx)
}
func (silent) Keys(ctx context.Context, _ uint64, _ *distrib.KeysRequest) ([]distrib.KeyDots, error) {
	return nil, lost(ctx)
}

// A request of the background that is lost ends, so that those behind it get their turn.
func TestLostRequestsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, p := context.Background(), patient{silent{}}
		for name, call := range map[string]func() error{
			"put":   func() error { _, err := p.Put(ctx, 1, nil); return err },
			"merge": func() error { return p.Merge(ctx, 1, nil) },
			"read":  func() error { _, err := p.Read(ctx, 1, nil); return err },
			"parts": func() error { _, err := p.Parts(ctx, 1, nil); return err },
			"keys":  func() error { _, err := p.Keys(ctx, 1, nil); return err },
		} {
			began := time.Now()
			require.ErrorIs(t, call(), context.DeadlineExceeded, name)
			require.Equal(t, backgroundPatience, time.Since(began), name)
		}
	})
}

// TestPace: so many bytes pass in a second, more than that at once too.
func TestPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wait, began := pace(800), time.Now()
		require.NoError(t, wait(t.Context(), 100))
		require.Zero(t, time.Since(began), "an eighth of a second's is there")
		require.NoError(t, wait(t.Context(), 1600))
		require.Equal(t, 2*time.Second, time.Since(began).Round(10*time.Millisecond))
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, wait(ctx, 1), context.Canceled)
	})
}
