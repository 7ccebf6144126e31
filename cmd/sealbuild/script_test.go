package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/sealbuild/sealbuild/bundle/assemble/build"
	"github.com/sealbuild/sealbuild/test/upstreamtest"
)

func TestMain(m *testing.M) {
	if build.Reexec() {
		return
	}
	testscript.Main(m, map[string]func(){"sealbuild": main})
}

// TestScripts runs the real program against a real registry. Scripts find
// $REGISTRY (host:port), $SECURE (another one, with TLS of certs/ca.crt and the
// user ci with the password s3cret), $STUB (a small static executable), $TOOL (what
// RUN may have as its shell) and $ARCH.
func TestScripts(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("builds need root")
	}
	stub, tool := buildStub(t), buildTool(t)
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(env *testscript.Env) error {
			u := upstreamtest.New(env.T().(testing.TB))
			fill(env.T().(testing.TB), u)
			u.Counts()
			env.Values["upstream"] = u
			conf := filepath.Join(env.WorkDir, "registries.conf")
			text := fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", u.Host)
			env.Setenv("CONTAINERS_REGISTRIES_CONF", conf)
			env.Setenv("SEALBUILD_ROOT", filepath.Join(env.WorkDir, ".store"))
			env.Setenv("REGISTRY", u.Host)
			secure := upstreamtest.NewSecure(env.T().(testing.TB), "ci", "s3cret")
			if err := os.Mkdir(filepath.Join(env.WorkDir, "certs"), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(env.WorkDir, "certs", "ca.crt"), secure.CACert, 0o644); err != nil {
				return err
			}
			env.Setenv("SECURE", secure.Host)
			env.Setenv("STUB", stub)
			env.Setenv("TOOL", tool)
			env.Setenv("ARCH", runtime.GOARCH)
			env.Setenv("TMPDIR", "")
			return os.WriteFile(conf, []byte(text), 0o644)
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"expand":   expand,
			"requests": requests,
			"flip":     flip,
			"truncate": truncate,
			"payload":  payload,
			"samefile": samefile,
			"status":   status,
			"answers":  answers,
		},
	})
}

// buildStub compiles what stands in front of the bundles.
func buildStub(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "sealinstall")
	source := filepath.Join(dir, "main.go")
	if err := os.WriteFile(source, []byte("package main\n\nfunc main() { println(\"stub\") }\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	c := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, source)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build stub: %v\n%s", err, out)
	}
	return file
}

// buildTool compiles what RUN instructions run: see bundle/assemble/build/testdata/tool.
func buildTool(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "tool")
	c := exec.Command("go", "build", "-o", file, "../../bundle/assemble/build/testdata/tool")
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("build the tool: %v\n%s", err, out)
	}
	return file
}

// fill puts app/one:v1, app/two:v1 (an index, sharing a layer with one),
// app/multi:v1 and app/three:v1 (for amd64, arm64 and s390x), sys/pause:3.10 and
// the cluster image made/bare:v1 into the registry.
func fill(t testing.TB, u *upstreamtest.Upstream) {
	here := v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	base := upstreamtest.Layer("base", 300_000)
	u.PushImage(t, "app/one", "v1", here, base, upstreamtest.Layer("one", 20_000))
	a := u.PushImage(t, "app/two", "", here, base, upstreamtest.Layer("two", 20_000))
	b := u.PushImage(t, "app/two", "", v1.Platform{OS: "linux", Architecture: "s390x"}, upstreamtest.Layer("two-s390x", 20_000))
	u.PushIndex(t, "app/two", "v1", a, b)
	for _, name := range []string{"app/multi", "app/three"} {
		var each []v1.Descriptor
		for _, arch := range []string{"amd64", "arm64", "s390x"} {
			each = append(each, u.PushImage(t, name, "", v1.Platform{OS: "linux", Architecture: arch}, upstreamtest.Layer(name+"-"+arch, 5_000)))
		}
		u.PushIndex(t, name, "v1", each...)
	}
	// A cluster image made elsewhere, with a line in a list that is no image.
	u.PushImage(t, "made/bare", "v1", here, layer(t, "images/shim/list", u.Ref("app/one:v1")+"\nNo/Image at all\n"))
	u.PushImage(t, "sys/pause", "3.10", here, upstreamtest.Layer("pause", 5_000))
}

// layer holds one file.
func layer(t testing.TB, name, text string) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	w := tar.NewWriter(z)
	if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte(text))
	if err := errors.Join(w.Close(), z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// answers VAR HOW starts something else than a registry, which is no secure one, and puts its address into a variable: it answers
// everything with a page, with half of a document, with 502, or with nothing.
func answers(ts *testscript.TestScript, _ bool, args []string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch args[1] {
		case "page":
			fmt.Fprint(w, "<html>sign in to the network</html>")
		case "half":
			w.Header().Set("Content-Type", v1.MediaTypeImageManifest)
			fmt.Fprint(w, `{"schemaVersion":2,`)
		case "502":
			http.Error(w, "<html>bad gateway</html>", http.StatusBadGateway)
		case "nothing":
			panic(http.ErrAbortHandler)
		}
	}))
	ts.Defer(server.Close)
	host := server.Listener.Addr().String()
	f, err := os.OpenFile(ts.Getenv("CONTAINERS_REGISTRIES_CONF"), os.O_APPEND|os.O_WRONLY, 0)
	ts.Check(err)
	_, err = fmt.Fprintf(f, "\n[[registry]]\nlocation = %q\ninsecure = true\n", host)
	ts.Check(errors.Join(err, f.Close()))
	ts.Setenv(args[0], host)
}

// expand replaces $VARIABLES in files.
func expand(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		path := ts.MkAbs(name)
		data, err := os.ReadFile(path)
		ts.Check(err)
		ts.Check(os.WriteFile(path, []byte(os.Expand(string(data), ts.Getenv)), 0o644))
	}
}

// requests KIND N checks how often the registry was asked since the last time
// for "GET blob" or "GET manifest"; N may be + for at least once.
func requests(ts *testscript.TestScript, neg bool, args []string) {
	u := ts.Value("upstream").(*upstreamtest.Upstream)
	counts := u.Counts()
	for len(args) >= 2 {
		kind, want := "GET "+args[0], args[1]
		got := counts[kind]
		if (want == "+" && got == 0) || (want != "+" && strconv.Itoa(got) != want) {
			ts.Fatalf("%d requests %s, want %s", got, kind, want)
		}
		args = args[2:]
	}
}

// flip FILE OFFSET changes one byte; a negative offset counts from the end.
func flip(ts *testscript.TestScript, neg bool, args []string) {
	f, err := os.OpenFile(ts.MkAbs(args[0]), os.O_RDWR, 0)
	ts.Check(err)
	defer f.Close()
	at, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	if at < 0 {
		fi, err := f.Stat()
		ts.Check(err)
		at += fi.Size()
	}
	b := make([]byte, 1)
	_, err = f.ReadAt(b, at)
	ts.Check(err)
	b[0] ^= 0x55
	_, err = f.WriteAt(b, at)
	ts.Check(err)
}

// truncate FILE BYTES cuts so many bytes off the end.
func truncate(ts *testscript.TestScript, neg bool, args []string) {
	fi, err := os.Stat(ts.MkAbs(args[0]))
	ts.Check(err)
	cut, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	ts.Check(os.Truncate(ts.MkAbs(args[0]), fi.Size()-cut))
}

// payload FILE OFFSET OUT copies FILE from OFFSET on, as tail -c +N does.
func payload(ts *testscript.TestScript, neg bool, args []string) {
	in, err := os.Open(ts.MkAbs(args[0]))
	ts.Check(err)
	defer in.Close()
	at, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)
	_, err = in.Seek(at, io.SeekStart)
	ts.Check(err)
	out, err := os.Create(ts.MkAbs(args[2]))
	ts.Check(err)
	_, err = io.Copy(out, in)
	ts.Check(err)
	ts.Check(out.Close())
}

// status N COMMAND... runs a command that must end with exit status N.
func status(ts *testscript.TestScript, neg bool, args []string) {
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		got = exit.ExitCode()
	}
	if got != want {
		ts.Fatalf("exit status %d, want %d", got, want)
	}
}

// samefile compares binary files without printing them.
func samefile(ts *testscript.TestScript, neg bool, args []string) {
	a, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	b, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	if (string(a) == string(b)) == neg {
		ts.Fatalf("%s: same content: %v", strings.Join(args, " and "), !neg)
	}
}
