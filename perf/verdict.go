package perf

import (
	"math"

	"github.com/cambiumdb/cambium/internal/grid"
)

// wantedRatio is how much of a peer's write amplification one of this module's policies should
// have at most, in no more space.
const wantedRatio = 0.9

// Verdict sets one point of a peer, its write amplification and space after a step of writeamp,
// beside the policy of this module that writes least in no more space. Figures are compared as
// they are printed, with two digits.
type Verdict struct {
	Peer     string  `json:"peer"`   // engine/policy
	Step     string  `json:"step"`   // "load", "overwrite"
	Moment   string  `json:"moment"` // of Space: "settled", "peak"
	Factor   float64 `json:"factor"`
	Space    float64 `json:"space"`         // for each live byte
	Own      string  `json:"own,omitempty"` // "": every policy takes more space
	OwnWrote float64 `json:"own_factor,omitempty"`
	OwnSpace float64 `json:"own_space,omitempty"`
	Ratio    float64 `json:"ratio,omitempty"` // OwnWrote / Factor
	Met      bool    `json:"met"`             // Ratio is at most 0.9
}

// Verdicts compares every peer among writeamp's runs with this module's policies among them, at
// each step, by the space settled and by that at the peak.
func Verdicts(runs []Run) []Verdict {
	var own, peers []AmpRow
	for _, row := range AmpRows(runs) {
		if row.Engine == ownEngine {
			own = append(own, row)
		} else {
			peers = append(peers, row)
		}
	}
	if own == nil {
		return nil
	}
	var out []Verdict
	for _, peer := range peers {
		for _, moment := range []string{"settled", "peak"} {
			out = append(out, verdictOn(peer, own, moment))
		}
	}
	return out
}

func verdictOn(peer AmpRow, own []AmpRow, moment string) Verdict {
	v := Verdict{Peer: peer.Name, Step: peer.Step, Moment: moment, Factor: rounded(peer.Writes.Factor), Space: peer.spaceAt(moment)}
	for _, row := range own {
		factor, space := rounded(row.Writes.Factor), row.spaceAt(moment)
		if row.Step != peer.Step || space > v.Space || v.Own != "" && factor >= v.OwnWrote {
			continue
		}
		v.Own, v.OwnWrote, v.OwnSpace = row.Name, factor, space
	}
	if v.Own != "" && v.Factor > 0 {
		v.Ratio = rounded(v.OwnWrote / v.Factor)
		v.Met = v.Ratio <= wantedRatio
	}
	return v
}

// spaceAt is the space for each live byte.
func (r AmpRow) spaceAt(moment string) float64 {
	bytes := r.Space.End
	if moment == "peak" {
		bytes = r.Space.Peak
	}
	return rounded(float64(bytes) / max(1, float64(r.Space.Live)))
}

func rounded(f float64) float64 { return math.Round(f*100) / 100 }

// Verdicts prints the comparison with every peer point.
func (t *Text) Verdicts(verdicts []Verdict) {
	if len(verdicts) == 0 {
		return
	}
	t.printf("\n%s  the policy that writes least in no more space; it should write at most %.2f as much\n\n", t.paint(bold, "Beside each peer"), wantedRatio)
	g := grid.New(0)
	g.Row("", "step", "space at", "space", "write amp", "least of ours", "space", "write amp", "ratio", "met")
	last, step := "", ""
	for _, v := range verdicts {
		name, which := v.Peer, v.Step
		if name == last {
			name = ""
			if which == step {
				which = ""
			}
		}
		last, step = v.Peer, v.Step
		row := []any{name, which, v.Moment, twoDigits(v.Space), twoDigits(v.Factor)}
		switch {
		case v.Own == "":
			row = append(row, "none", "-", "-", "-", "no")
		case v.Met:
			row = append(row, v.Own, twoDigits(v.OwnSpace), twoDigits(v.OwnWrote), twoDigits(v.Ratio), "yes")
		default:
			row = append(row, v.Own, twoDigits(v.OwnSpace), twoDigits(v.OwnWrote), twoDigits(v.Ratio), "no")
		}
		g.Row(row...)
	}
	g.Print(t.w)
	met := 0
	for _, v := range verdicts {
		if v.Met {
			met++
		}
	}
	t.printf("\nmet at %d of %d points\n", met, len(verdicts))
}
