package demo

import (
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzParse: a script is taken or refused with a place in it, and each statement means alone what it meant in the script.
func FuzzParse(f *testing.F) {
	for _, script := range []string{
		"put a 1; get a", `put "a;b" 'c # "d"' # e`, `put a\ b c\;d --ttl 5s -w 2`, "cas a b --old=c\n\n;get a -r 1 --at n2", `\partition 1|2,3; \slow 2 1s; \wait down 3`, "put 'a",
	} {
		f.Add(script)
	}
	f.Fuzz(func(t *testing.T, script string) {
		list, err := parse(script)
		var bad *SyntaxError
		if errors.As(err, &bad) {
			lines := strings.Split(script, "\n")
			require.LessOrEqual(t, bad.Line, len(lines))
			require.LessOrEqual(t, bad.Column, len(lines[bad.Line-1])+1)
			require.NotEmpty(t, bad.Problem)
			return
		}
		require.NoError(t, err)
		for _, st := range list {
			alone, err := parse(st.text)
			require.NoError(t, err, "%q", st.text)
			require.Len(t, alone, 1)
			require.Equal(t, st.args, alone[0].args)
			require.Equal(t, st.verb.name, alone[0].verb.name)
			require.Equal(t, st.opts.at, alone[0].opts.at)
		}
	})
}
