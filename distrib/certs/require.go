package certs

import (
	"context"
	"slices"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// RequireNode returns a registrar whose services only nodes may call: others get PERMISSION_DENIED. Services that are
// registered without it are as fast as before.
func RequireNode(to grpc.ServiceRegistrar) grpc.ServiceRegistrar { return nodesOnly{to} }

type nodesOnly struct{ to grpc.ServiceRegistrar }

// RegisterService implements grpc.ServiceRegistrar.
func (n nodesOnly) RegisterService(desc *grpc.ServiceDesc, impl any) {
	guarded := *desc
	guarded.Methods, guarded.Streams = slices.Clone(desc.Methods), slices.Clone(desc.Streams)
	for i := range guarded.Methods {
		do := guarded.Methods[i].Handler
		guarded.Methods[i].Handler = func(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			if err := checkCaller(ctx, desc.ServiceName); err != nil {
				return nil, err
			}
			return do(srv, ctx, decode, interceptor)
		}
	}
	for i := range guarded.Streams {
		do := guarded.Streams[i].Handler
		guarded.Streams[i].Handler = func(srv any, stream grpc.ServerStream) error {
			if err := checkCaller(stream.Context(), desc.ServiceName); err != nil {
				return err
			}
			return do(srv, stream)
		}
	}
	n.to.RegisterService(&guarded, impl)
}

func checkCaller(ctx context.Context, service string) error {
	role, name := PeerOf(ctx)
	if role == Node {
		return nil
	}
	return status.Errorf(codes.PermissionDenied, "%s is for nodes, and the certificate of this connection is that of %s %q: a node's is made with kvctl cert create-node", service, role, name)
}
