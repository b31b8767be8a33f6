package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/cambiumdb/cambium/distrib"
	"github.com/cambiumdb/cambium/distrib/api"
)

// Role is the part that a node has in a change of the members.
type Role uint8

// The roles.
const (
	Source Role = iota // it has what moves
	Target             // it gets it
	Owner              // it drives the change
)

// String is the role's name.
func (r Role) String() string { return [...]string{"source", "target", "owner"}[r] }

// stages of a change, in their order.
var stages = []distrib.Stage{distrib.StageDouble, distrib.StageStream, distrib.StageVerify, distrib.StageSwitch, distrib.StageClean}

// Change is a change of the members, and who is killed at which of its stages.
type Change struct {
	Leave int // the node, 1 is the first; 0: a new one joins
	Kills map[distrib.Stage]Role
	Lasts time.Duration // until who was killed is started again
}

// Changes makes rounds of changes: two nodes join, and the one that has been there longest leaves. With all, somebody is killed
// at each stage: in three changes that follow each other each role once at each. Else there is one kill a change. Equal
// arguments make equal changes.
func Changes(seed uint64, rounds int, all bool) (list []Change) {
	r := rand.New(rand.NewPCG(seed, uint64(rounds)))
	for i := range 3 * rounds {
		c := Change{Kills: map[distrib.Stage]Role{}, Lasts: time.Second + time.Duration(r.IntN(1000))*time.Millisecond}
		if i%3 == 2 {
			c.Leave = i/3 + 1
		}
		for k, stage := range stages {
			c.Kills[stage] = Role((i + i/3 + k) % 3)
		}
		if !all {
			only := stages[r.IntN(len(stages))]
			c.Kills = map[distrib.Stage]Role{only: c.Kills[only]}
		}
		list = append(list, c)
	}
	return list
}

// Changed is what became of a change.
type Changed struct {
	Name           string
	Planned, Moved uint64 // bytes
	Took           time.Duration
	Kills          []string // as it was done: "n2, source in stream"
	Missed         []string // stages that were over before anybody could be killed
}

// RunChanges is Run with changes of the members instead of faults.
func RunChanges(ctx context.Context, o Options, changes []Change) (*Report, error) {
	return o.run(ctx, func(ctx context.Context, r *run) error {
		random := rand.New(rand.NewPCG(r.Seed, uint64(len(changes))))
		for _, c := range changes {
			if err := r.change(ctx, c, random); err != nil {
				return err
			}
			r.calm(ctx, time.Second)
		}
		return nil
	})
}

// change carries out a change, and returns when it is done and all have recovered.
func (r *run) change(ctx context.Context, c Change, random *rand.Rand) error {
	w := Window{Kind: "join", From: time.Since(r.load.began)}
	name, want := fmt.Sprintf("n%d", c.Leave), &api.Change{Kind: "leave"}
	if c.Leave == 0 {
		if err := r.cluster.add(ctx); err != nil {
			return err
		}
		name, want.Kind = r.cluster.nodes[len(r.cluster.nodes)-1].name, "join"
	}
	want.Node, w.Kind, w.Name = name, want.Kind, want.Kind+" "+name
	if err := r.patiently(ctx, r.cluster.recovered); err != nil {
		return fmt.Errorf("before %s: %w", w.Name, err)
	}
	t := &transition{run: r, Change: c, name: name, random: random, changed: Changed{Name: w.Name}}
	if err := t.begin(ctx, want); err != nil {
		return fmt.Errorf("%s: %w", w.Name, err)
	}
	r.cluster.nodes[r.cluster.named(name)].leaves = c.Leave > 0
	began := time.Now()
	if err := t.follow(ctx); err != nil {
		return fmt.Errorf("%s: %w", w.Name, err)
	}
	t.changed.Took = time.Since(began)
	if c.Leave > 0 {
		if err := r.cluster.remove(ctx, r.cluster.named(name)); err != nil {
			return fmt.Errorf("%s: %w", w.Name, err)
		}
	}
	if err := r.patiently(ctx, r.cluster.recovered); err != nil {
		return fmt.Errorf("after %s: %w", w.Name, err)
	}
	w.To = time.Since(r.load.began)
	r.report.Windows, r.report.Changes = append(r.report.Windows, w), append(r.report.Changes, t.changed)
	r.Logf("%s", t.changed)
	return nil
}

// String is all of it.
func (c Changed) String() string {
	return fmt.Sprintf("%s: moved %d of %d planned bytes in %.1f s; killed %s; missed [%s]", c.Name, c.Moved, c.Planned, c.Took.Seconds(),
		strings.Join(c.Kills, ", "), strings.Join(c.Missed, " "))
}

// transition is a change under way.
type transition struct {
	*run
	Change
	name    string // of the node that joins or leaves
	id      string // of the plan
	epoch   uint64 // with which it began
	random  *rand.Rand
	changed Changed
}

// begin plans and commits, again where the cluster changed in between.
func (t *transition) begin(ctx context.Context, want *api.Change) error {
	return t.patiently(ctx, func(ctx context.Context) []string {
		cluster := api.NewClusterClient(t.cluster.nodes[t.random.IntN(len(t.cluster.nodes))].conn)
		plan, err := cluster.Plan(ctx, &api.PlanRequest{Changes: []*api.Change{want}})
		if err != nil {
			return []string{err.Error()}
		}
		committed, err := cluster.Commit(ctx, &api.CommitRequest{Id: plan.Id})
		if err != nil {
			return []string{err.Error()}
		}
		t.id, t.epoch, t.changed.Planned = plan.Id, committed.Epoch, plan.Bytes
		return nil
	})
}

// follow kills at the stages, and returns when the change is done.
func (t *transition) follow(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, t.Patience)
	defer cancel()
	counting, stop := context.WithCancel(ctx)
	var counted sync.WaitGroup
	counted.Go(func() { t.count(counting, slices.Clone(t.cluster.nodes)) })
	defer counted.Wait()
	defer stop()
	seen := distrib.Stage("")
	for {
		stage, epoch := t.cluster.stage(ctx)
		switch {
		case ctx.Err() != nil:
			return fmt.Errorf("%w in stage %q of epoch %d", context.Cause(ctx), stage, epoch)
		case stage == "" && epoch > t.epoch:
			t.missed(seen, "")
			return nil
		case stage != "" && stage != seen:
			t.missed(seen, stage)
			seen = stage
			if role, kill := t.Kills[stage]; kill {
				if err := t.kill(ctx, stage, role); err != nil {
					return err
				}
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// missed notes the stages between two at which somebody was to be killed.
func (t *transition) missed(last, now distrib.Stage) {
	end := len(stages)
	if now != "" {
		end = slices.Index(stages, now)
	}
	for _, stage := range stages[slices.Index(stages, last)+1 : max(end, slices.Index(stages, last)+1)] {
		if _, kill := t.Kills[stage]; kill {
			t.changed.Missed = append(t.changed.Missed, string(stage))
		}
	}
}

// kill kills a node of that role and starts it again.
func (t *transition) kill(ctx context.Context, stage distrib.Stage, role Role) error {
	node := t.pick(ctx, role)
	name := fmt.Sprintf("%s, %s in %s", t.cluster.nodes[node].name, role, stage)
	t.changed.Kills = append(t.changed.Kills, name)
	err := t.fault(ctx, Fault{Kind: Kill, Node: node, Lasts: t.Lasts}, "kill "+name)
	if err != nil && t.cluster.nodes[node].leaves && t.cluster.left(ctx, t.name) {
		return nil // the change had ended just before, and a node that has left does not start again
	}
	return err
}

// pick is a node that has that role in the change.
func (t *transition) pick(ctx context.Context, role Role) int {
	own := t.cluster.named(t.name)
	if role == Owner {
		for _, n := range t.cluster.nodes {
			if status, err := n.status(ctx); err == nil && status.Transition != nil {
				if at := t.cluster.named(status.Transition.Owner); at >= 0 {
					return at
				}
			}
		}
	}
	if (role == Source) == (t.Leave > 0) {
		return own
	}
	others := make([]int, 0, len(t.cluster.nodes))
	for i := range t.cluster.nodes {
		if i != own {
			others = append(others, i)
		}
	}
	return others[t.random.IntN(len(others))]
}

// count notes the most that was said to have moved, until ctx ends.
func (t *transition) count(ctx context.Context, nodes []*node) {
	for ctx.Err() == nil {
		for _, n := range nodes {
			if status, err := n.status(ctx); err == nil && status.Transition != nil && status.Transition.Id == t.id {
				t.changed.Moved = max(t.changed.Moved, status.Transition.BytesMoved)
			}
		}
		sleep(ctx, 50*time.Millisecond)
	}
}

// stage is that of the change, and the epoch, as the node that knows most has it.
func (c *cluster) stage(ctx context.Context) (stage distrib.Stage, epoch uint64) {
	for _, n := range c.nodes {
		if ring, err := n.ring(ctx); err == nil && ring.Epoch > epoch {
			stage, epoch = distrib.Stage(ring.Stage), ring.Epoch
		}
	}
	return stage, epoch
}

// left reports whether a node says that one is no member any more.
func (c *cluster) left(ctx context.Context, name string) bool {
	for _, n := range c.nodes {
		if ring, err := n.ring(ctx); err == nil && ring.Stage == "" {
			return !slices.ContainsFunc(ring.Members, func(m *api.Member) bool { return m.Name == name })
		}
	}
	return false
}

// ring asks a node for the ring that it knows.
func (n *node) ring(ctx context.Context) (*api.RingResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	return api.NewClusterClient(n.conn).Ring(ctx, &api.RingRequest{})
}
