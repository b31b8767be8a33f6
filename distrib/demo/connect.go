package demo

import (
	"fmt"
	"strings"
)

// connecting says how other programs reach the nodes.
func connecting(list []Node) string {
	var b strings.Builder
	var grpc, quoted []string
	for _, n := range list {
		fmt.Fprintf(&b, "  %s  grpc %s  http %s\n", n.Name, n.GRPC, n.HTTP)
		grpc, quoted = append(grpc, n.GRPC), append(quoted, fmt.Sprintf("%q", n.GRPC))
	}
	fmt.Fprintf(&b, "\nfrom another terminal:\n  kvctl --endpoint %s get color\n", strings.Join(grpc, ","))
	fmt.Fprintf(&b, "from Go:\n  c, err := client.Open(ctx, client.Options{Endpoints: []string{%s}})\n  v, err := c.Get(ctx, []byte(\"color\"), client.GetOptions{})\n", strings.Join(quoted, ", "))
	return b.String()
}
