package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sealbuild/sealbuild/installer/host"
)

// Agent runs the stub on a host, one process for each request. Several goroutines may use it at once.
type Agent struct {
	h    host.Host
	path string
}

// NewAgent makes an agent that runs the stub at path on h.
func NewAgent(h host.Host, path string) *Agent { return &Agent{h: h, path: path} }

// Host is the host that the agent works on.
func (a *Agent) Host() host.Host { return a.h }

// Facts looks at the host, and changes nothing.
func (a *Agent) Facts(ctx context.Context, r FactsRequest) (Facts, error) {
	return ask[Facts](ctx, a, VerbFacts, r)
}

// maxBatch is how much content is written in one call, in bytes; on the wire it grows by a third.
const maxBatch = 8 << 20

// WriteFiles makes files as asked, in the order given, and gives the paths of those that it changed. Each is
// replaced in one step, and not at all when content and mode are right. Parents are made with mode
// 0755. A symbolic link is followed; a file keeps its owner. One file holds at most 11 MiB: for more there is host.Host.Put.
func (a *Agent) WriteFiles(ctx context.Context, files []File) (changed []string, err error) {
	for len(files) > 0 {
		n, size := 0, 0
		for n < len(files) && (n == 0 || size+len(files[n].Content) <= maxBatch) {
			size += len(files[n].Content)
			n++
		}
		res, err := ask[WriteResult](ctx, a, VerbWriteFiles, WriteRequest{files[:n]})
		if err != nil {
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
	res, err := ask[ReadResult](ctx, a, VerbReadFiles, ReadRequest{paths})
	return res.Files, err
}

// SetHosts replaces the lines of /etc/hosts that an earlier call wrote by the entries; no entries remove them. All else in the
// file stays as it is.
func (a *Agent) SetHosts(ctx context.Context, entries []HostsEntry) (changed bool, err error) {
	res, err := ask[HostsResult](ctx, a, VerbHosts, HostsRequest{entries})
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

// Clear removes directories with all they hold. One that the site has made a link or a mount point stays, empty. File systems
// that are mounted further below are not touched; kept names them.
func (a *Agent) Clear(ctx context.Context, q ClearRequest) (kept []string, err error) {
	res, err := ask[ClearResult](ctx, a, VerbClear, q)
	return res.Kept, err
}

// Dirs looks at directories, and gives what it finds by their names.
func (a *Agent) Dirs(ctx context.Context, dirs ...string) (map[string]Dir, error) {
	res, err := ask[DirsResult](ctx, a, VerbDirs, DirsRequest{dirs})
	return res.Dirs, err
}

// Snapshot has the host's member of etcd send its database, and keeps it in a file on the host with mode 0600. The file gets its
// name when it was read back from the disk as etcd has sent it: an error leaves none. A disk without room for it is refused.
func (a *Agent) Snapshot(ctx context.Context, q SnapshotRequest) (SnapshotResult, error) {
	return ask[SnapshotResult](ctx, a, VerbSnapshot, q)
}

// Blobs lists what lies in the store of a registry: the sizes of blobs in bytes, by the hex digits of their sha256. It reads none
// of them.
func (a *Agent) Blobs(ctx context.Context, root string) (map[string]int64, error) {
	res, err := ask[BlobsResult](ctx, a, VerbBlobs, BlobsRequest{root})
	return res.Blobs, err
}

// UseInstaller gives the stub that this agent runs the name under which units and scripts run it, in one step, and removes
// versions that nothing uses. changed tells that another version had the name.
func (a *Agent) UseInstaller(ctx context.Context, name string) (changed bool, err error) {
	res, err := ask[InstallerResult](ctx, a, VerbInstaller, InstallerRequest{Name: name, Own: a.path, Use: true})
	return res.Changed, err
}

// LeaveInstaller removes the stub that this agent runs, unless that has the given name, other versions that nothing uses, and
// then those of dirs that are empty. busy tells that another process runs the stub; with idle the stub stays then. The agent
// cannot be used afterwards.
func (a *Agent) LeaveInstaller(ctx context.Context, name string, idle bool, dirs ...string) (busy bool, err error) {
	res, err := ask[InstallerResult](ctx, a, VerbInstaller, InstallerRequest{Name: name, Own: a.path, Idle: idle, Dirs: dirs})
	return res.Busy, err
}

// RemovePodCgroups removes the control groups that kubelet made for pods, itself or as slices of systemd. If processes run in
// any of them, of another kubelet or of a pod that nothing could end, all stay, and busy names the processes.
func (a *Agent) RemovePodCgroups(ctx context.Context) (busy []string, err error) {
	res, err := ask[PodCgroupsResult](ctx, a, VerbPodCgroups, PodCgroupsRequest{})
	return res.Busy, err
}

// Tidy removes from a directory what the request knows, what killed agents left beside that, and directories that are empty
// then. Links and mount points stay. left names all other files that are there.
func (a *Agent) Tidy(ctx context.Context, q TidyRequest) (left []string, err error) {
	res, err := ask[TidyResult](ctx, a, VerbTidy, q)
	return res.Left, err
}

// Sweep removes from a directory the directories whose names the request knows. It goes through no link: one in place of the
// directory is refused, and one in it stays, as do files, mount points and what holds anything of another user.
func (a *Agent) Sweep(ctx context.Context, q SweepRequest) (SweepResult, error) {
	return ask[SweepResult](ctx, a, VerbSweep, q)
}

// ask makes a call without a stream whose result is an R.
func ask[R any](ctx context.Context, a *Agent, verb string, request any) (R, error) {
	var result R
	err := a.call(ctx, verb, request, &result, nil)
	return result, err
}

// call makes a call without a stream. If the connection breaks, it makes the call again where the verb may be carried out twice.
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

// blame adds host and verb to an error of a call.
func (a *Agent) blame(verb string, err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		e.Host, e.Verb = a.h.Name(), verb
		return e
	}
	if exit, ok := errors.AsType[*host.ExitError](err); ok && (exit.Code == 126 || exit.Code == 127) {
		return &Error{
			Host: a.h.Name(), Verb: verb, Code: CodeProtocol, Message: strings.TrimSuffix(fmt.Sprintf("the stub %s cannot be run: %s", a.path, exit.Stderr), ": "),
			Remedy: "copy it there again",
		}
	}
	return &callError{a.h.Name(), verb, err}
}
