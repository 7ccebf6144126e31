package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer/host"
)

// Agent calls the stub on a host. It may be used by several goroutines at once.
type Agent struct {
	h        host.Host
	path     string
	patience time.Duration // with a call in which nothing moves; 0 means as usual
}

// NewAgent makes an agent of the stub at path on h.
func NewAgent(h host.Host, path string) *Agent { return &Agent{h: h, path: path} }

// Host is the machine the agent works on.
func (a *Agent) Host() host.Host { return a.h }

// Facts looks at the host, and changes nothing.
func (a *Agent) Facts(ctx context.Context, r FactsRequest) (Facts, error) {
	var f Facts
	return f, a.call(ctx, verbFacts, r, &f, nil)
}

// maxBatch is how much content is written in one call, in bytes; on the wire it grows by a third.
const maxBatch = 8 << 20

// WriteFiles makes files as asked, in the order given, and tells which were not so before. Each is
// replaced in one step, and not at all when content and mode are right. Parents are made with mode
// 0755. A symbolic link is followed; a file keeps its owner. One file holds at most 11 MiB: for more there is host.Host.Put.
func (a *Agent) WriteFiles(ctx context.Context, files []File) (changed []string, err error) {
	for len(files) > 0 {
		n, size := 0, 0
		for n < len(files) && (n == 0 || size+len(files[n].Content) <= maxBatch) {
			size += len(files[n].Content)
			n++
		}
		var res writeResult
		if err := a.call(ctx, verbWriteFiles, writeRequest{files[:n]}, &res, nil); err != nil {
			return changed, err
		}
		changed = append(changed, res.Changed...)
		files = files[n:]
	}
	return changed, nil
}

// ReadFiles reads regular files, 32 MiB in all at most. Those that do not exist are absent from the answer.
func (a *Agent) ReadFiles(ctx context.Context, paths []string) (map[string][]byte, error) {
	if len(paths) == 0 {
		return map[string][]byte{}, nil
	}
	var res readResult
	err := a.call(ctx, verbReadFiles, readRequest{paths}, &res, nil)
	return res.Files, err
}

// SetHosts makes the lines of /etc/hosts that are marked as ours those given; none removes them. All else in the file stays as it
// is.
func (a *Agent) SetHosts(ctx context.Context, entries []HostsEntry) (changed bool, err error) {
	var res hostsResult
	err = a.call(ctx, verbHosts, hostsRequest{entries}, &res, nil)
	return res.Changed, err
}

// Script runs shell text with bash, and writes each line of its output to log as it comes; log may be nil.
// A script that fails gives *ScriptError.
func (a *Agent) Script(ctx context.Context, r ScriptRequest, log io.Writer) error {
	var res scriptResult
	if err := a.call(ctx, verbScript, r, &res, log); err != nil {
		return err
	}
	if res.Code != 0 {
		return &ScriptError{Host: a.h.Name(), Line: r.Line, Code: res.Code, Tail: res.Tail}
	}
	return nil
}

// Exec runs a program and gives its exit status and output. Its lines go to log as they come, if log is not nil.
// A status other than 0 is not an error; a program that is missing, or runs too long, is.
func (a *Agent) Exec(ctx context.Context, r ExecRequest, log io.Writer) (ExecResult, error) {
	var res ExecResult
	err := a.call(ctx, verbExec, execMessage{ExecRequest: r, Log: log != nil}, &res, log)
	return res, err
}

// Remove removes files and directories with all they hold; missing ones are fine. System directories and whatever a
// file system is mounted on or below are refused, before anything is removed.
func (a *Agent) Remove(ctx context.Context, paths []string) error {
	return a.call(ctx, verbRemove, removeRequest{paths}, nil, nil)
}

// CareStart runs argv as a transient systemd unit, which is started again whenever it ends, until the host reboots or
// CareStop. If it runs already with the same argv, nothing happens.
func (a *Agent) CareStart(ctx context.Context, unit string, argv []string) error {
	return a.call(ctx, verbCareStart, careRequest{unit, argv}, nil, nil)
}

// CareStop ends a unit that CareStart began. One that is not there is fine.
func (a *Agent) CareStop(ctx context.Context, unit string) error {
	return a.call(ctx, verbCareStop, careRequest{Unit: unit}, nil, nil)
}

// call makes a call without a stream. Verbs that may be carried out twice are, when the connection broke meanwhile.
func (a *Agent) call(ctx context.Context, verb string, req, result any, log io.Writer) error {
	err := a.callOnce(ctx, verb, req, result, log)
	if errors.Is(err, host.ErrUnreachable) && repeatable(verb) && ctx.Err() == nil {
		return a.callOnce(ctx, verb, req, result, log)
	}
	return err
}

func (a *Agent) callOnce(ctx context.Context, verb string, req, result any, log io.Writer) error {
	s, err := a.open(ctx, verb, req, log)
	if err != nil {
		return err
	}
	return s.close(s.result(result))
}

// repeatable tells of verbs that change nothing that already is as asked, all of themselves: what a script or a program
// does nobody knows.
func repeatable(verb string) bool {
	switch verb {
	case verbFacts, verbReadFiles, verbWriteFiles, verbHosts, verbRemove, verbClear, verbTidy, verbPodCgroups, verbReach, verbPrepare, verbSwitch:
		return true
	}
	return false
}

// blame gives an error of the node its host and verb.
func (a *Agent) blame(verb string, err error) error {
	var e *Error
	if errors.As(err, &e) {
		e.Host, e.Verb = a.h.Name(), verb
		return e
	}
	var exit *host.ExitError
	if errors.As(err, &exit) && (exit.Code == 126 || exit.Code == 127) {
		return &Error{
			Host: a.h.Name(), Verb: verb, Code: CodeProtocol, Message: strings.TrimSuffix(fmt.Sprintf("the stub %s cannot be run: %s", a.path, exit.Stderr), ": "),
			Remedy: "copy it there again",
		}
	}
	return &callError{a.h.Name(), verb, err}
}
