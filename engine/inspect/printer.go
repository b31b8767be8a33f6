package inspect

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// Format says how a Printer writes.
type Format string

// The formats.
const (
	Text  Format = "table" // for people
	JSON  Format = "json"  // one indented document
	Lines Format = "jsonl" // one JSON object a line
)

// ParseFormat reads the name of a format.
func ParseFormat(s string) (Format, error) {
	switch f := Format(s); f {
	case Text, JSON, Lines:
		return f, nil
	}
	return "", fmt.Errorf("output format %q: want %s, %s or %s", s, Text, JSON, Lines)
}

// Style says how reports look as text. The zero value is escaped text without colour, long
// values cut.
type Style struct {
	Hex   bool // keys and values in lowercase hex
	Full  bool // values whole, however long
	Color bool // headings in bold, problems in red
}

func (s Style) paint(code, text string) string {
	if !s.Color || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s Style) heading(text string) string { return s.paint("1", text) }
func (s Style) problem(text string) string { return s.paint("31", text) }

// Report is something that was found. Its exported fields are its JSON.
type Report interface {
	// WriteText writes the report for people. Errors of w are w's to keep.
	WriteText(w io.Writer, s Style)
}

// Printer writes reports in one format. Write errors are kept and come from Flush.
//
// As JSON a document is one object: what Report wrote, or the members that Part and Begin name.
// As JSON lines Report writes its object on one line, Part an object with one member, and every
// Item its own object.
type Printer struct {
	w       *bufio.Writer
	format  Format
	style   Style
	members int // of the document
	items   int // of the list
	inList  bool
	err     error // a value that is no JSON
}

// NewPrinter writes to w.
func NewPrinter(w io.Writer, format Format, style Style) *Printer {
	return &Printer{w: bufio.NewWriterSize(w, 64<<10), format: format, style: style}
}

// Report writes a document that is one report.
func (p *Printer) Report(r Report) error {
	switch p.format {
	case Text:
		r.WriteText(p.w, p.style)
	case JSON:
		p.encode(r, "", "  ")
		p.w.WriteByte('\n')
	case Lines:
		p.encode(r, "", "")
		p.w.WriteByte('\n')
	}
	return p.Flush()
}

// Part writes one member of a document.
func (p *Printer) Part(name string, r Report) {
	switch p.format {
	case Text:
		r.WriteText(p.w, p.style)
	case JSON:
		p.member(name)
		p.encode(r, "  ", "  ")
	case Lines:
		fmt.Fprintf(p.w, "{%q:", name)
		p.encode(r, "", "")
		p.w.WriteString("}\n")
	}
}

// Begin starts a member that is a list.
func (p *Printer) Begin(name string) {
	p.items, p.inList = 0, true
	if p.format == JSON {
		p.member(name)
		p.w.WriteByte('[')
	}
}

// Item writes one element of the list.
func (p *Printer) Item(r Report) error {
	switch p.format {
	case Text:
		r.WriteText(p.w, p.style)
	case JSON:
		if p.items > 0 {
			p.w.WriteByte(',')
		}
		p.w.WriteString("\n    ")
		p.encode(r, "", "")
	case Lines:
		p.encode(r, "", "")
		p.w.WriteByte('\n')
	}
	p.items++
	return p.err
}

// End ends the list.
func (p *Printer) End() {
	if p.format == JSON && p.inList {
		if p.items > 0 {
			p.w.WriteString("\n  ")
		}
		p.w.WriteByte(']')
	}
	p.inList = false
}

// Close ends a document of several members and flushes. With an error, which is then part of a
// JSON document and returned, it ends an open list too.
func (p *Printer) Close(err error) error {
	p.End()
	if p.format == JSON {
		if err != nil {
			p.member("error")
			b, _ := json.Marshal(err.Error())
			p.w.Write(b)
		}
		if p.members == 0 {
			p.w.WriteByte('{')
		}
		p.w.WriteString("\n}\n")
	}
	if e := p.Flush(); err == nil {
		err = e
	}
	return err
}

// Flush hands everything written so far to the underlying writer and returns the first error.
func (p *Printer) Flush() error {
	if err := p.w.Flush(); err != nil {
		return err
	}
	return p.err
}

func (p *Printer) member(name string) {
	if p.members == 0 {
		p.w.WriteByte('{')
	} else {
		p.w.WriteByte(',')
	}
	fmt.Fprintf(p.w, "\n  %q: ", name)
	p.members++
}

func (p *Printer) encode(v any, prefix, indent string) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent(prefix, indent)
	if err := enc.Encode(v); err != nil {
		if p.err == nil {
			p.err = err
		}
		return
	}
	p.w.Write(bytes.TrimRight(b.Bytes(), "\n"))
}
