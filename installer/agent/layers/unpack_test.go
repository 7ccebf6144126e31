package layers_test

import (
	"archive/tar"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
	"github.com/sealbuild/sealbuild/installer/agent/layers"
)

// apply unpacks a layer upon those that a directory has.
func apply(t testing.TB, dir string, tarball []byte, exclude ...string) error {
	t.Helper()
	have, _, err := layers.Lie(dir)
	if err != nil {
		t.Fatal(err)
	}
	req := agent.UnpackRequest{Dir: dir, Digest: digest.FromBytes(tarball), Size: int64(len(tarball)), Format: "tar", Exclude: exclude, Upon: have}
	return agenttest.Local(t).Unpack(t.Context(), req, bytes.NewReader(tarball))
}

func TestLayersAreAppliedOneOverAnother(t *testing.T) {
	for name, c := range map[string]struct {
		layers [][]layers.Entry
		want   []string
	}{
		"files, links, directories": {
			[][]layers.Entry{{{Name: "./"}, {Name: "bin/"}, {Name: "bin/a", Body: "A"}, {Name: "bin/b", Link: "a"}, {Name: "c", Type: tar.TypeLink, Link: "bin/a"}, {Name: "no/parent", Body: "x"}}},
			[]string{"bin/", "bin/a=A", "bin/b -> a", "c=A", "no/", "no/parent=x"},
		},
		"later wins, whatever was there": {
			[][]layers.Entry{{{Name: "a", Body: "1"}, {Name: "d/"}, {Name: "d/x", Body: "1"}, {Name: "l", Link: "a"}}, {{Name: "a/"}, {Name: "d", Body: "2"}, {Name: "l", Body: "2"}}},
			[]string{"a/", "d=2", "l=2"},
		},
		"directory in place of a link": {
			[][]layers.Entry{{{Name: "d/"}, {Name: "d/x", Body: "1"}, {Name: "l", Link: "d"}}, {{Name: "l/"}, {Name: "l/y", Body: "2"}}},
			[]string{"d/", "d/x=1", "l/", "l/y=2"},
		},
		"through a link of a lower layer": {
			[][]layers.Entry{{{Name: "usr/bin/"}, {Name: "bin", Link: "usr/bin"}}, {{Name: "bin/x", Body: "1"}}},
			[]string{"bin -> usr/bin", "usr/", "usr/bin/", "usr/bin/x=1"},
		},
		"whiteouts": {
			[][]layers.Entry{{{Name: "a", Body: "1"}, {Name: "d/x", Body: "1"}, {Name: "e/x", Body: "1"}}, {{Name: ".wh.a"}, {Name: ".wh.d"}, {Name: "e/.wh.x"}, {Name: "e/.wh.none"}, {Name: "no/.wh.x"}}},
			[]string{"e/"},
		},
		"opaque directory, before and after its new content": {
			[][]layers.Entry{
				{{Name: "d/x", Body: "1"}, {Name: "d/s/y", Body: "1"}, {Name: "e/x", Body: "1"}},
				{{Name: "d/"}, {Name: "d/.wh..wh..opq"}, {Name: "d/new", Body: "2"}, {Name: "e/"}, {Name: "e/s/new", Body: "2"}, {Name: "e/.wh..wh..opq"}, {Name: ".wh..wh.plnk"}},
			},
			[]string{"d/", "d/new=2", "e/", "e/s/", "e/s/new=2"},
		},
		"a whiteout spares its own layer": {
			[][]layers.Entry{{{Name: "d/old", Body: "1"}, {Name: "f", Body: "1"}}, {{Name: "d/new", Body: "2"}, {Name: "f", Body: "2"}, {Name: ".wh.d"}, {Name: ".wh.f"}}},
			[]string{"d/", "d/new=2", "f=2"},
		},
		"a hard link to itself": {
			[][]layers.Entry{{{Name: "a", Body: "1"}, {Name: "b", Type: tar.TypeLink, Link: "a"}, {Name: "b", Type: tar.TypeLink, Link: "./a"}}},
			[]string{"a=1", "b=1"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, l := range c.layers {
				if err := apply(t, dir, layers.Archive(t, l...)); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(c.want, layers.Tree(t, dir)); diff != "" {
				t.Error(diff)
			}
			left, _ := filepath.Glob(filepath.Join(dir, layers.Own, layers.AnyStage))
			if len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestNothingLandsOutsideTheDirectory(t *testing.T) {
	for name, entries := range map[string][]layers.Entry{
		"name that climbs":             {{Name: "../evil", Body: "x"}},
		"name that climbs inside":      {{Name: "a/../../evil", Body: "x"}},
		"through an absolute link":     {{Name: "l", Link: "OUTSIDE"}, {Name: "l/evil", Body: "x"}},
		"through a climbing link":      {{Name: "l", Link: "../outside"}, {Name: "l/evil", Body: "x"}},
		"directory through a link":     {{Name: "l", Link: "../outside"}, {Name: "l/evil/"}},
		"link to a link":               {{Name: "a", Link: ".."}, {Name: "b", Link: "a/outside"}, {Name: "b/evil", Body: "x"}},
		"hard link out":                {{Name: "h", Type: tar.TypeLink, Link: "../outside/secret"}},
		"hard link through a link":     {{Name: "l", Link: "../outside"}, {Name: "h", Type: tar.TypeLink, Link: "l/secret"}},
		"whiteout through a link":      {{Name: "l", Link: "../outside"}, {Name: "l/.wh.secret"}},
		"opaque through a link":        {{Name: "l", Link: "../outside"}, {Name: "l/.wh..wh..opq"}},
		"whiteout of the parent":       {{Name: ".wh..."}},
		"fifo through a link":          {{Name: "l", Link: "../outside"}, {Name: "l/evil", Type: tar.TypeFifo}},
		"link to what layers are kept": {{Name: "h", Type: tar.TypeLink, Link: ".layers/x"}},
	} {
		t.Run(name, func(t *testing.T) {
			base := t.TempDir()
			dir, outside := filepath.Join(base, "dir"), filepath.Join(base, "outside")
			filestest.Write(t, filepath.Join(outside, "secret"), "kept", 0o600)
			for i := range entries {
				entries[i].Link = strings.ReplaceAll(entries[i].Link, "OUTSIDE", outside)
			}
			err := apply(t, dir, layers.Archive(t, entries...))
			if err == nil && !strings.Contains(name, "opaque") {
				t.Error("it was taken")
			}
			if diff := cmp.Diff([]string{"secret=kept"}, layers.Tree(t, outside)); diff != "" {
				t.Error(diff)
			}
			if entries, _ := os.ReadDir(base); len(entries) != 2 {
				t.Errorf("%v", entries)
			}
		})
	}
}

func TestExcludedPartsAreLeftOutAndLeftAlone(t *testing.T) {
	dir := t.TempDir()
	filestest.Write(t, filepath.Join(dir, "registry/mine"), "kept", 0o644)
	layer := layers.Archive(t, layers.Entry{Name: "registry/x", Body: "1"}, layers.Entry{Name: "registry2/x", Body: "1"}, layers.Entry{Name: ".wh.registry"}, layers.Entry{Name: "registry/.wh..wh..opq"}, layers.Entry{Name: ".wh..wh..opq"}, layers.Entry{Name: ".layers/x", Body: "1"})
	if err := apply(t, dir, layer, "registry"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"registry/", "registry/mine=kept", "registry2/", "registry2/x=1"}, layers.Tree(t, dir)); diff != "" {
		t.Error(diff)
	}
}

func TestModesOwnersAndTimesAreThoseOfTheLayer(t *testing.T) {
	dir := t.TempDir()
	layer := layers.Archive(t, layers.Entry{Name: "d/", Type: tar.TypeDir, Mode: 0o1750}, layers.Entry{Name: "d/su", Body: "x", Mode: 0o4755}, layers.Entry{Name: "d/ro", Mode: 0o400}, layers.Entry{Name: "pipe", Type: tar.TypeFifo, Mode: 0o600})
	if err := apply(t, dir, layer); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{"d": fs.ModeDir | fs.ModeSticky | 0o750, "d/su": fs.ModeSetuid | 0o755, "d/ro": 0o400, "pipe": fs.ModeNamedPipe | 0o600} {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode() != want {
			t.Errorf("%s: mode %v, want %v", name, info.Mode(), want)
		}
		if name != "pipe" && !info.ModTime().Equal(time.Unix(1000, 0)) {
			t.Errorf("%s: time %v", name, info.ModTime())
		}
	}
}

func TestSecondUnpackOfALayerReadsNothing(t *testing.T) {
	agenttest.Everywhere(t, func(t *testing.T, a *agent.Agent) {
		dir := t.TempDir()
		layer := layers.Archive(t, layers.Entry{Name: "a", Body: "1"})
		req := agent.UnpackRequest{Dir: dir, Digest: digest.FromBytes(layer), Format: "tar", Exclude: []string{"x", "y"}}
		if err := a.Unpack(t.Context(), req, bytes.NewReader(layer)); err != nil {
			t.Fatal(err)
		}
		req.Exclude = []string{"y", "x"}
		if err := a.Unpack(t.Context(), req, iotest.ErrReader(errors.New("read"))); err != nil {
			t.Error(err)
		}
		req.Exclude = nil
		if err := a.Unpack(t.Context(), req, iotest.ErrReader(errors.New("read"))); err == nil || !strings.Contains(err.Error(), "other layers lie in") {
			t.Errorf("other exclusions: %v", err)
		}
	})
}

func TestRunningProgramCanBeReplaced(t *testing.T) {
	dir := t.TempDir()
	sleep, err := os.ReadFile("/bin/sleep")
	if err != nil {
		t.Skip(err)
	}
	for _, body := range []string{string(sleep), string(sleep) + "new"} {
		if err := apply(t, dir, layers.Archive(t, layers.Entry{Name: "sleep", Body: body, Mode: 0o755})); err != nil {
			t.Fatal(err)
		}
		p, err := os.StartProcess(filepath.Join(dir, "sleep"), []string{"sleep", "60"}, &os.ProcAttr{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Signal(syscall.SIGKILL); p.Wait() })
	}
}

func TestLeftoversOfAKilledUnpackAreSwept(t *testing.T) {
	dir := t.TempDir()
	filestest.Write(t, filepath.Join(dir, layers.Own, layers.HalfStage, "1"), "half", 0o600)
	if err := apply(t, dir, layers.Archive(t, layers.Entry{Name: "a", Body: "1"})); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, layers.Own, layers.HalfStage)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
