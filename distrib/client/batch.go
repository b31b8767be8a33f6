package client

import "context"

// GetResult is what became of a key of a BatchGet.
type GetResult struct {
	Item *Item
	Err  error
}

// Write is a put of a BatchPut.
type Write struct {
	Key, Value []byte
	Options    PutOptions
}

// PutResult is what became of it.
type PutResult struct {
	Put *Put
	Err error
}

// batchWindow is how many operations of a batch are under way at once.
const batchWindow = 256

// BatchGet reads keys, each as Get does, and returns a result for each, in their order. What goes to one node goes
// in few messages. Nothing is promised across keys.
func (c *Client) BatchGet(ctx context.Context, keys [][]byte, o GetOptions) []GetResult {
	results := make([]GetResult, len(keys))
	pipeline(ctx, len(keys),
		func(i int) (op *operation) {
			op, results[i].Err = c.getOperation(keys[i], o)
			return op
		},
		func(i int, op *operation, body []byte, err error) {
			results[i].Item, results[i].Err = op.item(body, err)
		})
	return results
}

// BatchPut stores values, each as Put does, and returns a result for each, in their order. Nothing is promised across
// keys, nor of the order of several writes to one key.
func (c *Client) BatchPut(ctx context.Context, writes []Write) []PutResult {
	results := make([]PutResult, len(writes))
	pipeline(ctx, len(writes),
		func(i int) (op *operation) {
			op, results[i].Err = c.putOperation(writes[i].Key, writes[i].Value, writes[i].Options)
			return op
		},
		func(i int, op *operation, body []byte, err error) { results[i].Put, results[i].Err = op.put(body, err) })
	return results
}

// pipeline carries out n operations in the goroutine of the caller: it begins as many as may be under way before it
// waits for the first. Those that begin returns nil for are left out.
func pipeline(ctx context.Context, n int, begin func(i int) *operation, end func(i int, op *operation, body []byte, err error)) {
	type begun struct {
		op   *operation
		step step
	}
	window := make([]begun, min(n, batchWindow))
	for i := range n + len(window) {
		if first := i - len(window); first >= 0 {
			if b := window[first%len(window)]; b.op != nil {
				body, err := b.op.finish(ctx, b.step)
				end(first, b.op, body, err)
				b.op.free()
			}
		}
		if i < n {
			op := begin(i)
			b := begun{op: op}
			if op != nil {
				b.step = op.begin(ctx)
			}
			window[i%len(window)] = b
		}
	}
}
