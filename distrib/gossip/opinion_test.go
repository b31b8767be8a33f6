package gossip

import (
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
)

// TestNeverHeard: a node that nothing is known of is asked, and what becomes of that counts.
func TestNeverHeard(t *testing.T) {
	o := newOpinions(1, nil)
	require.Equal(t, distrib.Up, o.of(2).Liveness)
	now := time.Now()
	for range suspectAfter {
		o.observe(2, distrib.ErrRefused, now)
	}
	require.Equal(t, distrib.Down, o.of(2).Liveness, "nothing listens")
	o.observe(3, errors.New("lost"), now)
	require.Equal(t, distrib.Up, o.of(3).Liveness)
	o.gone(4, "it left", now)
	require.Equal(t, Opinion{Liveness: distrib.Down, Since: now, Reason: "it left"}, o.of(4))
	o.heard(Member{Node: 4, Name: "n4"}, now)
	require.Equal(t, distrib.Up, o.of(4).Liveness)
}

// TestForget: nodes that are gone are forgotten, unless they gossip.
func TestForget(t *testing.T) {
	o, now := newOpinions(1, nil), time.Now()
	for id := uint64(2); id <= 4; id++ {
		o.heard(Member{Node: id, Name: "n"}, now)
	}
	o.gone(2, "it left", now)
	o.gone(3, "it left", now)
	o.observe(5, distrib.ErrRefused, now)
	o.forget(func(node uint64) bool { return node != 3 })
	var left []uint64
	for _, m := range o.members() {
		left = append(left, m.Node)
	}
	require.ElementsMatch(t, []uint64{3, 4}, left)
}
