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

// PrepareLayers finds out where to unpack layers, and how many of them lie there already; if all do, nothing is to be done. It
// removes what killed calls have left, and leaves alone what is in use.
func (a *Agent) PrepareLayers(ctx context.Context, q Layers) (LayersPlace, error) {
	return ask[LayersPlace](ctx, a, VerbPrepare, q)
}

// SwitchLayers replaces the content of the directory, in one step, by layers that were unpacked beside it. The old content is
// removed or kept, as q says, except for what is excluded. Files that the caller wrote over the old layers have to be written
// again, those that it wrote over the new ones beside come with them.
func (a *Agent) SwitchLayers(ctx context.Context, q Layers) error {
	return a.call(ctx, VerbSwitch, q, nil, nil)
}

// SwitchLayersBack takes the layers out of use, in one step, and brings back the directory that [Agent.SwitchLayers] kept, with
// everything as it was in it. It does nothing if these layers are not in use, and is refused if nothing was kept.
func (a *Agent) SwitchLayersBack(ctx context.Context, q Layers) error {
	return a.call(ctx, VerbSwitchBack, q, nil, nil)
}

// ForgetLayers removes what was unpacked beside a directory and never came into use and, unless q.Keep, the directory that a
// switch kept. The digests of q mean nothing.
func (a *Agent) ForgetLayers(ctx context.Context, q Layers) error {
	return a.call(ctx, VerbForget, q, nil, nil)
}

// Unpack applies a layer to a directory on the host by the rules of OCI images: whiteouts, opaque directories, links; nothing
// ever lands outside it. The stream is not read when the directory has the layer already. A stream that breaks off, or whose
// decoded archive has another digest, is an error; the next call unpacks the layer again. When Unpack returns, the stream is no
// longer read.
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
		// In the background: the process may answer before it has read everything, for example when the disk is full.
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
	case sending := <-failed: // the answer of the process is a consequence
		err = sending
	default:
	}
	err = s.close(err)
	if still, ok := errors.AsType[*host.StandstillError](err); ok && still.Here {
		return err // the stream gives nothing, so its reader would be waited for for ever
	}
	// The pipe is closed, so the sender ends. The caller may close the stream once this returns.
	<-sent
	return err
}

// watchedReader tells a watch when it waits for what is to be sent.
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

// RegistryReceive fills the store in root on the host: the process there is the receiving end of a sync, fn is the sending end.
// What fn writes, the other reads, and the other way round. Both ends are closed when ctx ends. A root that has no registry yet
// is marked as made by this cluster first, so that a reset may remove it.
func (a *Agent) RegistryReceive(ctx context.Context, root string, fn func(w io.Writer, r io.Reader) error) error {
	return a.receive(ctx, ReceiveRequest{Root: root}, fn)
}

// RecordBundle has the registry in q.Root remember what a bundle brings, so that a collection can tell it from what was pushed. A
// root that has no registry yet is marked as RegistryReceive does.
func (a *Agent) RecordBundle(ctx context.Context, q BundleRequest) error {
	return a.call(ctx, VerbBundle, q, nil, nil)
}

// FilesReceive is [Agent.RegistryReceive] into the store of [Agent.PrepareCopy].
func (a *Agent) FilesReceive(ctx context.Context, store string, fn func(w io.Writer, r io.Reader) error) error {
	return a.receive(ctx, ReceiveRequest{Root: store, Passing: true}, fn)
}

func (a *Agent) receive(ctx context.Context, q ReceiveRequest, fn func(w io.Writer, r io.Reader) error) error {
	s, err := a.open(ctx, VerbRegistry, q, nil)
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
	go io.Copy(io.Discard, s.outEnd) // not s.out: a reader of fn may still run
	if err := <-s.ended; err != nil {
		if still := s.watch.Err(); still != nil {
			return still
		}
		return a.blame(VerbRegistry, err)
	}
	s.cancel(nil)
	return nil
}

// lastMoment is how long fn may take to end after its call has ended.
const lastMoment = 5 * time.Second

// both runs fn on the streams of the call. It does not wait for an fn that hangs in a read of its own after the call has ended.
func (s *session) both(fn func(w io.Writer, r io.Reader) error) error {
	done := make(chan error, 1)
	go func() { done <- fn(s.in, &sessionReader{s.out, s.outEnd}) }()
	select {
	case err := <-done:
		return err
	case <-s.still:
	}
	if s.watch.Err() == nil {
		return <-done // the call is over, so fn ends
	}
	select {
	case err := <-done:
		return errors.Join(s.watch.Err(), err)
	case <-time.After(lastMoment):
		return s.watch.Err()
	}
}

// sessionReader can be closed to end a read that waits.
type sessionReader struct {
	*bufio.Reader
	end io.Closer
}

func (r *sessionReader) Close() error { return r.end.Close() }
