package agent

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/installer/host"
)

// farStub is a host whose stub does as a test says, once it has the request.
type farStub func(ctx context.Context, in io.Reader, out io.Writer) error

func (f farStub) Name() string { return "10.0.0.2" }

func (f farStub) Close() error { return nil }

func (f farStub) Run(ctx context.Context, c host.Cmd) error {
	in := bufio.NewReader(c.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	return errors.Join(f(ctx, in, c.Stdout), context.Cause(ctx)) // as a command that was ended meanwhile
}

func (f farStub) Put(context.Context, string, fs.FileMode, io.Reader) error {
	return errors.ErrUnsupported
}

// trickle gives a piece each time that so much time has passed.
type trickle struct {
	left, piece int
	pause       time.Duration
}

func (r *trickle) Read(p []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	time.Sleep(r.pause)
	n := min(r.left, r.piece, len(p))
	clear(p[:n])
	r.left -= n
	return n, nil
}

func TestCallThatStandsStillEndsAndOneThatMovesDoesNot(t *testing.T) {
	hangs := func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }
	alive := func(out io.Writer, n int) {
		for range n {
			time.Sleep(10 * time.Second)
			io.WriteString(out, `{"alive":true}`+"\n")
		}
	}
	unpack := func(a *Agent, ctx context.Context, stream io.Reader) error {
		return a.Unpack(ctx, UnpackRequest{Dir: "/data/rootfs", Digest: digest.FromString("x"), Format: "tar"}, stream)
	}
	files := func(a *Agent, ctx context.Context, _ io.Reader) error {
		_, err := a.WriteFiles(ctx, []File{{Path: "/etc/x", Content: []byte("x")}, {Path: "/etc/y"}})
		return err
	}
	push := func(a *Agent, ctx context.Context, stream io.Reader) error {
		return a.RegistryReceive(ctx, "/var/lib/registry", func(w io.Writer, r io.Reader) error {
			if _, err := io.Copy(w, stream); err != nil {
				return err
			}
			_, err := bufio.NewReader(r).ReadString('!')
			return err
		})
	}
	for name, c := range map[string]struct {
		do    func(*Agent, context.Context, io.Reader) error
		from  io.Reader
		far   farStub
		fails []string
	}{
		"a layer on a slow line": {do: unpack, from: &trickle{left: 40 << 10, piece: 1 << 10}, far: func(_ context.Context, in io.Reader, out io.Writer) error {
			io.WriteString(out, `{"stream":true}`+"\n")
			for left := 40<<10 + 8; left > 0; left -= 1 << 10 {
				time.Sleep(50 * time.Second)
				if _, err := io.ReadFull(in, make([]byte, min(left, 1<<10))); err != nil {
					return err
				}
			}
			io.WriteString(out, `{"result":{}}`+"\n")
			return nil
		}},
		"a layer from a slow disk": {do: unpack, from: &trickle{left: 40 << 10, piece: 1 << 10, pause: 50 * time.Second}, far: func(_ context.Context, in io.Reader, out io.Writer) error {
			io.WriteString(out, `{"stream":true}`+"\n")
			io.CopyN(io.Discard, in, 40<<10+8)
			io.WriteString(out, `{"result":{}}`+"\n")
			return nil
		}},
		"a layer that is synced for long": {do: unpack, from: &trickle{left: 1 << 10, piece: 1 << 10}, far: func(_ context.Context, in io.Reader, out io.Writer) error {
			io.WriteString(out, `{"stream":true}`+"\n")
			io.CopyN(io.Discard, in, 1<<10+8)
			alive(out, 100)
			io.WriteString(out, `{"result":{}}`+"\n")
			return nil
		}},
		"a layer that nobody takes on": {do: unpack, from: &trickle{left: 4 << 20, piece: 1 << 20}, far: func(ctx context.Context, in io.Reader, out io.Writer) error {
			io.WriteString(out, `{"stream":true}`+"\n")
			io.CopyN(io.Discard, in, 1<<20)
			return hangs(ctx)
		}, fails: []string{"layer sha256:2d711642b726… for /data/rootfs", "after 10", "KiB", "the host took nothing more"}},
		"a layer that cannot be read on": {do: unpack, from: &trickle{left: 1, piece: 1, pause: time.Hour}, far: func(ctx context.Context, in io.Reader, out io.Writer) error {
			io.WriteString(out, `{"stream":true}`+"\n")
			return hangs(ctx)
		}, fails: []string{"layer sha256:2d711642b726… for /data/rootfs", "this machine could read no more"}},
		"a registry that works for long": {do: push, from: &trickle{left: 10, piece: 1}, far: func(_ context.Context, in io.Reader, out io.Writer) error {
			io.WriteString(out, `{"stream":true}`+"\n")
			io.CopyN(io.Discard, in, 10)
			for range 100 {
				time.Sleep(10 * time.Second)
				io.WriteString(out, "alive")
			}
			io.WriteString(out, "!")
			return nil
		}},
		"a registry that takes nothing more": {do: push, from: &trickle{left: 10 << 20, piece: 1 << 20}, far: func(ctx context.Context, in io.Reader, out io.Writer) error {
			io.WriteString(out, `{"stream":true}`+"\n")
			io.CopyN(io.Discard, in, 5<<20)
			return hangs(ctx)
		}, fails: []string{"images to the registry in /var/lib/registry", "after 5"}},
		"a registry for which nothing can be read": {do: push, from: &trickle{left: 10 << 20, piece: 1 << 20, pause: time.Hour}, far: func(ctx context.Context, in io.Reader, out io.Writer) error {
			io.WriteString(out, `{"stream":true}`+"\n")
			return hangs(ctx)
		}, fails: []string{"images to the registry in /var/lib/registry"}},
		"files on a slow disk": {do: files, far: func(_ context.Context, _ io.Reader, out io.Writer) error {
			alive(out, 100)
			io.WriteString(out, `{"result":{"changed":[]}}`+"\n")
			return nil
		}},
		"files that are never written": {do: files, far: func(ctx context.Context, _ io.Reader, _ io.Writer) error {
			return hangs(ctx)
		}, fails: []string{"2 files, /etc/x the first", "nothing moved for 1m0s"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				err := c.do(NewAgent(c.far, "stub"), t.Context(), c.from)
				if len(c.fails) == 0 {
					if err != nil {
						t.Error(err)
					}
					return
				}
				var still *host.StandstillError
				if !errors.As(err, &still) {
					t.Fatalf("the error is %v", err)
				}
				for _, want := range append(c.fails, "10.0.0.2") {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%q does not tell %q", err, want)
					}
				}
				time.Sleep(time.Hour) // whoever still reads the stream ends
			})
		})
	}
}
