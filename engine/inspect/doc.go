// Package inspect looks into databases and their files and says what is there, for people and
// for programs: what kvctl shows.
//
//	t, err := inspect.OpenTable("data/000012.sst")
//	defer t.Close()
//	report, err := t.Describe(false)
//	p := inspect.NewPrinter(os.Stdout, inspect.Text, inspect.Style{})
//	err = p.Report(report)
//	err = p.Flush()
//
// Whatever it finds is a plain value: a Report, which a Printer prints as text, as JSON or as
// JSON lines. The names in the JSON are a contract: fields are added, never renamed. Keys and
// values stand in "key" and "value" where they are UTF-8, else in base64 in "key64" and
// "value64". Sizes are bytes, sequence numbers and counts plain numbers, times RFC 3339 in UTC.
//
// Nothing here writes to a file or makes one, except through a *engine.DB that the caller
// opened for writing. Errors are the engine's: errors.Is(err, engine.ErrCorruption) and
// engine.ErrUnsupported tell what a caller branches on. A Printer, a TableFile and the dump
// functions belong to one goroutine each; a Report that was returned does not change.
package inspect
