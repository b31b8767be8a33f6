package client

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"github.com/cambiumdb/cambium/distrib/api"
)

// ScanOptions of a scan. The zero value is all of the ring.
type ScanOptions struct {
	First, Last uint64 // top halves of tokens, both included; a Last of 0 is the end of the ring
	After       []byte // go on behind this key, in the order of tokens; empty: begin at First
	Level       Level
	Limit       int  // keys; 0: all
	KeysOnly    bool // items have no siblings
}

// Scan calls visit for every key of a range of tokens, each once, in the order of tokens; the item is visit's. Where the
// node that it asks breaks off, or sends nothing for Options.Timeout, it goes on at another one. It ends at the first
// error of visit and returns it. Options.Timeout does not bound the whole.
func (c *Client) Scan(ctx context.Context, o ScanOptions, visit func(*Item) error) error {
	if err := o.Level.check(); err != nil {
		return invalid("scan", nil, err)
	}
	if o.Limit < 0 {
		return invalid("scan", nil, fmt.Errorf("limit %d, want 0, all, or more", o.Limit))
	}
	var causes []string
	for {
		v := c.view.Load()
		n := v.turnOf(c, len(causes))
		got, err := c.scanFrom(ctx, n, &o, visit)
		if err == nil {
			return nil
		}
		var stop *stopped
		if errors.As(err, &stop) {
			return stop.error
		}
		if ended := cmp.Or(ctx.Err(), c.ctx.Err()); ended != nil {
			return &Error{Op: "scan", Outcome: Failed, Reason: reasonOf(ended), Message: "scan: FAILED: " + ended.Error(), Cause: ended}
		}
		e := callFailed("scan", nil, err)
		if e.Outcome = Failed; e.Reason == reasonInvalid || e.Reason == reasonUnimplemented {
			return e
		}
		if got > 0 {
			causes = nil
		}
		if causes = append(causes, n.String()+": "+Plain(err).Error()); len(causes) == 2*len(v.nodes) {
			e.Message = "scan: FAILED: " + strings.Join(causes[len(v.nodes):], "; ")
			return e
		}
		select {
		case <-time.After(min(time.Duration(len(causes))*pauseLeast, refreshEvery)):
		case <-ctx.Done():
		}
	}
}

// stopped is an error that ends a scan: of visit.
type stopped struct{ error }

// scanFrom scans at one node, and moves o on behind what it has visited. It returns how many keys that were.
func (c *Client) scanFrom(ctx context.Context, n *node, o *ScanOptions, visit func(*Item) error) (got int, err error) {
	conn, err := n.dialed()
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(c.ctx, func() { cancel(errClosed) })
	defer stop()
	silence := time.AfterFunc(c.opts.Timeout, func() { cancel(fmt.Errorf("nothing came for %s", c.opts.Timeout)) })
	defer silence.Stop()
	stream, err := conn.NewStream(ctx, &scanDesc, api.KV_Scan_FullMethodName, grpc.ForceCodecV2(codec{}))
	if err == nil {
		err = ask(stream, o)
	}
	d := decoder{c.view.Load().names}
	for err == nil {
		var m incoming
		if err = stream.RecvMsg(&m); err != nil {
			break
		}
		silence.Stop()
		err = d.entries(m.keep(), func(i *Item) error {
			got++
			o.After = bytes.Clone(i.Key)
			if err := visit(i); err != nil {
				return &stopped{err}
			}
			if o.Limit--; o.Limit == 0 {
				return io.EOF
			}
			return nil
		})
		silence.Reset(c.opts.Timeout)
	}
	if err == io.EOF {
		return got, nil
	}
	if cause := context.Cause(ctx); cause != nil {
		err = cause
	}
	return got, err
}

var scanDesc = grpc.StreamDesc{StreamName: "Scan", ServerStreams: true}

// ask sends the one request of a scan.
func ask(stream grpc.ClientStream, o *ScanOptions) error {
	b, err := proto.Marshal(&api.ScanRequest{First: o.First, Last: o.Last, After: o.After, Level: o.Level.message(),
		Limit: uint32(max(o.Limit, 0)), KeysOnly: o.KeysOnly})
	if err != nil {
		return err
	}
	if err := stream.SendMsg(outgoing{mem.SliceBuffer(b)}); err != nil && err != io.EOF {
		return err
	} // of an io.EOF receiving tells the cause
	return stream.CloseSend()
}

// turnOf returns the node whose turn it is, after so many have failed: those that seem to answer come first.
func (v *view) turnOf(c *Client, failed int) *node {
	first := int(c.turn.Add(1))
	for i := range v.nodes {
		if n := v.nodes[(first+i)%len(v.nodes)]; n.state.Load() != stateDown && !n.suspect.Load() && failed < len(v.nodes) {
			return n
		}
	}
	return v.nodes[first%len(v.nodes)]
}
