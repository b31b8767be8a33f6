// Package api is what a Cambium cluster speaks with its clients and operators, as gRPC: the generated code of
// kv.proto and cluster.proto, which say what each message means.
//
// The files are known as cambium/v1/*.proto: etcd has a kv.proto of its own, and a program may not have two of one name.
//
// Made with protoc 3.21, protoc-gen-go and protoc-gen-go-grpc of the versions below.
package api

//go:generate go install google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.12
//go:generate go install google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.6.2
//go:generate protoc -I cambium/v1=. --go_out=. --go_opt=module=github.com/cambiumdb/cambium/distrib/api --go-grpc_out=. --go-grpc_opt=module=github.com/cambiumdb/cambium/distrib/api cambium/v1/kv.proto cambium/v1/cluster.proto
