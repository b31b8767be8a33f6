package check

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"github.com/stretchr/testify/require"

	"github.com/cambiumdb/cambium/distrib"
)

// TestLinearizable runs histories of one key, a line for each step:
//
//	FROM-TO get -> [SIBLING..]
//	FROM-TO KIND NAME [expect=NAME] [read=NAME,..] [-> [mismatch] SIBLING..|none]
//
// TO is ? where the outcome is UNKNOWN, ! where it is FAILED. KIND is put, absent, value, seen, beside or delete. What is written
// is the letters of its name, so that a1 and a2 are two writes of one value. Without -> nobody knows what was found; -> none is
// an answer that does not show deletes.
func TestLinearizable(t *testing.T) {
	datadriven.RunTest(t, "testdata/linear", func(t *testing.T, d *datadriven.TestData) string {
		var steps []Step
		for line := range strings.Lines(d.Input) {
			steps = append(steps, parseStep(t, line))
		}
		var b strings.Builder
		violations, undecided := Linearizable(steps)
		require.Empty(t, undecided)
		for _, v := range violations {
			fmt.Fprintf(&b, "%s %s\n", strings.TrimRight(string(v.Op[:]), "\x00"), v.What)
		}
		if b.Len() == 0 {
			return "right\n"
		}
		return strings.TrimLeft(b.String(), " ")
	})
}

func parseStep(t *testing.T, line string) Step {
	asked, answer, answered := strings.Cut(line, "->")
	words := strings.Fields(asked)
	s := Step{Key: "k", Blind: !answered}
	from, to, _ := strings.Cut(words[0], "-")
	var err error
	s.Call, err = strconv.ParseInt(from, 10, 64)
	require.NoError(t, err)
	switch to {
	case "?":
		s.Outcome = Unknown
	case "!":
		s.Outcome = Failed
	default:
		s.Return, err = strconv.ParseInt(to, 10, 64)
		require.NoError(t, err)
	}
	for _, name := range strings.Fields(answer) {
		switch name {
		case "mismatch":
			s.Mismatch = true
		case "none":
			s.Absent = true
		default:
			s.Found = append(s.Found, named([]string{name})...)
		}
	}
	if words[1] == "get" {
		return s
	}
	kinds := map[string]Condition{"put": Always, "delete": Always, "absent": IfAbsent, "value": IfValue, "seen": IfSeen, "beside": Beside}
	require.Contains(t, kinds, words[1])
	s.If, s.Delete = kinds[words[1]], words[1] == "delete"
	s.Op, s.Value = named(words[2:3])[0], strings.TrimRight(words[2], "0123456789")
	for _, w := range words[3:] {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "expect":
			s.Expect = value
		case "read":
			s.Read = named(strings.Split(value, ","))
		default:
			t.Fatal(line)
		}
	}
	return s
}

// TestBlind: what a blind step says that it found counts for nothing, also where others show that it returned before that was written.
func TestBlind(t *testing.T) {
	var steps []Step
	for _, line := range []string{"1-20 put a -> b", "3-4 get -> a", "5-6 put b -> b", "7-8 get -> a"} {
		steps = append(steps, parseStep(t, line))
	}
	steps[0].Blind, steps[3].Blind = true, true
	violations, undecided := Linearizable(steps)
	require.Empty(t, violations)
	require.Empty(t, undecided)
	steps[3].Blind = false
	violations, _ = Linearizable(steps)
	require.Len(t, violations, 1)
}

// TestDraw: the page of a wrong history names its steps.
func TestDraw(t *testing.T) {
	steps := []Step{parseStep(t, "1-2 put a -> a"), parseStep(t, "3-4 get -> ")}
	violations, _ := Linearizable(steps)
	require.Len(t, violations, 1)
	var page bytes.Buffer
	require.NoError(t, Draw(&page, steps, "k"))
	require.Contains(t, page.String(), "<html")
	require.Contains(t, page.String(), "read -\\u003e ok {}")
}

// TestLinearizableKeepsKeysApart: what is right of one key is wrong of another.
func TestLinearizableKeepsKeysApart(t *testing.T) {
	a := parseStep(t, "1-2 put a -> a")
	read := parseStep(t, "3-4 get -> a")
	read.Key = "j"
	violations, _ := Linearizable([]Step{a, read})
	require.Equal(t, []Violation{{"j", a.Op, "foreign: nobody wrote it to this key"}}, violations)
}

// TestManyUnknown: writes that may never have happened, and of which nothing shows, do not make the history hard to judge.
func TestManyUnknown(t *testing.T) {
	var steps []Step
	for i := range 2000 {
		s := Step{Key: "k", Client: i, Call: int64(3 * i), Return: int64(3*i + 2), Value: strconv.Itoa(i)}
		s.Op = named([]string{"w" + strconv.Itoa(i)})[0]
		s.Found = []distrib.OpID{s.Op}
		if i%4 == 0 {
			s.Outcome = Unknown
		}
		steps = append(steps, s)
	}
	violations, undecided := Linearizable(steps)
	require.Empty(t, violations)
	require.Empty(t, undecided)
}

// TestJudge: a write that replicas have stored as two may come to light twice, and others may not.
func TestJudge(t *testing.T) {
	var steps []Step
	for _, line := range []string{"1-20 beside b", "3-4 get -> b", "5-6 put a -> a", "7-8 get -> a b"} {
		steps = append(steps, parseStep(t, line))
	}
	require.Equal(t, Mixture{Twice: []string{"k"}}, Judge(steps, map[distrib.OpID]bool{steps[0].Op: true}, time.Second))
	require.Equal(t, Mixture{Violations: []Violation{{Key: "k", What: "not linearizable"}}}, Judge(steps, map[distrib.OpID]bool{steps[2].Op: true}, time.Second))
}
