package config

import (
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
)

// WriteExample writes a file with every setting at its default, commented out, but for those that must be set.
func WriteExample(w io.Writer) error {
	b := lines{}
	b.WriteString("# Settings of a kvnode. Flags and variables of the environment stand above them:\n# tls.ca is --tls-ca and CAMBIUM_TLS_CA.\n")
	for _, s := range settings {
		b.WriteString("\n")
		mark, value := "#", s.value
		switch s.key {
		case "name":
			mark, value = "", "n1"
		case "dir":
			mark, value = "", "/var/lib/cambium"
		}
		indent, key := b.enter(s.key, mark)
		fmt.Fprintf(&b, "# %s%s\n%s%s%s: %s\n", indent, s.help, mark, indent, key, literal(s, value))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Write writes the settings as a file that says the same, with the origin of each behind it where that is wanted.
func (c *Config) Write(w io.Writer, origins bool) error {
	b := lines{}
	for i, s := range settings {
		v := c.values[i]
		indent, key := b.enter(s.key, "")
		line := fmt.Sprintf("%s%s: %s", indent, key, literal(s, v.Value))
		if origins {
			line = fmt.Sprintf("%-38s # %s", line, v.Origin)
		}
		b.WriteString(line + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// lines are those of a file as it is written.
type lines struct {
	strings.Builder
	group string // in which the last setting was
}

// enter begins the group of a setting, unless the one before was in it too.
func (b *lines) enter(key, mark string) (indent, last string) {
	group, last, nested := strings.Cut(key, ".")
	if !nested {
		b.group = ""
		return "", key
	}
	if b.group != group {
		fmt.Fprintf(b, "%s%s:\n", mark, group)
		b.group = group
	}
	return "  ", last
}

var plain = regexp.MustCompile(`^[A-Za-z0-9/][A-Za-z0-9./:_-]*$`)

// literal is a value as YAML.
func literal(s setting, value string) string {
	if s.kind == "list" {
		var items []string
		for item := range strings.SplitSeq(value, ",") {
			if item != "" {
				items = append(items, quoted(item))
			}
		}
		return "[" + strings.Join(items, ", ") + "]"
	}
	return quoted(value)
}

func quoted(text string) string {
	if plain.MatchString(text) && !strings.HasSuffix(text, ":") && !strings.EqualFold(text, "null") {
		return text
	}
	return strconv.Quote(text)
}
