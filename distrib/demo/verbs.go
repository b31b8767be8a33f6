package demo

import (
	"context"
	"fmt"
	"slices"
	"strings"
)

// verb is what a statement can do.
type verb struct {
	name  string
	args  []string // the last ones may be left out where they stand in brackets
	flags []string
	help  string
	check func(st *statement) (problem string) // what the parts alone do not show
	run   func(s *Shell, ctx context.Context, st *statement) error
}

// verbs are all of them, in the order of \help. It is filled by init, since \help reads it.
var verbs []*verb

func init() {
	read := []string{"--consistency", "-r", "--strict", "--at"}
	write := []string{"--consistency", "-w", "--strict", "--at"}
	verbs = []*verb{
		{name: "put", args: []string{"K", "V"}, flags: append([]string{"--ttl", "--no-context"}, write...), run: (*Shell).put,
			help: "store the value V under the key K"},
		{name: "get", args: []string{"K"}, flags: read, run: (*Shell).get,
			help: "read K: its value, or several where writers did not know of each other"},
		{name: "del", args: []string{"K"}, flags: append([]string{"--no-context"}, write...), run: (*Shell).del,
			help: "delete K"},
		{name: "cas", args: []string{"K", "NEW"}, flags: []string{"--old", "--absent", "--ttl", "--at"}, run: (*Shell).cas,
			check: func(st *statement) string {
				if (st.opts.old != nil) == st.opts.absent {
					return "one of --old and --absent is needed"
				}
				return ""
			},
			help: "store NEW only if the value is OLD, or if there is none: linearizable, as all with that consistency"},
		{name: "scan", flags: read, run: (*Shell).scan,
			help: "list all keys, in the order of their places on the ring"},
		{name: "where", args: []string{"K"}, flags: []string{"--at"}, run: (*Shell).where,
			help: "which nodes K lives on, and which stand in for them"},
		{name: "resolve", args: []string{"K", "[OP]"}, flags: []string{"--consistency", "--at"}, run: (*Shell).resolve,
			help: "what became of a write whose outcome was unknown: the last one of K, or that of the name OP"},

		{name: `\kill`, args: []string{"N"}, run: (*Shell).kill,
			help: "end node N at once, as kill -9 does"},
		{name: `\stop`, args: []string{"N"}, run: (*Shell).stop,
			help: "end node N in order"},
		{name: `\start`, args: []string{"N"}, run: (*Shell).start,
			help: "start node N again, with what its directory holds"},
		{name: `\pause`, args: []string{"N"}, run: (*Shell).pause,
			help: "freeze node N: it neither answers nor ends"},
		{name: `\resume`, args: []string{"N"}, run: (*Shell).resume,
			help: "let node N go on"},
		{name: `\partition`, args: []string{"SIDES"}, run: (*Shell).partition,
			help: `cut the network between sides: \partition 1|2,3; or, one way, what goes from 1 to 2 and 3: \partition 1>2,3`},
		{name: `\heal`, run: (*Shell).heal,
			help: "mend the network, and end all delays"},
		{name: `\slow`, args: []string{"N", "DELAY"}, run: (*Shell).slow,
			help: `have node N wait before each request of another node: \slow 3 200ms; 0s ends it`},
		{name: `\wait`, args: []string{"[WHAT]", "[NODE]"}, check: checkWait, run: (*Shell).wait,
			help: "wait until the nodes hold the same and keep nothing for each other; or, as " + strings.Join(waitForms, ", ") +
				", until node N and those that cannot, or can, reach it see each other so, or one keeps a write for it"},
		{name: `\status`, run: (*Shell).status,
			help: "what the nodes do, and how they see each other"},
		{name: `\hints`, run: (*Shell).hints,
			help: "which nodes keep writes for others"},
		{name: `\connect`, run: (*Shell).connect,
			help: "how to reach the nodes from other programs"},
		{name: `\help`, run: (*Shell).help,
			help: "this list"},
		{name: `\quit`, run: func(*Shell, context.Context, *statement) error { return errQuit },
			help: "end the demo and its nodes"},
	}
}

// waitForms are what \wait can wait for beside the default, converged.
var waitForms = []string{`\wait down N`, `\wait up N`, `\wait hint N`}

func checkWait(st *statement) string {
	switch {
	case len(st.args) == 0 || len(st.args) == 1 && st.args[0] == "converged":
		return ""
	case !slices.Contains([]string{"down", "up", "hint"}, st.args[0]):
		return fmt.Sprintf("%q is nothing to wait for", st.args[0])
	case len(st.args) == 1:
		return "a node is missing"
	}
	if _, err := parseNode(st.args[1]); err != nil {
		return err.Error()
	}
	return ""
}

// usage is the form of a statement with the verb.
func (v *verb) usage() string {
	switch v.name {
	case "cas":
		return "cas K NEW (--old OLD | --absent) [--ttl TIME] [--at N]"
	case `\wait`:
		return `\wait [converged], ` + strings.Join(waitForms, ", ")
	}
	u := strings.Join(append([]string{v.name}, v.args...), " ")
	for _, name := range v.flags {
		i := slices.IndexFunc(flags, func(f flag) bool { return f.name == name })
		u += " [" + strings.TrimSpace(name+" "+flags[i].value) + "]"
	}
	return u
}

func verbNames() string {
	var names []string
	for _, v := range verbs {
		names = append(names, v.name)
	}
	return strings.Join(names, " ")
}

func (s *Shell) help(context.Context, *statement) error {
	s.printf("Statements, separated by ; or newlines. Words are quoted as in a shell; # begins a comment.\n\n")
	for _, v := range verbs {
		short := strings.Join(append([]string{v.name}, v.args...), " ")
		if v.name == "cas" {
			short += " (--old OLD | --absent)"
		}
		s.printf("  %s\n      %s\n", short, v.help)
	}
	s.printf("\nFlags of put, get, del, cas, scan, where, resolve:\n\n")
	for _, f := range flags {
		s.printf("  %-20s %s\n", strings.TrimSpace(f.name+" "+f.value), f.help)
	}
	s.printf("\n%s", clockHelp)
	return nil
}

const clockHelp = `Behind a value stands which write of its key it is: [n1:2] is the second of those that n1 stored first.
Where there are several values, it is the clock of each, the writes that its writer had seen and itself:
[n1:2 n3:1] are two of n1 and one of n3, n1:+4 is the fourth of n1 alone. A value whose clock holds the
write of another replaces it; else both are kept. n3.2:1 is the first of n3 since it began to count anew, as
a node does where its copy may have been lost. register:2 is the second that was linearizable.
`
