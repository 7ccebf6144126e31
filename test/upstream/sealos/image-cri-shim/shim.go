package main

import (
	"context"
	"errors"
	"io"
	"log"

	"google.golang.org/grpc"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// shim is the image service that kubelet sees. Calls that name an image get the
// registry's name for it; the others are the runtime's.
type shim struct {
	runtimeapi.UnimplementedImageServiceServer

	runtime  runtimeapi.ImageServiceClient
	registry *registry
}

// rename changes an image's name into the registry's where the registry has it.
func (s *shim) rename(ctx context.Context, call string, image *runtimeapi.ImageSpec) (renamed bool) {
	if image == nil {
		return false
	}
	name, ok := s.registry.nameOf(ctx, image.Image)
	if !ok || name == image.Image {
		return ok
	}
	log.Printf("%s: %s is %s", call, image.Image, name)
	image.Image = name
	return true
}

func (s *shim) PullImage(ctx context.Context, r *runtimeapi.PullImageRequest) (*runtimeapi.PullImageResponse, error) {
	if s.rename(ctx, "PullImage", r.Image) && r.Auth == nil {
		// The runtime compares the host of this address, which has to be a URL, with the one it pulls from.
		r.Auth = &runtimeapi.AuthConfig{Username: s.registry.user, Password: s.registry.password, ServerAddress: s.registry.url}
	}
	return s.runtime.PullImage(ctx, r)
}

func (s *shim) ImageStatus(ctx context.Context, r *runtimeapi.ImageStatusRequest) (*runtimeapi.ImageStatusResponse, error) {
	s.rename(ctx, "ImageStatus", r.Image)
	return s.runtime.ImageStatus(ctx, r)
}

func (s *shim) RemoveImage(ctx context.Context, r *runtimeapi.RemoveImageRequest) (*runtimeapi.RemoveImageResponse, error) {
	s.rename(ctx, "RemoveImage", r.Image)
	return s.runtime.RemoveImage(ctx, r)
}

func (s *shim) ListImages(ctx context.Context, r *runtimeapi.ListImagesRequest) (*runtimeapi.ListImagesResponse, error) {
	return s.runtime.ListImages(ctx, r)
}

func (s *shim) StreamImages(r *runtimeapi.StreamImagesRequest, out grpc.ServerStreamingServer[runtimeapi.StreamImagesResponse]) error {
	in, err := s.runtime.StreamImages(out.Context(), r)
	if err != nil {
		return err
	}
	for {
		part, err := in.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := out.Send(part); err != nil {
			return err
		}
	}
}

func (s *shim) ImageFsInfo(ctx context.Context, r *runtimeapi.ImageFsInfoRequest) (*runtimeapi.ImageFsInfoResponse, error) {
	return s.runtime.ImageFsInfo(ctx, r)
}
