package support

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/secrets"
)

// hostFacts are what the page and the analysis tell of a host.
type hostFacts struct {
	Host     string
	Role     string
	Reached  bool
	Name     string        // its host name
	Offset   time.Duration // how far its clock is ahead of this machine's
	HasClock bool
	Missing  int
	facts    *agent.Facts // as the installer that lies there tells them; nil: there is none
}

// shell begins every line that hosts run: a login over ssh often lacks some directories.
const shell = `PATH=$PATH:/usr/local/bin:/usr/local/sbin:/usr/sbin:/sbin; export PATH LC_ALL=C; `

// maxStderr is how much is kept of what a program says beside its output, in bytes.
const maxStderr = 4 << 10

// run runs a line of shell on a host, as root. code is its exit status; an error means that its output was cut off.
func run(ctx context.Context, h host.Host, title, line string, out io.Writer, args ...string) (code int, stderr string, err error) {
	return runWithin(ctx, answer, h, title, line, out, args...)
}

func runWithin(ctx context.Context, limit time.Duration, h host.Host, title, line string, out io.Writer, args ...string) (code int, stderr string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no end after %s", limit))
	defer cancel()
	said := &limited{to: &bytes.Buffer{}, left: maxStderr}
	argv := append([]string{"/bin/sh", "-c", shell + line, "sh"}, args...)
	err = h.Run(ctx, host.Cmd{Title: title, Argv: argv, Root: true, Stdout: out, Stderr: said})
	stderr = strings.TrimSpace(said.to.(*bytes.Buffer).String())
	if exit, ok := errors.AsType[*host.ExitError](err); ok && exit.Signal == "" {
		return exit.Code, stderr, nil
	}
	return 0, stderr, err
}

// learn opens the connections to all hosts, and has what is secret on each told to the redactor before anything of any host is
// kept: a log of one may hold a key of another.
func (b *bundle) learn(ctx context.Context) {
	_ = fleet.Each(ctx, b.Targets, b.Jobs, func(ctx context.Context, t *fleet.Target) error { // it is told when the host is asked
		within := min(reach, b.Within)
		ctx, cancel := context.WithTimeoutCause(ctx, within, fmt.Errorf("no login within %s", within))
		defer cancel()
		if err := b.Link(ctx, t); err != nil {
			b.fail(t, err)
			return nil
		}
		if err := b.learnFrom(ctx, t.Link); err != nil {
			_ = t.Link.Close() // without that its logs could tell what nobody recognises
			b.fail(t, fmt.Errorf("learn what is secret there: %w", err))
		}
		return nil
	})
}

// fail notes why a host cannot be asked.
func (b *bundle) fail(t *fleet.Target, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.unasked[t] = err
}

// secretFiles prints files of a host in which secrets stand, other than passwords of the registry.
const secretFiles = `find /etc/kubernetes/pki /var/lib/kubelet/pki /etc/registry -maxdepth 3 -type f \( -name '*.key' -o -name '*.pem' \) -size -64k -exec cat {} + 2>/dev/null
cat /etc/kubernetes/*.conf /etc/cni/net.d/*kubeconfig* /root/.kube/config /root/.docker/config.json /etc/containerd/config.toml 2>/dev/null
find /etc/containerd/certs.d /etc/docker -maxdepth 3 -type f -size -64k -exec cat {} + 2>/dev/null
enc=$(sed -n 's/^ *- --encryption-provider-config=//p' /etc/kubernetes/manifests/kube-apiserver.yaml 2>/dev/null)
[ -z "$enc" ] || cat "$enc" 2>/dev/null; true`

// maxSecrets bounds what is read of secrets of a host, in bytes. They stay in memory.
const maxSecrets = 4 << 20

func (b *bundle) learnFrom(ctx context.Context, h host.Host) error {
	var files, passwords bytes.Buffer
	_, _, err := run(ctx, h, "learn what is secret", secretFiles, &limited{to: &files, left: maxSecrets})
	if err != nil {
		return err
	}
	_, _, err = run(ctx, h, "learn passwords", `cat -- "$@" 2>/dev/null; true`, &limited{to: &passwords, left: maxSecrets},
		secrets.PasswordFiles(installer.Dir(b.Cluster.Name, "etc"))...)
	if err != nil {
		return err
	}
	b.Redact.Learn(files.String())
	for password := range strings.Lines(passwords.String()) {
		b.Redact.Hide(password)
	}
	return nil
}

// askHost collects what a host tells. limit is the most of one file.
func (b *bundle) askHost(ctx context.Context, t *fleet.Target, p *part, limit int64) {
	p.note(func(f *hostFacts) { f.Role = t.Role() })
	if err := b.unasked[t]; err != nil {
		p.lacks("connect", err)
		return
	}
	p.note(func(f *hostFacts) { f.Reached = true })
	a := &asked{bundle: b, t: t, p: p, limit: min(mostOfAFile, max(limit, 256<<10))}
	for _, c := range []struct {
		name    string
		collect func(context.Context) error
	}{{"clock", a.clock}, {"programs", a.programs}, {"journald", a.journals}, {"pod-logs", a.podLogs}, {"files", a.files}, {"system", a.system}, {"facts", a.facts}} {
		err := ctx.Err()
		if err != nil {
			err = context.Cause(ctx)
		} else {
			err = c.collect(ctx)
		}
		if err != nil {
			p.lacks(c.name, err)
		}
		if errors.Is(err, host.ErrUnreachable) || errors.Is(err, errTaken) {
			return // what would follow is missing for the same reason
		}
	}
}

func (p *part) note(set func(*hostFacts)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	set(&p.about)
}

// asked is a host that is being asked.
type asked struct {
	*bundle
	t     *fleet.Target
	p     *part
	limit int64
}

func (a *asked) path(kind, name string) string {
	return path.Join("host-collectors", kind, a.t.IP.String(), name)
}

// clock compares the host's clock with that of this machine, in the middle of the question.
func (a *asked) clock(ctx context.Context) error {
	var out bytes.Buffer
	before := time.Now()
	_, _, err := run(ctx, a.t.Link, "ask the time", `date +%s.%N; uname -n`, &out)
	took := time.Since(before)
	if err != nil {
		return err
	}
	words := strings.Fields(out.String())
	if len(words) < 2 {
		return fmt.Errorf("date has told %q", out.String())
	}
	seconds, err := strconv.ParseFloat(words[0], 64)
	if err != nil {
		return fmt.Errorf("date has told %q", words[0])
	}
	there := time.Unix(0, int64(seconds*1e9))
	offset := there.Sub(before.Add(took / 2)).Round(time.Millisecond)
	a.p.note(func(f *hostFacts) { f.Offset, f.HasClock, f.Name = offset, true, words[1] })
	return a.p.json(a.path("system", "clock.json"), map[string]any{
		"offsetSeconds": offset.Seconds(), "uncertainSeconds": (took / 2).Seconds(), "of": "the clock of the machine that made this bundle",
	})
}

// info is what is said of a program that was run.
type info struct {
	Command   string   `json:"command"`
	ExitCode  string   `json:"exitCode"`
	Error     string   `json:"error"`
	OutputDir string   `json:"outputDir"`
	Input     string   `json:"input"`
	Env       []string `json:"env"`
}

// absent is the exit status of a line whose program a host does not have.
const absent = 127

// files copies documents of the host as they lie there, in one stream of tar.
func (a *asked) files(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	read, write := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		code, stderr, err := run(ctx, a.t.Link, "copy documents", documentsLine, write, documents(a.Cluster.Name)...)
		if err == nil && code != 0 && code != 1 { // 1: a file changed or went meanwhile
			err = fmt.Errorf("tar: exit status %d: %s", code, stderr)
		}
		write.CloseWithError(err) // nil is the end
		ended <- err
	}()
	err := a.untar(read)
	if err == nil {
		_, err = io.Copy(io.Discard, read) // tar pads its end
	}
	cancel(err)
	_ = read.CloseWithError(errors.Join(err, io.ErrClosedPipe)) // so that a host which still sends ends
	if told := <-ended; err == nil {
		err = told
	}
	return err
}

func (a *asked) untar(from io.Reader) error {
	for in := tar.NewReader(from); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if h.Typeflag != tar.TypeReg {
			continue
		}
		err = a.p.text(a.path("copy", path.Clean("/"+h.Name)), a.limit, nil, func(w io.Writer) error {
			_, err := io.Copy(w, in)
			return err
		})
		if err != nil {
			return err
		}
	}
}
