// Package grid prints cells in columns, for people.
//
//	g := grid.New(0) // the first column to the left, the others to the right
//	g.Row("level", "tables", "size")
//	g.Row("L0", 4, "12.0 MiB")
//	g.Print(os.Stdout)
//
// A Grid belongs to one goroutine.
package grid

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// Grid collects rows of cells.
type Grid struct {
	// Indent stands before each row.
	Indent string
	// Heading, if set, makes the first row stand out. It adds nothing that takes width.
	Heading func(line string) string

	left []int
	rows [][]string
}

// New returns an empty grid. The columns in left are aligned to the left, the others to the right.
func New(left ...int) *Grid { return &Grid{left: left} }

// Row adds a row of cells, as fmt.Sprint formats them. Rows may differ in length.
func (g *Grid) Row(cells ...any) {
	row := make([]string, len(cells))
	for i, c := range cells {
		row[i] = fmt.Sprint(c)
	}
	g.rows = append(g.rows, row)
}

// Print writes the rows, columns two spaces apart. Errors of w are w's to keep.
func (g *Grid) Print(w io.Writer) {
	var widths []int
	for _, row := range g.rows {
		for i, cell := range row {
			if i == len(widths) {
				widths = append(widths, 0)
			}
			widths[i] = max(widths[i], utf8.RuneCountInString(cell))
		}
	}
	for n, row := range g.rows {
		var b strings.Builder
		for i, cell := range row {
			if i > 0 {
				b.WriteString("  ")
			}
			pad := strings.Repeat(" ", widths[i]-utf8.RuneCountInString(cell))
			if slices.Contains(g.left, i) {
				cell, pad = pad, cell
			}
			b.WriteString(pad + cell)
		}
		line := strings.TrimRight(b.String(), " ")
		if n == 0 && g.Heading != nil {
			line = g.Heading(line)
		}
		fmt.Fprintf(w, "%s%s\n", g.Indent, line)
	}
}
