package topology

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/cambiumdb/cambium/distrib"
)

// progressKey is where a node keeps how far it is.
var progressKey = []byte{byte(distrib.SpaceMeta), 'm', 'o', 'v', 'e'}

// progress is how far a node is with its part in a stage of a change, so that it goes on there after a restart. It is
// kept as JSON.
type progress struct {
	Change string
	Stage  distrib.Stage
	Ranges []byte // a bit for each piece that is done, the lowest first
	Done   bool
	// Keys and Bytes are what the pieces that are done held at their end: what the node was given, in all stages.
	Keys  int
	Bytes int64
}

func loadProgress(s distrib.Store) (p progress, err error) {
	b, err := s.Get(progressKey)
	if errors.Is(err, distrib.ErrNotFound) {
		return progress{}, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &p)
	}
	if err != nil {
		return progress{}, fmt.Errorf("progress of a change of owners: %w", err)
	}
	return p, nil
}

// save writes p. What the store was given before is durable once p is.
func (p *progress) save(s distrib.Store, sync distrib.Sync) error {
	b, err := json.Marshal(p)
	if err == nil {
		err = s.Apply([]distrib.Op{{Key: progressKey, Value: b}}, sync)
	}
	if err != nil {
		return fmt.Errorf("progress of change %s: %w", p.Change, err)
	}
	return nil
}

// of makes p that of a stage, unless it is already.
func (p *progress) of(c *distrib.Change) {
	if p.Change == c.ID && p.Stage == c.Stage {
		return
	}
	next := progress{Change: c.ID, Stage: c.Stage}
	if p.Change == c.ID {
		next.Keys, next.Bytes = p.Keys, p.Bytes
	}
	*p = next
}

func (p *progress) has(i int) bool { return i/8 < len(p.Ranges) && p.Ranges[i/8]>>(i%8)&1 != 0 }

// mark notes that piece i is done.
func (p *progress) mark(i int) {
	p.Ranges = slices.Clone(p.Ranges) // it may be on its way to the store
	for len(p.Ranges) <= i/8 {
		p.Ranges = append(p.Ranges, 0)
	}
	p.Ranges[i/8] |= 1 << (i % 8)
}

// count is how many of n pieces are done.
func (p *progress) count(n int) (done int) {
	for i := range n {
		if p.has(i) {
			done++
		}
	}
	return done
}
