package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sealbuild/sealbuild/installer/host"
)

// Agent calls the stub on a host. It may be used by several goroutines at once.
type Agent struct {
	h    host.Host
	path string
}

// NewAgent makes an agent of the stub at path on h.
func NewAgent(h host.Host, path string) *Agent { return &Agent{h: h, path: path} }

// Host is the machine the agent works on.
func (a *Agent) Host() host.Host { return a.h }

// Facts looks at the host, and changes nothing.
func (a *Agent) Facts(ctx context.Context, r FactsRequest) (Facts, error) {
	var f Facts
	return f, a.call(ctx, VerbFacts, r, &f, nil)
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
		var res WriteResult
		if err := a.call(ctx, VerbWriteFiles, WriteRequest{files[:n]}, &res, nil); err != nil {
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
	var res ReadResult
	err := a.call(ctx, VerbReadFiles, ReadRequest{paths}, &res, nil)
	return res.Files, err
}

// SetHosts makes the lines of /etc/hosts that are marked as ours those given; none removes them. All else in the file stays as it
// is.
func (a *Agent) SetHosts(ctx context.Context, entries []HostsEntry) (changed bool, err error) {
	var res HostsResult
	err = a.call(ctx, VerbHosts, HostsRequest{entries}, &res, nil)
	return res.Changed, err
}

// Script runs shell text with bash, and writes each line of its output to log as it comes; log may be nil.
// A script that fails gives *ScriptError.
func (a *Agent) Script(ctx context.Context, r ScriptRequest, log io.Writer) error {
	var res ScriptResult
	if err := a.call(ctx, VerbScript, r, &res, log); err != nil {
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
	err := a.call(ctx, VerbExec, ExecMessage{ExecRequest: r, Log: log != nil}, &res, log)
	return res, err
}

// Remove removes files and directories with all they hold; missing ones are fine. System directories and whatever a
// file system is mounted on or below are refused, before anything is removed.
func (a *Agent) Remove(ctx context.Context, paths []string) error {
	return a.call(ctx, VerbRemove, RemoveRequest{paths}, nil, nil)
}

// CareStart runs argv as a transient systemd unit, which is started again whenever it ends, until the host reboots or
// CareStop. If it runs already with the same argv, nothing happens.
func (a *Agent) CareStart(ctx context.Context, unit string, argv []string) error {
	return a.call(ctx, VerbCareStart, CareRequest{unit, argv}, nil, nil)
}

// CareStop ends a unit that CareStart began. One that is not there is fine.
func (a *Agent) CareStop(ctx context.Context, unit string) error {
	return a.call(ctx, VerbCareStop, CareRequest{Unit: unit}, nil, nil)
}

// Clear removes directories with all they hold. What the site made of them stays what it was: a link leads where it led, a file
// system stays mounted, and both are empty then. A file system that is mounted further below is not touched; those are named.
func (a *Agent) Clear(ctx context.Context, q ClearRequest) (kept []string, err error) {
	var res ClearResult
	err = a.call(ctx, VerbClear, q, &res, nil)
	return res.Kept, err
}

// Dirs looks at directories.
func (a *Agent) Dirs(ctx context.Context, dirs ...string) (map[string]Dir, error) {
	var res DirsResult
	err := a.call(ctx, VerbDirs, DirsRequest{dirs}, &res, nil)
	return res.Dirs, err
}

// UseInstaller makes the stub that this agent runs the one that has the given name on the host, in one step: units and
// scripts run that. Versions that nothing uses are removed. It tells whether another one was in use.
func (a *Agent) UseInstaller(ctx context.Context, name string) (changed bool, err error) {
	var res InstallerResult
	err = a.call(ctx, VerbInstaller, InstallerRequest{Name: name, Own: a.path, Use: true}, &res, nil)
	return res.Changed, err
}

// LeaveInstaller removes the stub that this agent runs, unless it is the one that has the given name; other versions that
// nothing uses go, too, and then directories that are empty. With idle the stub stays where another process runs it,
// which busy tells. No call can be made afterwards.
func (a *Agent) LeaveInstaller(ctx context.Context, name string, idle bool, dirs ...string) (busy bool, err error) {
	var res InstallerResult
	err = a.call(ctx, VerbInstaller, InstallerRequest{Name: name, Own: a.path, Idle: idle, Dirs: dirs}, &res, nil)
	return res.Busy, err
}

// RemovePodCgroups removes the control groups that kubelet made for pods, as slices of systemd or by itself, once no process
// is in them. Those that have one are another kubelet's, or of a pod that nothing could end: they stay, and are named.
func (a *Agent) RemovePodCgroups(ctx context.Context) (busy []string, err error) {
	var res PodCgroupsResult
	err = a.call(ctx, VerbPodCgroups, PodCgroupsRequest{}, &res, nil)
	return res.Busy, err
}

// Tidy removes what is known of a directory, what a killed agent left where that lies, and the directories that are
// empty then; links and mount points stay. It names what others have put there and what therefore is left.
func (a *Agent) Tidy(ctx context.Context, q TidyRequest) (left []string, err error) {
	var res TidyResult
	err = a.call(ctx, VerbTidy, q, &res, nil)
	return res.Left, err
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
