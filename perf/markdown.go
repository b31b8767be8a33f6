package perf

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// markdownHead begins a file of sections.
const markdownHead = `# Benchmarks

Measured figures, each with its command, commit and machine. ` + "`make bench`" + ` writes this file; it is not edited by
hand. [kvbench.md](kvbench.md) says how to read the tables. Speeds move from run to run and with whatever else the machine
does: compare within one section. Bytes hardly move.
`

// WriteSection puts a section called title, its heading included, into the Markdown file at path, in
// place of the one that was there, or at the end. The file is made if need be.
func WriteSection(path, title, section string) error {
	text, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		text, err = []byte(markdownHead), nil
	}
	if err != nil {
		return err
	}
	return replaceFile(path, putSection(string(text), title, section))
}

// replaceFile leaves the old content or the new at path.
func replaceFile(path, text string) error {
	next := path + ".new"
	if err := os.WriteFile(next, []byte(text), 0o666); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// putSection replaces the section "## title" of text, or appends it.
func putSection(text, title, section string) string {
	heading := "\n## " + title + "\n"
	at := strings.Index(text, heading)
	if at < 0 {
		return strings.TrimRight(text, "\n") + "\n\n" + section
	}
	rest := ""
	if next := strings.Index(text[at+len(heading):], "\n## "); next >= 0 {
		rest = text[at+len(heading)+next:]
	}
	return text[:at+1] + section + rest
}

// Markdown is the report as a section: how it was made, then the tables of the text.
func (r *Report) Markdown(title string) string { return r.Section(title, r.tables(), r.engines()) }

// Section is a section of such tables under the report's heading, with the conditions of engines.
func (r *Report) Section(title, tables string, engines []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "## %s\n\n    %s\n\n", title, CommandLine(r.Command))
	commit := r.Build.Revision[:min(12, len(r.Build.Revision))]
	if commit == "" {
		commit = "unknown"
	} else if r.Build.Modified {
		commit += " and changes"
	}
	fmt.Fprintf(&b, "%s, commit %s, %s, %s/%s, %d CPUs", r.Time.Format("2006-01-02"), commit, r.Build.Go, r.Machine.OS, r.Machine.Arch, r.Machine.CPUs)
	if r.Machine.CPU != "" {
		b.WriteString(" (" + r.Machine.CPU + ")")
	}
	fmt.Fprintf(&b, ", %s\n\n```\n%s\n```\n", r.Machine.FileSystem, strings.Trim(tables, "\n"))
	if len(r.Fairness) > 0 {
		var conditions bytes.Buffer
		NewText(&conditions).Fairness(r.Fairness, engines)
		fmt.Fprintf(&b, "\n<details><summary>Conditions</summary>\n\n```\n%s\n```\n\n</details>\n", strings.Trim(conditions.String(), "\n"))
	}
	return b.String()
}

// tables is the part of the text that sums a report up.
func (r *Report) tables() string {
	var b bytes.Buffer
	t := NewText(&b)
	switch r.Kind {
	case "writeamp":
		t.WriteAmp(r.Runs)
		t.Verdicts(r.Verdicts)
	case "scenario":
		for _, run := range r.Runs {
			t.Findings(run)
		}
	default:
		for _, engine := range r.engines() {
			t.printf("\n%s\n", engine)
			t.Summary(r.Only(engine))
		}
		t.Ratios(r.Ratios)
	}
	problems := r.Err()
	if problems != nil {
		t.printf("\nWRONG %v\n", problems)
	}
	return b.String()
}

// engines are those that were measured, in their order.
func (r *Report) engines() []string {
	var names []string
	seen := map[string]bool{}
	for _, run := range r.Runs {
		if !seen[run.Config.Engine] {
			seen[run.Config.Engine] = true
			names = append(names, run.Config.Engine)
		}
	}
	return names
}

// CommandLine is what was called, without where reports went.
func CommandLine(args []string) string {
	if len(args) == 0 {
		return "kvbench"
	}
	out := []string{filepath.Base(args[0])}
	for i := 1; i < len(args); i++ {
		switch name, _, inOne := strings.Cut(args[i], "="); name {
		case "--markdown", "--title", "--json", "--html", "--benchstat", "--dir":
			if !inOne {
				i++
			}
		default:
			out = append(out, args[i])
		}
	}
	return strings.Join(out, " ")
}
