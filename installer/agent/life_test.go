package agent

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync/atomic"
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

func TestStubToWhichNothingComesEnds(t *testing.T) {
	layer := archive(t, entry{Name: "a", Body: strings.Repeat("x", 4096)})
	root := machineRoot(t)
	line := func(verb string, req any) string {
		body, _ := json.Marshal(req)
		text, _ := json.Marshal(request{protocol, verb, body})
		return string(text) + "\n"
	}
	for name, c := range map[string]struct {
		verb, in string
		told     bool
	}{
		"before the request": {verbUnpack, "", true},
		"in a layer":         {verbUnpack, line(verbUnpack, UnpackRequest{Dir: "/data/a", Digest: digest.FromBytes(layer), Format: "tar"}) + "\x00\x00\x10\x00" + string(layer[:600]), true},
		"in a registry":      {verbRegistry, line(verbRegistry, receiveRequest{Root: "/data/registry"}), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, w := io.Pipe()
				go io.WriteString(w, c.in)
				var out strings.Builder
				began := time.Now()
				err := (&Simulation{Root: root}).Serve(t.Context(), c.verb, r, &out)
				if err == nil || !strings.Contains(err.Error(), "nothing came from the installer for 3m0s") {
					t.Errorf("the error is %v", err)
				}
				if c.told && !strings.Contains(out.String(), "nothing came from the installer") {
					t.Errorf("answer %q", out.String())
				}
				if took := time.Since(began); took != silence {
					t.Errorf("it took %s", took)
				}
				w.Close()
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // a program may run for hours, and nothing comes meanwhile
		r, w := io.Pipe()
		go io.WriteString(w, line(verbScript, ScriptRequest{Line: "long"}))
		sim := &Simulation{Root: root, Script: func(ctx context.Context, _ ScriptRequest, _ func(string) error) (int, error) {
			select {
			case <-ctx.Done():
				return 1, context.Cause(ctx)
			case <-time.After(5 * time.Hour):
				return 0, nil
			}
		}}
		if err := sim.Serve(t.Context(), verbScript, r, io.Discard); err != nil {
			t.Error(err)
		}
		w.Close()
	})
}

func TestSignsOfLifeAreGivenWhileSomethingIsDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var moves, waits atomic.Bool
		var out strings.Builder
		a := &answers{w: &out}
		stop := a.beatWhile(t.Context(), 10*time.Second, moves.Load, waits.Load)
		for _, c := range []struct{ moves, waits bool }{{true, false}, {false, false}, {true, true}} {
			moves.Store(c.moves)
			waits.Store(c.waits)
			a.mu.Lock()
			out.Reset()
			a.mu.Unlock()
			time.Sleep(45 * time.Second)
			synctest.Wait()
			want := 0
			if c.moves && !c.waits {
				want = 4
			}
			a.mu.Lock()
			if got := strings.Count(out.String(), `{"alive":true}`); got != want {
				t.Errorf("%+v: %d signs, want %d", c, got, want)
			}
			a.mu.Unlock()
		}
		stop()
	})
}

func TestMachineThatDoesNothingIsTold(t *testing.T) {
	if _, err := os.Stat("/proc/diskstats"); err != nil {
		t.Skip(err)
	}
	p := new(pulse)
	p.moves()
	for end := time.Now().Add(2 * cpuOfIdle); time.Now().Before(end); {
		_ = fmt.Sprint(end)
	}
	for range 50 { // until this process has used that much
		if p.moves() {
			return
		}
		for i := range 1 << 20 {
			_ = i * i
		}
	}
	t.Error("a process that works is said to do nothing")
}
