package inspect

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// scene prints a document with a part, a list of n pairs and another part.
func scene(t *testing.T, f Format, n int, failure error) string {
	t.Helper()
	var out bytes.Buffer
	p := NewPrinter(&out, f, Style{})
	p.Part("head", &Writes{Rows: []WriteRow{}})
	p.Begin("pairs")
	for i := range n {
		require.NoError(t, p.Item(NewPair([]byte{'a' + byte(i)}, []byte("<&>"))))
	}
	if failure == nil {
		p.End()
		p.Part("tail", &Explanation{Key: NewKey([]byte("k"))})
	}
	require.Equal(t, failure, p.Close(failure))
	return out.String()
}

func TestPrinterDocuments(t *testing.T) {
	require.Equal(t, `{
  "head": {
    "user_bytes": 0,
    "total_bytes": 0,
    "write_amplification": 0,
    "rows": []
  },
  "pairs": [
    {"key":"a","value":"<&>"},
    {"key":"b","value":"<&>"}
  ],
  "tail": {
    "key": "k",
    "seq": 0,
    "found": false,
    "bytes": 0,
    "answer": "",
    "steps": null
  }
}
`, scene(t, JSON, 2, nil))
	require.Equal(t, `{"head":{"user_bytes":0,"total_bytes":0,"write_amplification":0,"rows":[]}}
{"key":"a","value":"<&>"}
{"tail":{"key":"k","seq":0,"found":false,"bytes":0,"answer":"","steps":null}}
`, scene(t, Lines, 1, nil))
	require.Contains(t, scene(t, Text, 2, nil), "\na\t<&>\nb\t<&>\n")
}

func TestPrinterAlwaysWritesJSON(t *testing.T) {
	for n := range 3 {
		for _, failure := range []error{nil, errors.New(`read "x" failed`)} {
			var doc map[string]any
			text := scene(t, JSON, n, failure)
			require.NoError(t, json.Unmarshal([]byte(text), &doc), text)
			require.Len(t, doc["pairs"], n)
			require.Equal(t, failure != nil, doc["error"] != nil)
			for _, line := range strings.Split(strings.TrimSpace(scene(t, Lines, n, failure)), "\n") {
				require.True(t, json.Valid([]byte(line)), line)
			}
		}
	}
	var out bytes.Buffer
	p := NewPrinter(&out, JSON, Style{})
	p.Begin("pairs")
	require.NoError(t, p.Close(nil))
	require.JSONEq(t, `{"pairs":[]}`, out.String())
	out.Reset()
	require.NoError(t, NewPrinter(&out, JSON, Style{}).Close(nil))
	require.JSONEq(t, `{}`, out.String())
}

type brokenWriter struct{ left int }

func (w *brokenWriter) Write(p []byte) (int, error) {
	if w.left -= len(p); w.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(p), nil
}

func TestPrinterKeepsErrors(t *testing.T) {
	for _, f := range []Format{Text, JSON, Lines} {
		p := NewPrinter(&brokenWriter{left: 100_000}, f, Style{})
		p.Begin("pairs")
		for range 3 {
			_ = p.Item(NewPair([]byte("k"), make([]byte, 64<<10))) // the error is kept for Close
		}
		require.ErrorIs(t, p.Close(nil), io.ErrClosedPipe, f)
	}
	var out bytes.Buffer
	p := NewPrinter(&out, JSON, Style{})
	require.Error(t, p.Report(&Writes{WriteAmplification: math.NaN()}), "a value that is no JSON")
}

func TestParseFormat(t *testing.T) {
	for _, name := range []string{"table", "json", "jsonl"} {
		f, err := ParseFormat(name)
		require.NoError(t, err)
		require.Equal(t, Format(name), f)
	}
	_, err := ParseFormat("xml")
	require.EqualError(t, err, `output format "xml": want table, json or jsonl`)
}

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 10<<10 - 1: "10239 B", 10 << 10: "10.0 KiB", 1 << 20: "1.0 MiB", 3 << 40: "3.0 TiB",
	} {
		require.Equal(t, want, size(n))
	}
}

func TestColorOnlyWhenAsked(t *testing.T) {
	check := &TableCheck{File: "x.sst", Problem: "bad"}
	var plain, color bytes.Buffer
	check.WriteText(&plain, Style{})
	check.WriteText(&color, Style{Color: true})
	require.NotContains(t, plain.String(), "\x1b")
	require.Contains(t, color.String(), "\x1b[31mDAMAGED\x1b[0m")
}
