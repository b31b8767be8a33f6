package perf

import (
	_ "embed"
	"encoding/json"
	"html"
	"io"
	"strings"
)

// The parts of the report with charts: a page, its style, and a script that draws the report's
// JSON as inline SVG in the width that there is.
var (
	//go:embed html/report.html
	htmlPage string
	//go:embed html/report.css
	htmlStyle string
	//go:embed html/report.js
	htmlScript string
)

// WriteHTML writes the report as one HTML file that needs nothing from elsewhere and forbids
// itself to ask for anything.
func (r *Report) WriteHTML(w io.Writer) error {
	// json.Marshal escapes <, > and &, so that no text of the report can end the script element.
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	title := "kvbench " + r.Kind + " " + r.Time.Format("2006-01-02 15:04")
	page := strings.NewReplacer(
		"{{.Title}}", html.EscapeString(title),
		"{{.CSS}}", htmlStyle,
		"{{.Data}}", string(data),
		"{{.JS}}", htmlScript,
	).Replace(htmlPage)
	_, err = io.WriteString(w, page)
	return err
}
