package manifest

import (
	"flag"
	"os"
	"testing"
)

// TestMain fixes the seed of the property tests: -rapid.seed=N tries another one.
func TestMain(m *testing.M) {
	flag.Set("rapid.seed", "1")
	flag.Set("rapid.nofailfile", "true")
	flag.Parse()
	os.Exit(m.Run())
}
