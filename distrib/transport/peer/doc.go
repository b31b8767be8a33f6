// Package peer is the gRPC service by which nodes exchange requests: the generated code of peer.proto. Package
// transport is its only user.
//
// Made with protoc 3.21, protoc-gen-go and protoc-gen-go-grpc of the versions below.
package peer

//go:generate go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
//go:generate go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
//go:generate protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative peer.proto
