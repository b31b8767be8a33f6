package api

// Limits of messages, for those who make gRPC servers and clients. gRPC's own is 4 MiB for what is received.
const (
	// MaxRequestBytes is the longest request: a batch is split where its values are more.
	MaxRequestBytes = 32 << 20
	// MaxAnswerBytes is the longest answer: a key with as many siblings as may be, all as large as may be.
	MaxAnswerBytes = 100*(10<<20) + 64<<20
)
