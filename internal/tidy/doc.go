// Package tidy is a test that reads the repository and fails where it breaks a rule of the
// house. It has no code of its own; `go test ./internal/tidy` is its whole use:
//
//   - imports go down, by the table in imports_test.go, which is the architecture
//   - ARCHITECTURE.md names every package
//   - every package and every exported name has a comment
//   - no comment holds a note to do something later, or code
//   - no file is longer than 600 lines
//   - ./engine depends on the standard library and a short list of modules
//
// A package that is new, or that needs a new import, changes the table in the same commit, where
// a reader of the history can see the architecture change.
package tidy
