package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
)

const tourNodes = 3

// step of the tour: what is shown and why it matters, the statements that show it, and what they print if it is so.
type step struct{ says, script, want string }

var tourSteps = []step{
	{`Every key lives on three of the nodes. They are equal: any of them takes any request. A write is good
when two of the three have stored it, and a read when two have answered.`,
		`where color; put color red; get color --at 2`,
		`color lives on n3, n2, n1
ok: at least 2 nodes have it
color = red  [n1:1]
`},
	{`A client sends what it last read of a key with its next write. So the cluster knows that blue replaces
red. [n1:2] says which write it is: the second of those that n1 was the first to store.`,
		`put color blue; get color`,
		`ok: at least 2 nodes have it
color = blue  [n1:2]
`},
	{`Where one of two writers must win, compare-and-swap stores a value only if the key is as it expects. Such
operations are linearizable: they have one order, which a majority of the key's nodes decides.`,
		`cas seat Ada --absent; cas seat Bob --absent; get seat --at 2 --consistency linearizable; \wait`,
		`ok: swapped
lost: seat = Ada  [register:1]
seat = Ada  [register:1]
the nodes hold the same, and keep nothing for each other
`},
	{`Now the network breaks: n1 on one side, n2 and n3 on the other. A client on each side has read blue.`,
		`\partition 1|2,3; \wait down 1; get color --at 1 --consistency one; get color --at 2`,
		`n1 | n2, n3 cannot reach each other
n1 and the nodes that cannot reach it see each other as down
color = blue  [n1:2]
color = blue  [n1:2]
`},
	{`Both write, and both succeed: the store stays writable on both sides. The client of the smaller side says
that one node is enough for it.`,
		`put color green --at 1 --consistency one; put color yellow --at 2`,
		`ok: at least 1 node has it
ok: at least 2 nodes have it
`},
	{`Only one side can hold a majority. The smaller one refuses what is linearizable, at once, and what it reads may be
out of date.`,
		`cas seat Eve --old Ada --at 1; cas seat Grace --old Ada --at 2; get seat --at 1 --consistency one`,
		`failed: not enough nodes answered
  n2, n3 did not answer; n1 reachable
ok: swapped
seat = Ada  [register:1]
  seat is linearizable: what was written last may be missing here
`},
	{`The network is mended, and the nodes exchange what they missed. Neither writer had seen the other's value,
so none may be thrown away: both come back, with their clocks.`,
		`\heal; \wait; get color; get seat --at 1 --consistency linearizable`,
		`all nodes can reach each other
the nodes hold the same, and keep nothing for each other
color has 2 values, of which none replaces another:
  green  [n1:3]
  yellow  [n1:2 n2:1]
seat = Grace  [register:2]
`},
	{`Whoever has read both decides. This write says that it has seen them, so it replaces them.`,
		`put color purple; get color`,
		`ok: at least 2 nodes have it
color = purple  [n1:4]
`},
	{`A node is killed with kill -9. Writes and reads go on, since two of three are enough.`,
		`\kill 3; put fruit apple; put color orange; get fruit`,
		`n3 is killed
ok: at least 2 nodes have it
ok: at least 2 nodes have it
fruit = apple  [n1:1]
`},
	{`What n3 misses is kept for it by a node that has it. This is called a hint.`,
		`\wait hint 3; \hints`,
		`a node keeps writes for n3
n1 keeps writes for n3
`},
	{`The node comes back with its old data, and is handed what it missed. Asked alone, it has the new values.`,
		`\start 3; \wait; \hints; get fruit --at 3 --consistency one; get color --at 3 --consistency one`,
		`n3 is running
the nodes hold the same, and keep nothing for each other
no node keeps writes for another
fruit = apple  [n1:1]
color = orange  [n1:5]
`},
	{`At the end everything is whole, and every node sees every other.`,
		`\status; scan`,
		`node  process  network  others see it  keeps writes for
n1    running  whole    up             -
n2    running  whole    up             -
n3    running  whole    up             -
seat = Grace  [register:2]
color = orange  [n1:5]
fruit = apple  [n1:1]
3 keys
`},
}

// tour carries out its steps and compares what they print with what they promise.
func (s *Shell) tour(ctx context.Context) (code int, err error) {
	for i, step := range tourSteps {
		s.printf("\n%d. %s\n\n", i+1, step.says)
		list, err := parse(step.script)
		if err != nil {
			return exitUsage, err
		}
		printed := s.record(func() {
			for i := range list {
				fmt.Fprintf(s.out.(*recorder).to, "> %s\n", list[i].text)
				s.do(ctx, &list[i])
			}
		})
		switch {
		case ctx.Err() != nil:
			return exitUnavailable, context.Cause(ctx)
		case printed != step.want:
			s.printf("\nThis step did not show what it says. It was to print:\n\n%s\n", step.want)
			return exitUnavailable, fmt.Errorf("step %d of the tour failed", i+1)
		}
	}
	s.printf("\n")
	return exitOK, nil
}

// recorder keeps what goes through it.
type recorder struct {
	to   io.Writer
	kept bytes.Buffer
}

func (r *recorder) Write(b []byte) (int, error) {
	r.kept.Write(b)
	return r.to.Write(b)
}

// record returns what f prints, which is printed all the same.
func (s *Shell) record(f func()) string {
	r := &recorder{to: s.out}
	s.out = r
	defer func() { s.out = r.to }()
	f()
	return r.kept.String()
}
