package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/sealbuild/sealbuild/installer/host"
)

// PrepareLayers tells where layers are to be unpacked and how many of them lie there: all, where nothing is to be done.
// What is in use stays as it is; what a call that was killed left is removed.
func (a *Agent) PrepareLayers(ctx context.Context, q Layers) (LayersPlace, error) {
	var p LayersPlace
	return p, a.call(ctx, VerbPrepare, q, &p, nil)
}

// SwitchLayers puts the layers, which were unpacked beside, in the place of what lies in the directory, in one step. What
// lay there is removed, but for what is excluded. Files that were written over the layers have to be written again.
func (a *Agent) SwitchLayers(ctx context.Context, q Layers) error {
	return a.call(ctx, VerbSwitch, q, nil, nil)
}

// Unpack applies a layer to a directory on the host by the rules of OCI images: whiteouts, opaque
// directories, links; nothing ever lands outside it. The stream is not read when the directory has the layer
// already. The digest of the decoded archive decides; a stream that breaks off, or has another, is an error, and
// the next call does the layer again. When Unpack returns, the stream is no longer read.
func (a *Agent) Unpack(ctx context.Context, r UnpackRequest, stream io.Reader) error {
	s, err := a.open(ctx, VerbUnpack, r, nil)
	if err != nil {
		return err
	}
	want, err := s.wants()
	if err != nil {
		return s.close(err)
	}
	failed, sent := make(chan error, 1), make(chan struct{})
	if !want {
		close(sent)
	} else {
		// Aside, as the stub may answer before it has read everything: the disk is full, say.
		go func() {
			defer close(sent)
			err := sendChunks(s.in, watchedReader{stream, s.watch})
			if err != nil && !errors.Is(err, errEnded) && !errors.Is(err, io.ErrClosedPipe) {
				err = fmt.Errorf("send layer: %w", err)
				failed <- err
				s.cancel(err)
			}
		}()
	}
	err = s.result(nil)
	select {
	case sending := <-failed: // what the stub says of it is a consequence
		err = sending
	default:
	}
	err = s.close(err)
	var still *host.StandstillError
	if errors.As(err, &still) && still.Here {
		return err // the stream gives nothing: whoever reads it cannot be waited for
	}
	// The pipe is closed now, so nothing holds the sender up; the caller may close the stream behind us.
	<-sent
	return err
}

// watchedReader tells a watch when what is to be sent is waited for.
type watchedReader struct {
	r io.Reader
	w *host.Watch
}

func (r watchedReader) Read(p []byte) (int, error) {
	r.w.Reading(true)
	defer r.w.Reading(false)
	n, err := r.r.Read(p)
	if n > 0 {
		r.w.Sent(0)
	}
	return n, err
}

// RegistryReceive runs the receiving end of a registry session on the host, on the store in root, and fn as its sending
// end here: what fn writes, the store reads, and the other way round. Both are closed when ctx ends.
// Before anything else, a root without a registry is marked as made by this cluster, so that a reset may remove it.
func (a *Agent) RegistryReceive(ctx context.Context, root string, fn func(w io.Writer, r io.Reader) error) error {
	s, err := a.open(ctx, VerbRegistry, ReceiveRequest{root}, nil)
	if err != nil {
		return err
	}
	if _, err := s.wants(); err != nil {
		return s.close(err)
	}
	err = s.both(fn)
	if err != nil {
		return s.close(err)
	}
	s.in.Close()
	go io.Copy(io.Discard, s.outEnd) // not out: fn may have left a reader behind
	if err := <-s.ended; err != nil {
		if still := s.watch.Err(); still != nil {
			return still
		}
		return a.blame(VerbRegistry, err)
	}
	s.cancel(nil)
	return nil
}

// lastMoment is how long fn may take to end once its call has.
const lastMoment = 5 * time.Second

// both runs fn on the streams of the call. One that does not end with the call, since what it reads here hangs, is left.
func (s *session) both(fn func(w io.Writer, r io.Reader) error) error {
	done := make(chan error, 1)
	go func() { done <- fn(s.in, &sessionReader{s.out, s.outEnd}) }()
	select {
	case err := <-done:
		return err
	case <-s.still:
	}
	if s.watch.Err() == nil {
		return <-done // the call is over, which fn sees
	}
	select {
	case err := <-done:
		return errors.Join(s.watch.Err(), err)
	case <-time.After(lastMoment):
		return s.watch.Err()
	}
}

// sessionReader can be closed, which ends a read that waits.
type sessionReader struct {
	*bufio.Reader
	end io.Closer
}

func (r *sessionReader) Close() error { return r.end.Close() }
