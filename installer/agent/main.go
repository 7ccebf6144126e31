package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// call is one request on the node.
type call struct {
	in  *bufio.Reader // what follows the request line
	end io.Closer     // ends a read of in that waits
	out *answers
}

// verb reads its request from a line, and gives its result, or an error.
type verb func(ctx context.Context, line []byte, c *call) (any, error)

// plain is a verb without a stream: its request line is all the input it gets, so that the end of
// the input means that nobody waits for the result any more.
func plain[Q any](name string, do func(ctx context.Context, q Q, out *answers) (any, error)) verb {
	return func(ctx context.Context, line []byte, c *call) (any, error) {
		var q Q
		if err := decodeRequest(line, name, &q); err != nil {
			return nil, err
		}
		ctx, cancel := context.WithCancelCause(ctx)
		defer cancel(nil)
		go func() {
			io.Copy(io.Discard, c.in)
			cancel(errCut)
		}()
		return do(ctx, q, c.out)
	}
}

// streaming is a verb that reads on after its request.
func streaming[Q any](name string, do func(ctx context.Context, q Q, c *call) (any, error)) verb {
	return func(ctx context.Context, line []byte, c *call) (any, error) {
		var q Q
		if err := decodeRequest(line, name, &q); err != nil {
			return nil, err
		}
		return do(ctx, q, c)
	}
}

var errCut = &Error{Code: CodeCut, Message: "the connection to the installer ended"}

// Names of verbs, as they stand on the command line.
const (
	verbFacts      = "facts"
	verbWriteFiles = "write-files"
	verbReadFiles  = "read-files"
	verbHosts      = "hosts"
	verbScript     = "script"
	verbExec       = "exec"
	verbPrepare    = "prepare-layers"
	verbUnpack     = "unpack"
	verbSwitch     = "switch-layers"
	verbRegistry   = "registry-receive"
	verbRemove     = "remove"
	verbClear      = "clear"
	verbTidy       = "tidy"
	verbPodCgroups = "pod-cgroups"
	verbCareStart  = "care-start"
	verbCareStop   = "care-stop"
	verbLock       = "lock"
	verbListen     = "listen"
	verbReach      = "reach"
	verbInstaller  = "installer"
	verbDirs       = "dirs"
)

func (m machine) verbs() map[string]verb {
	return map[string]verb{
		verbFacts:      plain(verbFacts, m.look),
		verbWriteFiles: plain(verbWriteFiles, m.writeFiles),
		verbReadFiles:  plain(verbReadFiles, m.readFiles),
		verbHosts:      plain(verbHosts, m.setHosts),
		verbScript:     plain(verbScript, m.script),
		verbExec:       plain(verbExec, m.exec),
		verbPrepare:    plain(verbPrepare, m.prepareLayers),
		verbSwitch:     plain(verbSwitch, m.switchLayers),
		verbUnpack:     streaming(verbUnpack, m.unpack),
		verbRegistry:   streaming(verbRegistry, m.receiveRegistry),
		verbRemove:     plain(verbRemove, m.remove),
		verbClear:      plain(verbClear, m.clearDirs),
		verbTidy:       plain(verbTidy, m.tidy),
		verbPodCgroups: plain(verbPodCgroups, m.podCgroups),
		verbCareStart:  plain(verbCareStart, m.careStart),
		verbCareStop:   plain(verbCareStop, m.careStop),
		verbLock:       streaming(verbLock, m.lock),
		verbListen:     streaming(verbListen, m.listen),
		verbReach:      plain(verbReach, m.reach),
		verbInstaller:  plain(verbInstaller, m.installer),
		verbDirs:       plain(verbDirs, m.lookAtDirs),
	}
}

// Verbs gives the names of all verbs, sorted.
func Verbs() []string {
	var names []string
	for name := range (machine{}).verbs() {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// machine is where the files of this host are: an empty root but in tests.
type machine struct {
	root string
	sim  *Simulation // nil on a machine that is one
}

func (m machine) path(name string) string { return m.root + name }

// Main is the node's side of one call: it reads a request for verb from stdin, carries it out and
// writes the answer to stdout. It returns an error when the verb failed, also if that was answered;
// the process should then exit with status 1 and may print it on stderr. SIGTERM, SIGINT, SIGHUP and
// the end of stdin stop the verb with everything it started.
func Main(ctx context.Context, name string, stdin io.Reader, stdout io.Writer) error {
	ctx, stop := signal.NotifyContext(ctx, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	defer stop()
	// A write to a connection that is gone must be an error and not the end of this process:
	// its children would be left behind. Being caught, not ignored, children get the default again.
	broken := make(chan os.Signal, 1)
	signal.Notify(broken, unix.SIGPIPE)
	defer signal.Stop(broken)
	if f, ok := stdin.(*os.File); ok {
		growPipe(f)
	}
	return serve(ctx, machine{}, name, stdin, stdout)
}

// growPipe gives a pipe the most that anybody may have, so that both its ends run longer at a time: it may have to carry gigabytes.
// What is no pipe stays as it is.
func growPipe(f *os.File) { _, _ = unix.FcntlInt(f.Fd(), unix.F_SETPIPE_SZ, 1<<20) }

func serve(ctx context.Context, m machine, name string, stdin io.Reader, stdout io.Writer) error {
	out := &answers{w: stdout}
	result, err := m.dispatch(ctx, name, stdin, out)
	switch {
	case errors.Is(err, errAnsweredInBand):
		return errors.Unwrap(err)
	case err != nil:
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
		return nil, skew(fmt.Errorf("no verb %q; there are: %s", name, strings.Join(Verbs(), ", ")))
	}
	// A read of a process's stdin cannot be interrupted, one of this pipe can.
	r, w := io.Pipe()
	defer r.CloseWithError(errCut)
	buffer := 8 << 10 // a line
	if name == verbUnpack || name == verbRegistry {
		buffer = 256 << 10
	}
	go func() {
		_, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{stdin}, make([]byte, buffer))
		w.CloseWithError(err)
	}()
	stop := context.AfterFunc(ctx, func() { r.CloseWithError(errCut) })
	defer stop()
	from := &awaited{r: r, end: r, patience: m.patience()}
	in := bufio.NewReaderSize(from, 64<<10)
	line, err := readLine(in, maxRequest)
	if err != nil {
		return nil, &Error{Code: CodeProtocol, Message: "read request: " + err.Error()}
	}
	if name != verbUnpack && name != verbRegistry {
		from.patience = 0 // nothing is to come: the input's end is the call's
	}
	if quietVerb(name) {
		// What a plain verb reads is the end of the call, which is nothing to wait for.
		waiting := func() bool { return name == verbUnpack && from.reading.Load() }
		defer out.beatWhile(ctx, m.beat(), new(pulse).moves, waiting)()
	}
	return do(ctx, line, &call{in: in, end: r, out: out})
}
