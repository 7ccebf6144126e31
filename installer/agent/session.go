package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer/host"
)

// session is the installer's side of one call.
type session struct {
	agent  *Agent
	ctx    context.Context // the caller's
	verb   string
	in     *io.PipeWriter // stdin of the process on the host; closing it ends that
	out    *bufio.Reader  // stdout of the process
	outEnd *io.PipeReader
	log    io.Writer
	cancel context.CancelCauseFunc
	ended  chan error // how the process ended
	watch  *host.Watch
	still  <-chan struct{} // closed when the watch ends the call, or the call is over
	noise  int
}

// open starts the process on the host and sends the request.
func (a *Agent) open(ctx context.Context, verb string, req any, log io.Writer) (*session, error) {
	body, err := json.Marshal(req)
	if err != nil {
		return nil, a.blame(verb, fmt.Errorf("encode request: %w", err))
	}
	line, err := json.Marshal(Request{Protocol: Protocol, Verb: verb, Request: body})
	if err != nil {
		return nil, a.blame(verb, fmt.Errorf("encode request: %w", err))
	}
	if len(line) >= MaxRequest {
		return nil, a.blame(verb, fmt.Errorf("the request has %d bytes, %d are allowed", len(line), MaxRequest))
	}
	callerCtx := ctx
	ctx, cancel := context.WithCancelCause(ctx)
	watch := a.watch(&ctx, verb, req)
	inR, inW := io.Pipe()
	outR, outW := io.Pipe()
	s := &session{
		agent: a, ctx: callerCtx, verb: verb, in: inW, out: bufio.NewReaderSize(outR, 64<<10), outEnd: outR, log: log,
		cancel: cancel, ended: make(chan error, 1), watch: watch, still: ctx.Done(),
	}
	go func() {
		var stdin io.Reader = inR
		var stdout io.Writer = outW
		if watch != nil {
			stdin, stdout = watch.Source(inR), watch.Signs(outW)
			defer watch.Stop()
		}
		err := a.h.Run(ctx, host.Cmd{Argv: []string{a.path, "node", verb}, Stdin: stdin, Stdout: stdout, Root: true})
		s.ended <- err
		inR.CloseWithError(errEnded)
		outW.Close()
	}()
	// In the background: a process that refuses answers before it has read all, and ends only when its answer is read. If it
	// ends first, its answer says more than the error of this write.
	go inW.Write(append(line, '\n'))
	return s, nil
}

// watch ends a call in which nothing moves. Only verbs of which signs of life are expected are watched.
func (a *Agent) watch(ctx *context.Context, verb string, req any) *host.Watch {
	if !Quiet(verb) && verb != VerbRegistry {
		return nil
	}
	what := "the request " + verb
	switch q := req.(type) {
	case ReceiveRequest:
		if what = "images to the registry in " + q.Root; q.Passing {
			what = "files"
		}
	case UnpackRequest:
		what = fmt.Sprintf("layer %.19s… for %s", q.Digest, q.Dir)
	case WriteRequest:
		if len(q.Files) > 0 {
			what = fmt.Sprintf("%s, %s the first", count.Of(len(q.Files), "file"), q.Files[0].Path)
		}
	}
	var w *host.Watch
	*ctx, w = host.WatchTransfer(*ctx, host.Standstill, a.h.Name(), what)
	return w
}

var errEnded = errors.New("the stub has ended")

// next reads up to an answer that is no line of the log.
func (s *session) next() (Answer, error) {
	for {
		line, err := ReadLine(s.out, maxAnswer)
		if err != nil {
			return Answer{}, err
		}
		if len(line) == 0 || line[0] != '{' {
			// Start-up files of a login may print something; the process itself never does.
			if s.noise += len(line) + 1; s.noise > maxNoise {
				return Answer{}, errors.New("the host prints other things than answers")
			}
			continue
		}
		var a Answer
		if err := DecodeStrict(line, &a); err != nil {
			return Answer{}, &Error{Code: CodeProtocol, Message: "answer not understood: " + err.Error(), Remedy: "the stub on the host is of another version: copy it there again"}
		}
		if a.Alive {
			continue
		}
		if a.Log == nil {
			return a, nil
		}
		if s.log == nil {
			continue
		}
		if _, err := io.WriteString(s.log, *a.Log+"\n"); err != nil {
			return Answer{}, fmt.Errorf("write log: %w", err)
		}
	}
}

// wants waits until the verb is ready for its stream, and tells whether it wants it.
func (s *session) wants() (bool, error) {
	a, err := s.next()
	switch {
	case err != nil:
		return false, err
	case a.Error != nil:
		return false, a.Error
	case a.Stream == nil:
		return false, errors.New("an answer came out of turn")
	}
	return *a.Stream, nil
}

// result reads the last answer.
func (s *session) result(into any) error {
	a, err := s.next()
	switch {
	case err != nil:
		return err
	case a.Error != nil:
		return a.Error
	case a.Result == nil:
		return errors.New("an answer came out of turn")
	case into == nil:
		return nil
	}
	if err := DecodeStrict(a.Result, into); err != nil {
		return &Error{Code: CodeProtocol, Message: "answer not understood: " + err.Error(), Remedy: "the stub on the host is of another version: copy it there again"}
	}
	return nil
}

// close ends the call and gives its error: the answer if there was one, else how the process ended, else err.
func (s *session) close(err error) error {
	defer s.cancel(nil)
	_, answered := errors.AsType[*Error](err)
	var end error
	switch {
	case err == nil, answered:
		s.in.Close()                     // the process has answered, and ends
		go io.Copy(io.Discard, s.outEnd) // not s.out: another goroutine may still read that
		<-s.ended
		if err == nil {
			return nil
		}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, errEnded):
		s.in.Close()
		s.outEnd.Close()
		if end = <-s.ended; end != nil {
			err = end
		} else {
			err = errors.New("the stub ended without an answer")
		}
	default:
		s.cancel(err)
		s.in.CloseWithError(err)
		s.outEnd.CloseWithError(err)
		if end = <-s.ended; errors.Is(end, host.ErrUnreachable) {
			err = end
		}
	}
	if s.watch != nil && s.watch.Err() != nil {
		return s.watch.Err() // all else is a consequence
	}
	if s.ctx.Err() != nil {
		// What the process says of its end is a consequence.
		err = context.Cause(s.ctx)
	}
	return s.agent.blame(s.verb, err)
}
