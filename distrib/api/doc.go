// Package api is what a Cambium cluster speaks with its clients and operators, as gRPC: the generated code of
// kv.proto and cluster.proto, which say what each message means.
//
// Made with protoc 3.21, protoc-gen-go and protoc-gen-go-grpc of the versions below.
package api

//go:generate go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
//go:generate go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
//go:generate protoc --go_out=. --go_opt=paths=source_relative --go-grpc_out=. --go-grpc_opt=paths=source_relative kv.proto cluster.proto
