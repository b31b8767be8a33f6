package perf

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// Pair is a key and its value. The slices are the caller's.
type Pair struct{ Key, Value []byte }

// PairSource is a stream of pairs: a data set in a file or a generated one. Next returns io.EOF
// after the last pair. Position says how much of the whole was read, in any unit, for a
// progress bar; it may be called beside Next.
type PairSource interface {
	Next() (Pair, error)
	Position() (done, total int64)
	Close() error
}

// maxLine bounds a line of a data set: the largest value an engine takes, in base64, and its key.
const maxLine = 128 << 20

// OpenPairs opens a data set: one JSON object a line, {"key": "..", "value": ".."}, or key64
// and value64 for bytes in base64; other fields are ignored, blank lines skipped. A name that
// ends in .zst is decompressed on the way. Every error names the file and the line.
func OpenPairs(path string) (PairSource, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = fmt.Errorf("%s is a directory, want a file of JSON lines (.jsonl or .jsonl.zst)", path)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	p := &pairFile{path: path, file: f, total: info.Size()}
	p.input = io.Reader(&countingReader{r: f, n: &p.read})
	if strings.HasSuffix(path, ".zst") {
		if p.unzip, err = newZstdReader(p.input); err != nil {
			f.Close()
			return nil, fmt.Errorf("%s: %w", path, err)
		}
		p.input = p.unzip
	}
	p.lines = bufio.NewScanner(p.input)
	p.lines.Buffer(make([]byte, 64<<10), maxLine)
	return p, nil
}

type pairFile struct {
	path  string
	file  *os.File
	total int64
	read  atomic.Int64
	unzip io.ReadCloser
	input io.Reader
	lines *bufio.Scanner
	line  int64
}

type countingReader struct {
	r io.Reader
	n *atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

func (p *pairFile) Next() (Pair, error) {
	for p.lines.Scan() {
		p.line++
		line := bytes.TrimSpace(p.lines.Bytes())
		if len(line) == 0 {
			continue
		}
		pair, err := parsePair(line)
		if err != nil {
			return Pair{}, fmt.Errorf("%s: line %d: %w", p.path, p.line, err)
		}
		return pair, nil
	}
	err := p.lines.Err()
	switch {
	case err == nil:
		return Pair{}, io.EOF
	case errors.Is(err, bufio.ErrTooLong):
		return Pair{}, fmt.Errorf("%s: line %d is longer than %s", p.path, p.line+1, Size(maxLine))
	}
	return Pair{}, fmt.Errorf("%s: after line %d: %w", p.path, p.line, err)
}

func (p *pairFile) Position() (done, total int64) { return p.read.Load(), p.total }

func (p *pairFile) Close() error {
	var err error
	if p.unzip != nil {
		err = p.unzip.Close()
	}
	return errors.Join(err, p.file.Close())
}

// parsePair reads one line of a data set.
func parsePair(line []byte) (Pair, error) {
	if !utf8.Valid(line) {
		return Pair{}, errors.New("not UTF-8: give bytes as base64 in key64 and value64")
	}
	var fields struct {
		Key     *string `json:"key"`
		Key64   *[]byte `json:"key64"`
		Value   *string `json:"value"`
		Value64 *[]byte `json:"value64"`
	}
	if err := json.Unmarshal(line, &fields); err != nil {
		return Pair{}, fmt.Errorf("want {\"key\": .., \"value\": ..}: %w", err)
	}
	key, err := either("key", fields.Key, fields.Key64, line)
	if err != nil {
		return Pair{}, err
	}
	if len(key) == 0 {
		return Pair{}, errors.New("the key is empty")
	}
	value, err := either("value", fields.Value, fields.Value64, line)
	return Pair{Key: key, Value: value}, err
}

func either(name string, text *string, raw *[]byte, line []byte) ([]byte, error) {
	switch {
	case text != nil && raw != nil:
		return nil, fmt.Errorf("has both %q and %q", name, name+"64")
	case raw != nil:
		return *raw, nil
	case text == nil:
		return nil, fmt.Errorf("has neither %q nor %q", name, name+"64")
	}
	// The decoder turns half of a surrogate pair into U+FFFD. Loading that would lose bytes.
	if strings.ContainsRune(*text, utf8.RuneError) && !bytes.ContainsRune(line, utf8.RuneError) &&
		!bytes.Contains(bytes.ToLower(line), []byte(`\ufffd`)) {
		return nil, fmt.Errorf("%q holds half of a surrogate pair: give bytes as base64 in %q", name, name+"64")
	}
	return []byte(*text), nil
}
