package fleet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"path"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/host"
)

// Commands for single hosts (package remote) hold no lock and are not a run: they may be at work beside one. So they look at
// nothing, change no name of a stub, and take away only what they have brought themselves.

// Link opens the connection to a host, without an agent.
func (f *Fleet) Link(ctx context.Context, t *Target) error {
	link, err := f.Dial(ctx, t)
	if err != nil {
		return err
	}
	t.Link, t.Connected = link, true
	return nil
}

// Bring opens the connection to a host and gives it an agent: the stub of this version if the host has it, else it is brought.
func (f *Fleet) Bring(ctx context.Context, t *Target) error {
	ctx, cancel := context.WithTimeoutCause(ctx, f.Timeout, fmt.Errorf("the host took longer than %s (--timeout)", f.Timeout))
	defer cancel()
	if err := f.Link(ctx, t); err != nil {
		return err
	}
	arch, err := f.askArch(ctx, t.Link)
	if err != nil {
		return err
	}
	if len(f.Payload.Platforms()) > 1 {
		t.Arch = arch
	}
	stub, err := f.Payload.Stub(t.Arch)
	if err != nil {
		return err
	}
	t.Stub, t.Agent = stub.Path, agent.NewAgent(t.Link, stub.Path)
	if t.Link.Run(ctx, host.Cmd{Argv: []string{"test", "-x", stub.Path}, Root: true}) == nil {
		return nil
	}
	if err := runsNothing(ctx, t); err != nil {
		return err
	}
	t.putStub = true
	if err := t.Link.Put(ctx, stub.Path, 0o755, bytes.NewReader(stub.Data)); err != nil {
		return fmt.Errorf("bring the installer to %s: %w", stub.Path, err)
	}
	return nil
}

// takeBack removes the program $0 unless a process runs it, and the directories behind it where they are empty. A process names
// its program without links, so the last part of the name is compared: it holds a digest.
const takeBack = `for exe in /proc/[0-9]*/exe; do
	case $(readlink "$exe" 2>/dev/null) in */"${0##*/}") exit 0;; esac
done
rm -f -- "$0" && { rmdir -- "$@" 2>/dev/null; true; }`

// TakeBack removes the stub from the hosts that [Fleet.Bring] has brought it to, unless somebody runs it.
func (f *Fleet) TakeBack(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ConnectTimeout)
	defer cancel()
	brought := Only(f.Targets, func(t *Target) bool { return t.putStub })
	return Each(ctx, brought, f.Jobs, func(ctx context.Context, t *Target) error {
		t.putStub = false
		err := t.Link.Run(ctx, host.Cmd{
			Title: "take the installer away again", Root: true,
			Argv: []string{"/bin/sh", "-c", takeBack, t.Stub, path.Dir(installer.StubPath), installer.DataRoot},
		})
		if errors.Is(err, host.ErrUnreachable) {
			return nil // what ended the connection is told already; the next run takes the stub away
		}
		return err
	})
}
