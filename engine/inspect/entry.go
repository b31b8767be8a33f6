package inspect

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/cambiumdb/cambium/internal/entity"
	"github.com/cambiumdb/cambium/internal/ikey"
	"github.com/cambiumdb/cambium/sstable/blob"
)

// Pair is a live key and its value: what a scan prints. As a JSON line it can be loaded again.
type Pair struct {
	Key
	Value
}

// NewPair copies key and value. A nil value gives a pair without one.
func NewPair(key, value []byte) *Pair {
	p := &Pair{Key: NewKey(key)}
	if value != nil {
		p.Value = NewValue(value)
	}
	return p
}

// WriteText writes the pair as one line: escaped key, tab, escaped value; with Style.Hex both in
// hex and a space between; a pair without a value is its key alone. Values are never cut.
func (p *Pair) WriteText(w io.Writer, s Style) {
	between := "\t"
	if s.Hex {
		between = " "
	}
	line := s.Bytes(p.Key.Bytes())
	if !p.Value.None() {
		line += between + s.Bytes(p.Value.Bytes())
	}
	io.WriteString(w, line+"\n")
}

// Entry is one stored version of a key, as a table or a log holds it.
type Entry struct {
	Key
	Seq  uint64 `json:"seq"`
	Kind string `json:"kind"` // SET, DEL, ENTITY (a value that expires), BLOBINDEX, RANGEDEL, ...
	Value
	// Expires is when the value becomes absent.
	Expires *time.Time `json:"expires,omitempty"`
	// Blob says where the value lies, for a BLOBINDEX.
	Blob *BlobRef `json:"blob,omitempty"`
	// To is the exclusive end of a RANGEDEL, which begins at Key.
	To *Key `json:"to,omitempty"`
	// Problem says why the value could not be understood; Value then holds it as stored.
	Problem string `json:"problem,omitempty"`
}

// BlobRef is the place of a value in a blob file.
type BlobRef struct {
	File        uint64 `json:"file"`
	Offset      uint64 `json:"offset"`
	Size        uint64 `json:"size"`
	Compression string `json:"compression"`
}

// newEntry copies an entry and takes its value apart.
func newEntry(k ikey.Key, value []byte) *Entry {
	e := &Entry{Key: NewKey(k.User), Seq: k.Seq(), Kind: k.Kind().String()}
	switch k.Kind() {
	case ikey.KindDelete, ikey.KindSingleDelete:
	case ikey.KindRangeDelete:
		to := NewKey(value)
		e.To = &to
	case ikey.KindEntity:
		e.entity(value)
	case ikey.KindBlobIndex:
		idx, err := blob.DecodeIndex(value)
		if err != nil {
			e.Value, e.Problem = NewValue(value), err.Error()
			break
		}
		e.Blob = &BlobRef{File: idx.File, Offset: idx.Offset, Size: idx.Size, Compression: idx.Compression.String()}
	default:
		e.Value = NewValue(value)
	}
	return e
}

func (e *Entry) entity(value []byte) {
	x, err := entity.Decode(value)
	if err != nil {
		e.Value, e.Problem = NewValue(value), err.Error()
		return
	}
	if x.Value != nil {
		e.Value = NewValue(x.Value)
	}
	if x.HasExpiry {
		at := time.UnixMilli(x.ExpiryMillis).UTC()
		e.Expires = &at
	}
}

// WriteText writes the entry as one line.
func (e *Entry) WriteText(w io.Writer, s Style) { fmt.Fprintln(w, e.text(s)) }

func (e *Entry) text(s Style) string {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s#%d,%s", s.Bytes(e.Key.Bytes()), e.Seq, e.Kind)
	if e.To != nil {
		fmt.Fprintf(&b, " .. %s (exclusive)", s.Bytes(e.To.Bytes()))
	}
	if e.Blob != nil {
		fmt.Fprintf(&b, " => %06d.blob at %d, %d bytes, %s", e.Blob.File, e.Blob.Offset, e.Blob.Size, e.Blob.Compression)
	}
	if !e.Value.None() {
		fmt.Fprintf(&b, " => %s", s.value(e.Value.Bytes()))
	}
	if e.Expires != nil {
		fmt.Fprintf(&b, " (expires %s)", e.Expires.Format(timeFormat))
	}
	if e.Problem != "" {
		b.WriteString("  " + s.problem(e.Problem))
	}
	return b.String()
}

const timeFormat = "2006-01-02T15:04:05.000Z"
