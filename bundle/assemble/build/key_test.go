package build

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/kubefile"
)

func mustKey(t *testing.T, r Request, cache string) digest.Digest {
	t.Helper()
	text, err := os.ReadFile(r.Kubefile)
	if err != nil {
		t.Fatal(err)
	}
	f, err := kubefile.Parse(strings.NewReader(string(text)), "Kubefile", kubefile.WithBuildArgs(r.Args))
	if err != nil {
		t.Fatal(err)
	}
	key, err := Key(t.Context(), r, f.Reads(), cache)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keyed(t *testing.T) Request {
	return request(t, contextDir(t, map[string]string{
		"Kubefile":      "FROM scratch\nARG V\nCOPY dir *.yaml /\n",
		"dir/a":         "a",
		"dir/b":         "b",
		"x.yaml":        "x",
		".dockerignore": "dir/ignored\n",
		"dir/ignored":   "i",
	}))
}

func TestKeyChangesWithWhatTheImageIsMadeOf(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, r *Request){
		"text of a file":   func(t *testing.T, r *Request) { write(t, r, "dir/a", "A") },
		"mode of a file":   func(t *testing.T, r *Request) { must(t, os.Chmod(filepath.Join(r.Context, "dir/a"), 0o755)) },
		"another file":     func(t *testing.T, r *Request) { write(t, r, "dir/c", "") },
		"a file fewer":     func(t *testing.T, r *Request) { must(t, os.Remove(filepath.Join(r.Context, "dir/b"))) },
		"a link":           func(t *testing.T, r *Request) { must(t, os.Symlink("a", filepath.Join(r.Context, "dir/l"))) },
		"a pattern's file": func(t *testing.T, r *Request) { write(t, r, "y.yaml", "") },
		"Kubefile":         func(t *testing.T, r *Request) { write(t, r, "Kubefile", "FROM scratch\nCOPY dir *.yaml /\n") },
		"ignore file":      func(t *testing.T, r *Request) { write(t, r, ".dockerignore", "dir/b\n") },
		"build argument":   func(t *testing.T, r *Request) { r.Args = map[string]string{"V": "1"} },
		"label":            func(t *testing.T, r *Request) { r.Labels = []string{"a=b"} },
		"environment":      func(t *testing.T, r *Request) { r.Env = []string{"a=b"} },
		"platform":         func(t *testing.T, r *Request) { r.Platform.Architecture = "s390x" },
		"epoch":            func(t *testing.T, r *Request) { r.Epoch = r.Epoch.Add(time.Second) },
		"base": func(t *testing.T, r *Request) {
			r.Preload = []Preload{{Name: "x", Digest: "sha256:1"}}
		},
		"edit":              func(t *testing.T, r *Request) { r.Edits = []Edit{{First: 2, Last: 2}} },
		"excluded":          func(t *testing.T, r *Request) { r.Exclude = []string{"dir/b"} },
		"two files swapped": func(t *testing.T, r *Request) { write(t, r, "dir/a", "b"); write(t, r, "dir/b", "a") },
		"one file two names": func(t *testing.T, r *Request) {
			must(t, os.Remove(filepath.Join(r.Context, "dir/b")))
			must(t, os.Link(filepath.Join(r.Context, "dir/a"), filepath.Join(r.Context, "dir/b")))
		},
	} {
		t.Run(name, func(t *testing.T) {
			r := keyed(t)
			before := mustKey(t, r, "")
			change(t, &r)
			if after := mustKey(t, r, ""); after == before {
				t.Error("the key is the same")
			}
		})
	}
}

func TestKeyStaysWithTheSameContent(t *testing.T) {
	a, b := keyed(t), keyed(t)
	write(t, &b, "dir/ignored", "other")
	write(t, &b, "not-read", "other")
	must(t, os.Chtimes(filepath.Join(b.Context, "dir/a"), time.Now(), time.Unix(5, 0)))
	if x, y := mustKey(t, a, ""), mustKey(t, b, ""); x != y {
		t.Errorf("keys are %s and %s", x, y)
	}
	write(t, &a, "Kubefile", "FROM scratch\nADD https://example.com/x /\n")
	if key := mustKey(t, a, ""); key != "" {
		t.Errorf("a build that reads from elsewhere has the key %s", key)
	}
}

// A remembered digest is taken only while nothing about the file changed.
func TestRememberedDigests(t *testing.T) {
	r := keyed(t)
	cache := filepath.Join(t.TempDir(), "deep", "cache.json")
	old := time.Now().Add(-time.Hour)
	file := filepath.Join(r.Context, "dir/a")
	must(t, os.Chtimes(file, old, old))
	key := mustKey(t, r, cache)
	if mustKey(t, r, "") != key {
		t.Error("remembering digests changed the key")
	}
	if known := readKnown(cache); len(known) != 0 {
		t.Errorf("files that have just changed are remembered: %v", known)
	}
	// As if the file had been looked at long after it was written.
	f, err := os.Open(file)
	must(t, err)
	now, err := identity(f)
	must(t, err)
	must(t, f.Close())
	now.Sum = strings.Repeat("0", 64)
	writeKnown(cache, map[string]knownFile{"dir/a": now})
	trusted := mustKey(t, r, cache)
	if trusted == key {
		t.Error("the remembered digest was not taken")
	}
	write(t, &r, "dir/a", "B") // same size
	write(t, &r, "dir/a", "a")
	now.Sum = strings.Repeat("0", 64)
	writeKnown(cache, map[string]knownFile{"dir/a": now})
	if again := mustKey(t, r, cache); again != key {
		t.Error("a remembered digest of a file that was written since was taken")
	}
	must(t, os.WriteFile(cache, []byte("{not json"), 0o600))
	if again := mustKey(t, r, cache); again != key {
		t.Error("a damaged cache changed the key")
	}
}

func write(t *testing.T, r *Request, name, text string) {
	t.Helper()
	must(t, os.WriteFile(filepath.Join(r.Context, name), []byte(text), 0o644))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
