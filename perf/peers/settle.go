package peers

import (
	"context"
	"time"
)

// Engines that have no call for "nothing left to do" are asked: idle is true when it was true
// idleLooks times in a row, so that the moment between two compactions does not count.
const (
	idleLooks = 5
	idlePause = 60 * time.Millisecond
)

// waitIdle returns when idle has been true for a while, or with ctx's error.
func waitIdle(ctx context.Context, idle func() bool) error {
	tick := time.NewTicker(idlePause)
	defer tick.Stop()
	for looks := 0; looks < idleLooks; {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if looks++; !idle() {
			looks = 0
		}
	}
	return nil
}
