package antientropy

import (
	"context"
	"fmt"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// registerBytes is how many bytes of registers are asked for at a time.
const registerBytes = 4 << 20

// CopyRegisters gives adopt what a node has accepted in each register of a range of tokens, as package register encodes it.
// first and last are top halves of tokens, both included. pace is called before so many bytes are given; nil: nothing waits.
func CopyRegisters(ctx context.Context, t distrib.Transport, node, first, last uint64, pace func(ctx context.Context, bytes int) error, adopt func(key, state []byte) error) error {
	q := &distrib.KeysRequest{First: first, Last: last, Limit: 16 * leafKeys, Bytes: registerBytes, Registers: true}
	for {
		list, err := t.Keys(ctx, node, q)
		if err != nil {
			return fmt.Errorf("registers of tokens %016x to %016x of node %d: %w", q.First, last, node, err)
		}
		size := 0
		for _, k := range list {
			size += k.Bytes()
		}
		if pace != nil {
			if err := pace(ctx, size); err != nil {
				return err
			}
		}
		for _, k := range list {
			if err := adopt(k.Key, k.Register); err != nil {
				return err
			}
		}
		if !q.Full(len(list), size) {
			return nil
		}
		if q.First = ring.TokenOf(list[len(list)-1].Key).Hi + 1; q.First == 0 || q.First > last {
			return nil
		}
	}
}
