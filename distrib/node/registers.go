package node

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/antientropy"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// restoreRegisters has a node that is new, or has lost its store, take part in the registers of its keys: package register says
// why so. It ends once that is done.
func (n *Node) restoreRegisters(ctx context.Context) {
	trouble := ""
	for wait := tick / 20; n.registers.Since() != 0; wait = min(2*wait, tick) {
		err := n.restore(ctx)
		switch {
		case err == nil:
			n.opts.Logger.Info("the node takes part in all registers of its keys", "epoch", n.epoch())
			return
		case ctx.Err() == nil && err.Error() != trouble: // said once
			trouble = err.Error()
			n.opts.Logger.Info("registers are not restored yet", "error", err)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// restore tries once.
func (n *Node) restore(ctx context.Context) error {
	if n.registers.Lost() {
		if err := n.rejoin(ctx); err != nil {
			return err
		}
	}
	own, _ := n.stretches(antientropy.Slots{Last: math.MaxUint64})
	fenced := map[uint64]error{} // why a node cannot be copied from, by those asked
	for _, s := range own {
		if err := n.copyRegisters(ctx, s, fenced); err != nil {
			return err
		}
	}
	if err := n.parts.data.Settle(); err != nil {
		return err
	}
	return n.registers.Restored()
}

// rejoin begins an epoch of which no proposer has heard from this node before. That in which it has joined is one.
func (n *Node) rejoin(ctx context.Context) error {
	if !n.joined {
		err := n.change(ctx, func(t *distrib.Topology) *distrib.Topology {
			next := *t
			next.Epoch++
			return &next
		})
		if err != nil {
			return fmt.Errorf("begin an epoch: %w", err)
		}
	}
	return n.registers.Rejoin(n.epoch())
}

// copyRegisters takes over what others have accepted of a stretch, from so many of its owners that nothing decided can be missing.
func (n *Node) copyRegisters(ctx context.Context, s ring.Stretch, fenced map[uint64]error) error {
	var missing error
	left := len(s.Nodes) - len(s.Nodes)/2
	left = min(left, len(s.Nodes)-1)
	for _, id := range s.Nodes {
		if id == n.self.Load().ID {
			continue
		}
		err, asked := fenced[id]
		if !asked {
			err = n.fencedOff(ctx, id)
			fenced[id] = err
		}
		if err == nil {
			err = antientropy.CopyRegisters(ctx, patient{n.parts.client}, id, s.First.Hi, s.Last.Hi, nil, func(key, state []byte) error {
				_, err := n.parts.data.Adopt(key, state)
				return err
			})
		}
		if err != nil {
			missing = errors.Join(missing, err)
			continue
		}
		left--
	}
	if left > 0 {
		return missing
	}
	return nil
}

// fencedOff says why another node may still take requests of before this one came back; nil: it does not.
func (n *Node) fencedOff(ctx context.Context, id uint64) error {
	v := n.view()
	m := v.members[id]
	ctx, cancel := context.WithTimeout(ctx, 2*tick)
	defer cancel()
	r, err := n.askStage(ctx, m, &api.StageRequest{ClusterId: v.topology.ClusterID, Epoch: v.topology.Epoch})
	switch since := n.registers.Since(); {
	case err != nil:
		return fmt.Errorf("%s does not say which epoch it has: %w", m.Name, err)
	case r.Oldest < since:
		return fmt.Errorf("%s has operations of epoch %d under way, this node came back in %d", m.Name, r.Oldest, since)
	}
	return nil
}
