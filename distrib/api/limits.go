package api

// Limits for those who make gRPC servers and clients. gRPC's own is 4 MiB for a message that is received.
const (
	// SessionOperations is how many operations a node takes of one session at a time, SessionBytes what their requests
	// may hold; its answers may hold as much.
	SessionOperations, SessionBytes = 1024, 128 << 20
	// MaxRequestBytes is the longest request: a batch is split where its values are more.
	MaxRequestBytes = 32 << 20
	// MaxAnswerBytes is the longest answer: a key with as many siblings as may be, all as large as may be.
	MaxAnswerBytes = 100*(10<<20) + 64<<20
)
