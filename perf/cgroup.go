package perf

// Isolation says how far a run was kept apart from others.
type Isolation struct {
	Process bool   `json:"process"`         // a process of its own
	Cgroup  string `json:"cgroup"`          // "v1", "v2", "" for none
	Limit   int64  `json:"limit,omitempty"` // bytes of memory, page cache included
	Peak    int64  `json:"peak,omitempty"`  // the most that the cgroup held; 0 if the kernel does not tell
	Note    string `json:"note,omitempty"`  // why there is no cgroup
}

// String describes it in one line.
func (i Isolation) String() string {
	switch {
	case !i.Process:
		return "in kvbench's own process"
	case i.Cgroup == "":
		return "a process of its own; no memory cgroup: " + i.Note
	case i.Peak > 0:
		return "a process of its own in a memory cgroup (" + i.Cgroup + ") of " + Bytes(i.Limit) + ", of which it used " + Bytes(i.Peak) + " at most, page cache included"
	}
	return "a process of its own in a memory cgroup (" + i.Cgroup + ") of " + Bytes(i.Limit) + ", page cache included"
}
