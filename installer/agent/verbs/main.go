// Package verbs is the agent's side of a call, on the host: it reads a request, has the rooms beside it carry it out, and answers.
package verbs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/files"
)

// call is one request on the host.
type call struct {
	in  *bufio.Reader // what follows the request line
	end io.Closer     // ends a read of in that waits
	out *answers
}

// verb reads its request from a line, and gives its result, or an error.
type verb func(ctx context.Context, line []byte, c *call) (any, error)

// logged makes a verb that logs lines as it works. It has no input after its request: the end of the input means that nobody
// waits for the result any more, and ends the verb.
func logged[Q, R any](name string, do func(ctx context.Context, q Q, log func(line string) error) (R, error)) verb {
	return func(ctx context.Context, line []byte, c *call) (any, error) {
		var q Q
		if err := decodeRequest(line, name, &q); err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		go func() {
			io.Copy(io.Discard, c.in)
			cancel(agent.ErrCut)
		}()
		return do(ctx, q, c.out.log)
	}
}

// plain makes a verb that logs nothing.
func plain[Q, R any](name string, do func(ctx context.Context, q Q) (R, error)) verb {
	return logged(name, func(ctx context.Context, q Q, _ func(string) error) (R, error) { return do(ctx, q) })
}

// mute makes a verb that logs nothing and has no result.
func mute[Q any](name string, do func(ctx context.Context, q Q) error) verb {
	return plain(name, func(ctx context.Context, q Q) (struct{}, error) { return struct{}{}, do(ctx, q) })
}

// streaming makes a verb that reads more input after its request.
func streaming[Q any](name string, do func(ctx context.Context, q Q, c *call) (any, error)) verb {
	return func(ctx context.Context, line []byte, c *call) (any, error) {
		var q Q
		if err := decodeRequest(line, name, &q); err != nil {
			return nil, err
		}
		return do(ctx, q, c)
	}
}

func (m machine) verbs() map[string]verb {
	return map[string]verb{
		agent.VerbFacts:      plain(agent.VerbFacts, m.look),
		agent.VerbWriteFiles: plain(agent.VerbWriteFiles, m.WriteFiles),
		agent.VerbReadFiles:  plain(agent.VerbReadFiles, m.ReadFiles),
		agent.VerbHosts:      plain(agent.VerbHosts, m.SetHosts),
		agent.VerbScript:     logged(agent.VerbScript, m.script),
		agent.VerbExec:       logged(agent.VerbExec, m.exec),
		agent.VerbPrepare:    plain(agent.VerbPrepare, m.prepareLayers),
		agent.VerbSwitch:     mute(agent.VerbSwitch, m.switchLayers),
		agent.VerbSwitchBack: mute(agent.VerbSwitchBack, m.switchLayersBack),
		agent.VerbForget:     mute(agent.VerbForget, m.forgetLayers),
		agent.VerbBundle:     mute(agent.VerbBundle, m.recordBundle),
		agent.VerbUnpack:     streaming(agent.VerbUnpack, m.unpack),
		agent.VerbRegistry:   streaming(agent.VerbRegistry, m.receiveRegistry),
		agent.VerbRemove:     mute(agent.VerbRemove, m.Remove),
		agent.VerbClear:      plain(agent.VerbClear, m.clear),
		agent.VerbTidy:       plain(agent.VerbTidy, m.Tidy),
		agent.VerbSweep:      plain(agent.VerbSweep, m.Sweep),
		agent.VerbPodCgroups: plain(agent.VerbPodCgroups, m.podCgroups),
		agent.VerbLock:       streaming(agent.VerbLock, m.lock),
		agent.VerbListen:     streaming(agent.VerbListen, m.listen),
		agent.VerbReach:      plain(agent.VerbReach, m.reach),
		agent.VerbInstaller:  plain(agent.VerbInstaller, m.Installer),
		agent.VerbDirs:       plain(agent.VerbDirs, m.LookAtDirs),
		agent.VerbBlobs:      plain(agent.VerbBlobs, m.blobs),

		agent.VerbSnapshot:    plain(agent.VerbSnapshot, m.snapshot),
		agent.VerbCopyPrepare: plain(agent.VerbCopyPrepare, m.prepareCopy),
		agent.VerbCopyPlace:   plain(agent.VerbCopyPlace, m.placeCopy),
	}
}

// Main is the host's side of one call: it reads a request for the verb of that name from stdin, carries it out and writes the
// answer to stdout. It returns the error of a verb that failed, also when the answer has it; the process should then exit with
// status 1 and may print it on stderr. SIGTERM, SIGINT, SIGHUP and the end of stdin end the verb with everything it has
// started.
func Main(ctx context.Context, name string, stdin io.Reader, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	defer stop()
	// A write to a connection that is gone must be an error and not the end of this process, which would leave its children
	// behind. The signal is caught, not ignored, so that children have its default.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, unix.SIGPIPE)
	defer signal.Stop(broken)
	if f, ok := stdin.(*os.File); ok {
		growPipe(f)
	}
	return Serve(ctx, files.At(""), system{}, name, stdin, stdout)
}

// growPipe gives a pipe the largest buffer that any user may have: it may have to carry gigabytes. A file that is no pipe stays
// as it is.
func growPipe(f *os.File) { _, _ = unix.FcntlInt(f.Fd(), unix.F_SETPIPE_SZ, 1<<20) }

// Serve is [Main] for a host whose files and system are given. It does not handle signals.
func Serve(ctx context.Context, on files.Machine, with System, name string, stdin io.Reader, stdout io.Writer) error {
	out := &answers{w: stdout}
	result, err := machine{on, with}.dispatch(ctx, name, stdin, out)
	if answered, ok := errors.AsType[*inBand](err); ok {
		return answered.error
	}
	if err != nil {
		return errors.Join(err, out.fail(err))
	}
	if result == nil {
		return nil
	}
	return out.result(result)
}

func (m machine) dispatch(ctx context.Context, name string, stdin io.Reader, out *answers) (any, error) {
	do, ok := m.verbs()[name]
	if !ok {
		return nil, skew(fmt.Errorf("no verb %q; there are: %s", name, strings.Join(slices.Sorted(maps.Keys(m.verbs())), ", ")))
	}
	// A read of a process's stdin cannot be interrupted, one of this pipe can.
	r, w := io.Pipe()
	defer r.CloseWithError(agent.ErrCut)
	buffer := 8 << 10 // a line
	if name == agent.VerbUnpack || name == agent.VerbRegistry {
		buffer = 256 << 10
	}
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{stdin}, make([]byte, buffer))
		w.CloseWithError(err)
	}()
	stop := context.AfterFunc(ctx, func() { r.CloseWithError(agent.ErrCut) })
	defer stop()
	from := &awaited{r: r, end: r, patience: silence}
	in := bufio.NewReaderSize(from, 64<<10)
	line, err := agent.ReadLine(in, agent.MaxRequest)
	if err != nil {
		return nil, &agent.Error{Code: agent.CodeProtocol, Message: "read request: " + err.Error()}
	}
	if name != agent.VerbUnpack && name != agent.VerbRegistry {
		from.patience = 0 // no more input comes; its end is the end of the call
	}
	if agent.Quiet(name) {
		// Other verbs read only to notice the end of the call.
		waiting := func() bool { return name == agent.VerbUnpack && from.reading.Load() }
		defer out.beatWhile(ctx, lifeBeat, new(pulse).moves, waiting)()
	}
	return do(ctx, line, &call{in: in, end: r, out: out})
}
