package demo

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cambiumdb/cambium/distrib/api"
)

// statement is one thing to do.
type statement struct {
	text string // as it was written
	verb *verb
	args []string // as many as the verb has, or fewer where the last ones may be left out
	opts options
}

// options are the flags of a statement.
type options struct {
	level     *api.Level
	at        int // node; 0: any
	ttl       time.Duration
	noContext bool
	old       *string
	absent    bool
}

// SyntaxError says what is wrong with a statement, and where.
type SyntaxError struct {
	Statement string // as it was written
	Line      int    // from 1
	Column    int    // in bytes, from 1
	Problem   string
}

// Error says all of it.
func (e *SyntaxError) Error() string {
	return fmt.Sprintf("line %d, column %d, in %q: %s", e.Line, e.Column, e.Statement, e.Problem)
}

// word is a part of a statement.
type word struct {
	text   string
	at     int  // its offset in the script
	end    int  // and that behind it
	quoted bool // some of it was quoted: it is no flag
}

// parse reads a script. Nothing of a script with an error is to be carried out.
func parse(script string) (list []statement, err error) {
	for at := 0; at < len(script); {
		words, end, err := split(script, at)
		text := strings.TrimSpace(script[at:end])
		if err == nil && len(words) > 0 {
			text = script[words[0].at:words[len(words)-1].end]
			var st statement
			st, err = understand(words, end)
			st.text = text
			list = append(list, st)
		}
		if err != nil {
			return nil, locate(script, text, err)
		}
		at = end + 1
	}
	return list, nil
}

// fault is a problem at an offset of the script.
type fault struct {
	at   int
	text string
}

func (f *fault) Error() string { return f.text }

func faultf(at int, format string, args ...any) error {
	return &fault{at, fmt.Sprintf(format, args...)}
}

func locate(script, text string, err error) error {
	f := err.(*fault)
	before := script[:f.at]
	return &SyntaxError{Statement: text, Line: 1 + strings.Count(before, "\n"), Column: len(before) - strings.LastIndexByte(before, '\n'), Problem: f.text}
}

// split returns the words of the statement at an offset, and the offset of what ends it. Where it fails, end is
// that of the script.
func split(script string, at int) (words []word, end int, err error) {
	var (
		w    *word
		text strings.Builder
		open = func(i int) {
			if w == nil {
				w = &word{at: i}
			}
		}
		closeWord = func(end int) {
			if w != nil {
				w.text, w.end = text.String(), end
				words = append(words, *w)
				text.Reset()
				w = nil
			}
		}
	)
	for i := at; i < len(script); i++ {
		switch c := script[i]; {
		case c == ';' || c == '\n':
			closeWord(i)
			return words, i, nil
		case c == ' ' || c == '\t' || c == '\r':
			closeWord(i)
		case c == '#' && w == nil:
			for i+1 < len(script) && script[i+1] != '\n' {
				i++
			}
		case c == '\'' || c == '"':
			open(i)
			w.quoted = true
			n, err := unquote(&text, script[i:])
			if err != nil {
				return words, len(script), faultf(i, "this quote is not closed: a second %c was expected", c)
			}
			i += n - 1
		case c == '\\' && !(w == nil && len(words) == 0): // there it begins a verb
			open(i)
			if i+1 == len(script) {
				return words, len(script), faultf(i, "a backslash at the end: a character was expected behind it")
			}
			i++
			w.quoted = true
			text.WriteByte(script[i])
		default:
			open(i)
			text.WriteByte(c)
		}
	}
	closeWord(len(script))
	return words, len(script), nil
}

// unquote adds what stands between the quotes at the start of s to dst, and returns how long that is with them.
func unquote(dst *strings.Builder, s string) (n int, err error) {
	quote := s[0]
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == quote:
			return i + 1, nil
		case c == '\\' && quote == '"' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\'):
			i++
			dst.WriteByte(s[i])
		default:
			dst.WriteByte(c)
		}
	}
	return 0, strconv.ErrSyntax
}

// understand makes a statement of words, of which there is at least one. end is the offset behind them.
func understand(words []word, end int) (st statement, err error) {
	first := words[0]
	i := slices.IndexFunc(verbs, func(v *verb) bool { return v.name == first.text })
	if i < 0 {
		return st, faultf(first.at, "%s is not a verb: one of %s was expected; \\help explains them", first.text, verbNames())
	}
	v := verbs[i]
	st.verb = v
	for rest := words[1:]; len(rest) > 0; {
		w := rest[0]
		if !w.isFlag() {
			if len(st.args) == len(v.args) {
				return st, faultf(w.at, "%q is one word too many: %s was expected", w.text, v.usage())
			}
			if err := checkArg(v.args[len(st.args)], w); err != nil {
				return st, err
			}
			st.args = append(st.args, w.text)
			rest = rest[1:]
			continue
		}
		if rest, err = st.flag(rest, end); err != nil {
			return st, err
		}
	}
	if len(st.args) < len(v.args) && !strings.HasPrefix(v.args[len(st.args)], "[") {
		return st, faultf(end, "%s is missing: %s was expected", v.args[len(st.args)], v.usage())
	}
	if v.check != nil {
		if problem := v.check(&st); problem != "" {
			return st, faultf(first.at, "%s: %s was expected", problem, v.usage())
		}
	}
	return st, nil
}

// isFlag tells -r and --strict from -1 and "--strict".
func (w word) isFlag() bool {
	return !w.quoted && len(w.text) > 1 && w.text[0] == '-' && !('0' <= w.text[1] && w.text[1] <= '9')
}

// checkArg says what is wrong with an argument whose name stands for what it must be.
func checkArg(name string, w word) (err error) {
	switch name {
	case "N":
		_, err = parseNode(w.text)
	case "SIDES":
		_, _, err = parseSides(w.text)
	case "DELAY":
		var d time.Duration
		if d, err = time.ParseDuration(w.text); err != nil || d < 0 || d > time.Minute {
			err = fmt.Errorf("%q is not a delay: 0 to 1m was expected, as in 200ms", w.text)
		}
	}
	if err != nil {
		return faultf(w.at, "%s", err)
	}
	return nil
}

// parseNode reads the number of a node: 3 or n3.
func parseNode(s string) (int, error) {
	n, err := strconv.Atoi(strings.TrimPrefix(s, "n"))
	if err != nil || n < 1 {
		return 0, fmt.Errorf("%q is not a node: its number was expected, as in 3", s)
	}
	return n, nil
}

// parseSides reads 1|2,3, or 1>2,3: what is cut goes one way.
func parseSides(s string) (sides [][]int, oneWay bool, err error) {
	between := "|"
	if oneWay = strings.Contains(s, ">"); oneWay {
		between = ">"
	}
	for side := range strings.SplitSeq(s, between) {
		var nodes []int
		for node := range strings.SplitSeq(side, ",") {
			n, err := parseNode(strings.TrimSpace(node))
			if err != nil {
				return nil, false, fmt.Errorf("%q are not the sides of a partition: the numbers of nodes were expected, as in 1|2,3 or 1>2,3", s)
			}
			nodes = append(nodes, n)
		}
		sides = append(sides, nodes)
	}
	switch {
	case len(sides) < 2:
		return nil, false, fmt.Errorf("%q has one side: at least two were expected, as in 1|2,3", s)
	case oneWay && len(sides) > 2:
		return nil, false, fmt.Errorf("%q has %d sides: two were expected, as in 1>2,3", s, len(sides))
	case oneWay && slices.ContainsFunc(sides[0], func(n int) bool { return slices.Contains(sides[1], n) }):
		return nil, false, fmt.Errorf("%q has a node on both sides: what goes from one node to others was expected, as in 1>2,3", s)
	}
	return sides, oneWay, nil
}
