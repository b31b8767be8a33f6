package observe

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/cambiumdb/cambium/distrib"
)

// Sources are asked for figures when somebody asks for the metrics. A nil one has none. They must not wait for others.
type Sources struct {
	Hints   func() []Hints
	Dirty   func() int // how many ranges of tokens may differ between replicas
	Epoch   func() uint64
	Members func() map[distrib.Liveness]int // this node's opinion, itself included
	Stored  func() int64                    // bytes of the store on the device
	Refused func() uint64                   // requests of other nodes, since the start, since too many waited
	Load    func() Load
	// Certificate is when this node's certificate ends.
	Certificate func() time.Time
}

// Hints are what is kept, or was, for a node that cannot be reached.
type Hints struct {
	Target string
	Bytes  int64
	Oldest time.Duration // the age of the oldest; 0: not known
	// Of records, since the start.
	Kept, HandedOver, Refused int64
}

// Load is what a node does for its clients at the moment.
type Load struct {
	Operations, Behind, Repairs int64
	Bytes, BehindBytes          int64
	Hedged                      int64 // reads, since the start
}

// figures are what Sources say, as metrics.
type figures struct{ of Sources }

// Register adds the metrics of sources.
func Register(registry *prometheus.Registry, sources Sources) {
	registry.MustRegister(figures{sources})
}

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("cambium_"+name, help, labels, nil)
}

var (
	hintBytes   = desc("hints_bytes", "Bytes of keys and values kept for a node that cannot be reached.", "target")
	hintAge     = desc("hints_oldest_age_seconds", "Age of the oldest record kept for a node.", "target")
	hintsKept   = desc("hints_kept_total", "Records kept for a node that could not be reached.", "target")
	hintsGiven  = desc("hints_handed_over_total", "Records handed over to that node, or to those who own their keys now.", "target")
	hintsNot    = desc("hints_refused_total", "Records refused, since too much was kept for that node, or for too long.", "target")
	dirty       = desc("dirty_slots", "Ranges of tokens whose replicas may differ until they are compared.")
	epoch       = desc("ring_epoch", "Epoch of the topology that this node has.")
	members     = desc("members", "Nodes by this node's own opinion of them.", "state")
	stored      = desc("store_bytes", "Bytes of the store on the device.")
	refused     = desc("peer_requests_refused_total", "Requests of other nodes refused since too many waited.")
	operations  = desc("operations_in_progress", "Operations of clients under way.")
	bytes       = desc("operations_in_progress_bytes", "Bytes of the keys and values of the operations under way.")
	behind      = desc("writes_behind", "Writes that were answered and still go to the rest of their nodes.")
	behindBytes = desc("writes_behind_bytes", "Bytes of the keys and values of these writes.")
	repairs     = desc("read_repairs_in_progress", "Repairs of nodes that lacked something that was read.")
	hedged      = desc("reads_hedged_total", "Reads for which another node was asked too, since one took longer than it mostly does.")
	certificate = desc("certificate_expiry_timestamp_seconds", "When this node's certificate ends, in seconds since 1970.")
)

// Describe implements prometheus.Collector.
func (f figures) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{hintBytes, hintAge, hintsKept, hintsGiven, hintsNot, dirty, epoch, members, stored, refused, operations, bytes, behind, behindBytes, repairs, hedged, certificate} {
		to <- d
	}
}

// states are the values of the label of cambium_members; a state without nodes has a 0.
var states = map[distrib.Liveness]string{distrib.Up: "up", distrib.Suspect: "suspect", distrib.Down: "down"}

// Collect implements prometheus.Collector.
func (f figures) Collect(to chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	count := func(d *prometheus.Desc, n int64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	s := f.of
	if s.Hints != nil {
		for _, h := range s.Hints() {
			gauge(hintBytes, float64(h.Bytes), h.Target)
			if h.Oldest > 0 {
				gauge(hintAge, h.Oldest.Seconds(), h.Target)
			}
			count(hintsKept, h.Kept, h.Target)
			count(hintsGiven, h.HandedOver, h.Target)
			count(hintsNot, h.Refused, h.Target)
		}
	}
	if s.Dirty != nil {
		gauge(dirty, float64(s.Dirty()))
	}
	if s.Epoch != nil {
		gauge(epoch, float64(s.Epoch()))
	}
	if s.Members != nil {
		counts := s.Members()
		for state, name := range states {
			gauge(members, float64(counts[state]), name)
		}
	}
	if s.Stored != nil {
		gauge(stored, float64(s.Stored()))
	}
	if s.Refused != nil {
		count(refused, int64(s.Refused()))
	}
	if s.Load != nil {
		l := s.Load()
		gauge(operations, float64(l.Operations))
		gauge(bytes, float64(l.Bytes))
		gauge(behind, float64(l.Behind))
		gauge(behindBytes, float64(l.BehindBytes))
		gauge(repairs, float64(l.Repairs))
		count(hedged, l.Hedged)
	}
	if s.Certificate != nil {
		gauge(certificate, float64(s.Certificate().Unix()))
	}
}
