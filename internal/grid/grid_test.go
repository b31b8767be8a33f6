package grid

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPrint(t *testing.T) {
	g := New(0, 2)
	g.Row("level", "tables", "keys")
	g.Row("L0", 12345678, "naïve", "more")
	g.Row("", 1)
	var b strings.Builder
	g.Print(&b)
	require.Equal(t, `level    tables  keys
L0     12345678  naïve  more
              1
`, b.String())

	b.Reset()
	g.Indent, g.Heading = "  ", strings.ToUpper
	g.Print(&b)
	require.Equal(t, "  LEVEL    TABLES  KEYS\n  L0", b.String()[:len("  LEVEL    TABLES  KEYS\n  L0")])

	b.Reset()
	New().Print(&b)
	require.Empty(t, b.String())
}
