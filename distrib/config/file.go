package config

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// parse returns what a file sets, and what is wrong with it.
func parse(name string, content []byte) (set map[string]given, problems []error) {
	set = map[string]given{}
	file, err := parser.ParseBytes(content, 0)
	if err != nil {
		return set, []error{fmt.Errorf("%s: no YAML: %s", name, strings.TrimSpace(yaml.FormatError(err, false, false)))}
	}
	r := reader{name: name, set: set}
	for i, doc := range file.Docs {
		switch {
		case doc.Body == nil:
		case i > 0:
			r.bad(doc.Body, "a second document begins: want one")
		default:
			r.mapping("", doc.Body)
		}
	}
	return set, r.problems
}

// reader walks through a file.
type reader struct {
	name     string
	set      map[string]given
	problems []error
}

func (r *reader) origin(n ast.Node) string {
	return fmt.Sprintf("%s:%d", r.name, n.GetToken().Position.Line)
}

func (r *reader) bad(at ast.Node, format string, args ...any) {
	r.problems = append(r.problems, fmt.Errorf("%s: %s", r.origin(at), fmt.Sprintf(format, args...)))
}

// mapping reads the settings under a prefix.
func (r *reader) mapping(prefix string, n ast.Node) {
	var pairs []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	case *ast.NullNode, *ast.CommentGroupNode:
	default:
		what := "the file"
		if prefix != "" {
			what = strings.TrimSuffix(prefix, ".")
		}
		r.bad(n, "%s: want settings, as name: n1", what)
	}
	for _, p := range pairs {
		key := prefix + p.Key.GetToken().Value
		switch s, ok := known(key); {
		case ok:
			r.value(s, p)
		case group(key):
			r.mapping(key+".", p.Value)
		default:
			r.bad(p.Key, "%s: there is no such setting%s", key, near(key))
		}
	}
}

// value reads the value of a setting.
func (r *reader) value(s setting, p *ast.MappingValueNode) {
	text, ok := "", false
	if seq, is := p.Value.(*ast.SequenceNode); is && s.kind == "list" {
		var items []string
		ok = true
		for _, item := range seq.Values {
			one, plain := scalar(item)
			items, ok = append(items, one), ok && plain
		}
		text = strings.Join(items, ",")
	} else {
		text, ok = scalar(p.Value)
	}
	if !ok {
		r.bad(p.Key, "%s: want a plain %s", s.key, s.kind)
		return
	}
	r.set[s.key] = given{text, r.origin(p.Key)}
}

// scalar returns the text of a plain value.
func scalar(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.NullNode:
		return "", true
	case *ast.StringNode:
		return n.Value, true
	case *ast.BoolNode, *ast.IntegerNode, *ast.FloatNode:
		return n.GetToken().Value, true
	}
	return "", false
}

func known(key string) (setting, bool) {
	for _, s := range settings {
		if s.key == key {
			return s, true
		}
	}
	return setting{}, false
}

// group tells whether settings stand under a key.
func group(key string) bool {
	for _, s := range settings {
		if strings.HasPrefix(s.key, key+".") {
			return true
		}
	}
	return false
}

// near says which setting may be meant.
func near(key string) string {
	best, at := "", max(2, len(key)/3)+1
	for _, s := range settings {
		if d := distance(strings.ToLower(key), s.key); d < at {
			best, at = s.key, d
		}
	}
	if best == "" {
		return ": kvnode config init shows all"
	}
	return ": is " + best + " meant?"
}

// distance is Levenshtein's, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
