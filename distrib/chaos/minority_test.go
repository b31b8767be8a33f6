package chaos

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib/client"
)

// TestMinority: with two of three nodes killed, the third refuses linearizable operations within their deadline, naming who can be reached;
// and takes eventual ones. What it refused has not happened.
func TestMinority(t *testing.T) {
	ctx, c, kv := threeNodes(t)
	key, level := []byte("color"), client.Level{Consistency: client.Linearizable}
	_, err := kv.Put(ctx, key, []byte("red"), client.PutOptions{Level: level})
	require.NoError(t, err)

	faults := []Fault{{Kind: Kill, Node: 1}, {Kind: Kill, Node: 2}}
	for _, f := range faults {
		require.NoError(t, c.apply(ctx, f))
	}
	const deadline = 2 * time.Second
	refusal := func(name string, operate func(ctx context.Context) error) *client.Error {
		ctx, cancel := context.WithTimeout(ctx, deadline)
		defer cancel()
		began := time.Now()
		var failed *client.Error
		require.ErrorAs(t, operate(ctx), &failed)
		t.Logf("%s is refused after %d ms: %v", name, time.Since(began).Milliseconds(), failed)
		return failed
	}
	get := func(ctx context.Context) error {
		_, err := kv.Get(ctx, key, client.GetOptions{Level: level})
		return err
	}
	put := func(ctx context.Context) error {
		_, err := kv.Put(ctx, key, []byte("blue"), client.PutOptions{Level: level})
		return err
	}
	swap := func(ctx context.Context) error {
		_, err := kv.CompareAndSwap(ctx, key, client.Expected{Value: []byte("red")}, []byte("green"), client.SwapOptions{})
		return err
	}
	const why = "only n1 can be reached, which is no majority"
	require.Eventually(t, func() bool { // n1 sees that the others are gone
		return strings.Contains(refusal("get", get).Error(), why)
	}, time.Minute, 100*time.Millisecond)
	for name, operate := range map[string]func(ctx context.Context) error{"get": get, "put": put, "cas": swap} {
		failed := refusal(name, operate)
		require.Equal(t, client.Failed, failed.Outcome)
		require.ErrorContains(t, failed, why)
	}
	_, err = kv.Put(ctx, []byte("other"), []byte("red"), client.PutOptions{Level: client.Level{Consistency: client.One}})
	require.NoError(t, err, "a key that is not linearizable is taken")

	for _, f := range faults {
		require.NoError(t, c.mend(ctx, f))
	}
	require.Eventually(t, func() bool {
		item, err := kv.Get(ctx, key, client.GetOptions{Level: level})
		if err != nil {
			return false
		}
		value, err := item.Value()
		require.NoError(t, err)
		require.Equal(t, "red", string(value), "what was refused has not happened")
		return true
	}, time.Minute, 100*time.Millisecond)
}
