package topology

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
	"github.com/cambiumdb/cambium/distrib/coordinator"
	"github.com/cambiumdb/cambium/distrib/ring"
)

// until waits until the change is in a stage.
func (c *cluster) until(s distrib.Stage) {
	for c.topology().Change.Stage != s {
		time.Sleep(5 * time.Millisecond)
	}
}

// TestPowerFails: a node that loses power behind a stage, and all that was not durable, has what it was given.
func TestPowerFails(t *testing.T) {
	for _, s := range []distrib.Stage{distrib.StageStream, distrib.StageVerify, distrib.StageSwitch, distrib.StageClean} {
		t.Run(string(s), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t, 1, 4)
				defer c.stop()
				c.preload(200)
				p := c.join("n4")
				c.until(s)
				time.Sleep(300 * time.Millisecond)
				c.kill(4)
				time.Sleep(2 * suspicion)
				c.restart(4, 0)
				c.settled()
				c.requireMoved(p)
				c.requireEach(200)
			})
		})
	}
}

// TestTakeOver: another node goes on with a change whose owner is killed.
func TestTakeOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 4)
		defer c.stop()
		c.preload(50)
		c.join("n4")
		c.until(distrib.StageStream)
		owner := c.topology().Change.Owner
		c.kill(owner)
		time.Sleep(5 * suspicion)
		at := c.topology()
		require.NotEqual(t, owner, at.Change.Owner)
		status := c.node(at.Change.Owner).mover.Status(t.Context())
		require.Contains(t, status.Waiting, nameOf(at, owner)+": it is down")
		require.Equal(t, []string{"join n4"}, status.Changes)
		c.restart(owner, 0)
		c.settled()
		require.Nil(t, c.node(1).mover.Status(t.Context()))
		c.requireEach(50)
	})
}

// TestOldOperationHoldsStage: as long as a write that goes to the old owners only is under way, nothing is given to the
// new ones, and it is there in the end.
func TestOldOperationHoldsStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 4)
		defer c.stop()
		c.preload(50)
		view, release := c.node(2).mover.View()
		require.True(t, view.Steady())
		c.join("n4")
		time.Sleep(time.Minute)
		require.Equal(t, distrib.StageDouble, c.topology().Change.Stage)
		require.Equal(t, []string{"n2: operations of epoch 1 go on, the stage began with 2"}, c.node(3).mover.Status(t.Context()).Waiting)
		release()
		c.settled()

		view, release = c.node(2).mover.View()
		c.change(&api.Change{Kind: "leave", Node: "n4"})
		released, err := c.node(3).mover.Admit(1, c.topology().Epoch) // a request that is carried out
		require.NoError(t, err)
		release()
		time.Sleep(time.Minute)
		require.Equal(t, distrib.StageDouble, c.topology().Change.Stage)
		released()
		c.settled()
		require.True(t, view.Steady())
	})
}

// TestDeliverWhileOwnersChange: what was kept for an owner goes to both ends, and later to the new one.
func TestDeliverWhileOwnersChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 4)
		defer c.stop()
		c.join("n4")
		time.Sleep(600 * time.Millisecond) // all have heard of it
		c.meta.SetDown(true)               // it stands still
		view, release := c.node(1).mover.View()
		require.False(t, view.Steady())
		var key []byte
		lost := uint64(0)
		for i := 0; lost == 0; i++ {
			key = keyOf(i)
			for _, s := range view.Seats(ring.TokenOf(key)) {
				if s.Ends == ring.OldEnd {
					lost = s.Node
				}
			}
		}
		record := distrib.Record{{Dot: c.strange(), Value: distrib.Value{Data: []byte("kept")}}}
		require.NoError(t, c.node(1).mover.Deliver(t.Context(), lost, key, record))
		for _, s := range view.Seats(ring.TokenOf(key)) {
			held, err := c.node(s.Node).own.Read(key)
			require.NoError(t, err)
			require.Len(t, held, 1, "node %d", s.Node)
		}
		release()
		c.meta.SetDown(false)
		c.settled()
		require.Len(t, c.requirePlaced(key), 1)
		record = distrib.Record{{Dot: c.strange(), Value: distrib.Value{Data: []byte("kept for long")}}}
		require.NoError(t, c.node(1).mover.Deliver(t.Context(), lost, key, record))
		require.Len(t, c.requirePlaced(key), 2)
	})
}

// TestHintsLeaveFirst: a node goes only once it has handed over what it keeps for others.
func TestHintsLeaveFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 4)
		defer c.stop()
		c.join("n4")
		c.settled()
		c.mu.Lock()
		c.idle = true
		c.mu.Unlock()
		c.kill(3)
		time.Sleep(2 * suspicion)
		for i := range 200 {
			_, err := c.node(1).co.Put(t.Context(), keyOf(i), distrib.Value{Data: []byte("v")}, coordinator.WriteOptions{})
			require.NoError(t, err)
		}
		require.NotEmpty(t, c.node(1).hints.Kept())
		p, err := c.node(2).mover.Plan(t.Context(), &api.PlanRequest{Changes: []*api.Change{{Kind: "leave", Node: "n1"}}})
		require.NoError(t, err)
		require.Contains(t, p.Notes, "n3 is down: the change waits for it")
		_, err = c.node(1).mover.Commit(t.Context(), &api.CommitRequest{Id: p.Id})
		require.NoError(t, err)
		require.Equal(t, "n2", nameOf(c.topology(), c.topology().Change.Owner), "the owner stays")
		c.setSeat(1)
		c.restart(3, 1<<30)
		time.Sleep(time.Minute)
		require.Equal(t, []string{"n1: clean-up goes on: it keeps ring metadata"}, c.node(2).mover.Status(t.Context()).Waiting)
		c.setSeat(0)
		c.settled()
		require.Empty(t, c.node(1).hints.Kept())
		c.mu.Lock()
		c.idle = false
		c.mu.Unlock()
		time.Sleep(time.Minute)
		c.requireEach(200)
	})
}

// TestStragglers: what comes to an old owner late is found by the comparison as long as reads ask the old owners, and
// given to the new ones before it is removed.
func TestStragglers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 4)
		defer c.stop()
		c.preload(50)
		c.join("n4")
		c.until(distrib.StageStream)
		for !c.node(4).mover.Report().Done {
			time.Sleep(time.Millisecond)
		}
		view, release := c.node(1).mover.View()
		release()
		late := func(name string, e ring.Ends) (key []byte) {
			for i := 0; ; i++ {
				key = fmt.Appendf(nil, "%s %d", name, i)
				seats := view.Seats(ring.TokenOf(key))
				at := slices.IndexFunc(seats, func(s ring.Seat) bool { return s.Ends == e })
				if len(seats) == 3 || at < 0 {
					continue
				}
				_, err := c.node(seats[at].Node).own.Merge(key, distrib.Record{{Dot: c.strange()}}, distrib.SyncNow)
				require.NoError(t, err)
				return key
			}
		}
		stays := late("stays", ring.BothEnds)
		c.until(distrib.StageSwitch)
		held, err := c.node(4).own.Read(stays)
		require.NoError(t, err)
		require.Len(t, held, 1, "before anybody reads it there")
		goes := late("goes", ring.OldEnd)
		c.settled()
		require.Len(t, c.requirePlaced(stays), 1)
		require.Len(t, c.requirePlaced(goes), 1)
	})
}

// TestRemovedIsDurable: what a node that does not own it gives to the owners is durable there before it removes it.
func TestRemovedIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 4)
		defer c.stop()
		c.join("n4")
		c.settled()
		view, release := c.node(1).mover.View()
		release()
		key := keyOf(0)
		for i := 1; slices.ContainsFunc(view.Seats(ring.TokenOf(key)), func(s ring.Seat) bool { return s.Node == 1 }); i++ {
			key = keyOf(i)
		}
		n := c.node(1)
		_, err := n.own.Merge(key, distrib.Record{{Dot: c.strange()}}, distrib.SyncNow)
		require.NoError(t, err)
		require.NoError(t, n.mover.sweep(t.Context()))
		held, err := n.own.Read(key)
		require.NoError(t, err)
		require.Empty(t, held)
		for id := uint64(2); id <= 4; id++ {
			c.kill(id)
		}
		for id := uint64(2); id <= 4; id++ {
			c.restart(id, 0)
		}
		require.Len(t, c.requirePlaced(key), 1)
	})
}

// TestPlansAreForgotten: those for an epoch that is gone are not kept, and of one epoch so many.
func TestPlansAreForgotten(t *testing.T) {
	var p plans
	for epoch := uint64(1); epoch < 10; epoch++ {
		for i := range int64(100) {
			p.keep(&Plan{ID: fmt.Sprintf("%d-%d", epoch, i), Epoch: epoch}, i)
			require.Contains(t, p.bytes, fmt.Sprintf("%d-%d", epoch, i))
		}
		p.keep(&Plan{ID: "old", Epoch: epoch - 1}, 1)
		require.NotContains(t, p.bytes, "old")
		require.LessOrEqual(t, len(p.bytes), plansKept)
	}
}

// TestRemovalHoldsStage: a change does not go on while a node removes what it may be given by it.
func TestRemovalHoldsStage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 4)
		defer c.stop()
		c.preload(50)
		p := c.join("n4")
		c.until(distrib.StageVerify)
		gate := make(chan struct{})
		c.shut(gate)
		_, err := c.node(1).mover.Abort(t.Context(), &api.AbortRequest{Id: p.Id})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		c.join("n4")
		time.Sleep(time.Minute)
		require.Equal(t, distrib.StageDouble, c.topology().Change.Stage)
		require.Contains(t, c.node(1).mover.Status(t.Context()).Waiting[0], "n4: operations of epoch")
		c.shut(nil)
		close(gate)
		c.settled()
		c.requireEach(50)
	})
}

// TestReadsCountFirst: no read asks a node that may lack something.
func TestReadsCountFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 4)
		defer c.stop()
		c.setLacks(4)
		c.join("n4")
		time.Sleep(time.Minute)
		require.Equal(t, distrib.StageVerify, c.topology().Change.Stage)
		require.Contains(t, c.node(1).mover.Status(t.Context()).Waiting[0], "n4: 253 of 253 ranges: its reads do not count yet")
		c.setLacks(0)
		c.settled()
		require.Len(t, c.topology().Members, 4)
	})
}

// TestRecallElsewhere: a plan can be committed at a node that did not make it, once.
func TestRecallElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t, 1, 4)
		defer c.stop()
		c.preload(50)
		p, err := c.node(1).mover.Plan(t.Context(), &api.PlanRequest{Changes: []*api.Change{{Kind: "join", Node: "n4"}}})
		require.NoError(t, err)
		first, err := c.node(2).mover.Commit(t.Context(), &api.CommitRequest{Id: p.Id})
		require.NoError(t, err)
		require.EqualValues(t, p.Bytes, c.topology().Change.Bytes, "measured again")
		again, err := c.node(2).mover.Commit(t.Context(), &api.CommitRequest{Id: p.Id})
		require.NoError(t, err)
		require.GreaterOrEqual(t, again.Epoch, first.Epoch)
		c.settled()
		for _, id := range []string{"", "x", "1-grow:n4-0", p.Id, fmt.Sprintf("%d-join:n4-00000000", c.topology().Epoch)} {
			_, err := c.node(2).mover.Commit(t.Context(), &api.CommitRequest{Id: id})
			require.Error(t, err, "%q", id)
		}
	})
}
