package steps

import (
	"bytes"
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/host/hosttest"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// machineOf is what uname -m prints on an architecture.
var machineOf = map[string]string{"amd64": "x86_64", "arm64": "aarch64", "riscv64": "riscv64"}

// ofArch is a rootfs for one architecture. Its files, ENV, labels and CMD name that.
func ofArch(arch string) stepstest.Image {
	return stepstest.Image{
		Name: "root:1", Type: "rootfs", Arch: arch,
		Config: v1.ImageConfig{
			Labels: map[string]string{"version": "v1.36.3", "init": "init-" + arch + ".sh"},
			Env:    []string{"ARCH=" + arch}, Cmd: []string{"echo " + arch},
		},
		Files: map[string]string{"bin/tool": "for " + arch, "etc/arch.tmpl": "{{ .ARCH }}\n", "etc/only-" + arch: "", "bin/size": strings.Repeat("x", len(arch)*1000+map[string]int{"arm64": 5000}[arch])},
	}
}

// twoArchitectures is a run with a bundle for this machine's architecture and another one, on hosts of the given ones.
// fakes are the hosts by address.
func twoArchitectures(t *testing.T, archs ...string) (r *Run, fakes map[string]*hosttest.Fake) {
	t.Helper()
	first, other := "amd64", "arm64" // the first is this machine's own
	if runtime.GOARCH == other {
		first, other = other, first
	}
	second := "installer for " + other
	var buf bytes.Buffer
	o := bundle.WriterOptions{
		Stub:  strings.NewReader("installer for " + first),
		Stubs: []bundle.Stub{{Platform: "linux/" + other, Digest: digest.FromString(second), Size: int64(len(second)), Content: strings.NewReader(second)}},
	}
	root := ofArch(first)
	root.Others = []stepstest.Image{ofArch(other)}
	if err := stepstest.WriteWith(&buf, o, []stepstest.Image{root}); err != nil {
		t.Fatal(err)
	}
	var hosts []installer.Host
	fakes = map[string]*hosttest.Fake{}
	for i, arch := range archs {
		ip := "127.0.0." + string(rune('2'+i))
		hosts = append(hosts, hostAt(ip, 22, i == 0))
		fakes[ip] = hosttest.NewFake(t, ip)
		fakes[ip].On([]string{"uname", "-m"}, hosttest.Answer{Stdout: machineOf[arch] + "\n"})
		fakes[ip].On([]string{"test", "-e", versionOf("installer for " + arch)}, hosttest.Answer{})
	}
	r = newRun(t, buf.Bytes(), t.Output(), hosts...)
	r.Dial = func(_ context.Context, t *fleet.Target) (host.Host, error) { return fakes[t.IP.String()], nil }
	if err := errors.Join(r.SettleArch(t.Context()), r.Read(t.Context())); err != nil {
		t.Fatal(err)
	}
	return r, fakes
}

// versionOf is the path of a stub on a host.
func versionOf(content string) string {
	return installer.StubPath + "-" + digest.FromString(content).Encoded()[:12]
}

func TestEveryHostGetsWhatIsForItsArchitecture(t *testing.T) {
	for _, archs := range [][]string{{"amd64", "arm64", "amd64"}, {"arm64", "amd64", "arm64"}, {"arm64", "arm64"}} {
		t.Run(strings.Join(archs, " "), func(t *testing.T) {
			r, fakes := twoArchitectures(t, archs...)
			if err := r.Each(t.Context(), r.Targets, r.Connect); err != nil {
				t.Fatal(err)
			}
			for i, target := range r.Targets {
				arch := archs[i]
				if stub, _ := fakes[target.IP.String()].File(versionOf("installer for " + arch)); string(stub.Content) != "installer for "+arch {
					t.Errorf("a host of %s gets %q", arch, stub.Content)
				}
				images := r.Share(target).Here()
				if len(images) != 1 {
					t.Fatalf("a host of %s gets %d images", arch, len(images))
				}
				root := images[0]
				if _, ok := root.Files["etc/only-"+arch]; !ok {
					t.Errorf("a host of %s gets the files of another", arch)
				}
				overlay, err := root.Overlay(nil, r.Share(target).Env(root))
				if err != nil {
					t.Fatal(err)
				}
				if root.Bundled != r.Payload.Rootfs().Bundled {
					t.Errorf("marks of commands differ between the architectures: another first master would run an application's again")
				}
				_, line := r.Share(target).Script("init")
				got := []string{string(overlay["etc/arch"].Content), line, root.Cmd[0], r.archOn(target)}
				if diff := cmp.Diff([]string{arch + "\n", "init-" + arch + ".sh", "echo " + arch, arch}, got); diff != "" {
					t.Errorf("a host of %s: template, script, command, architecture (-want +got):\n%s", arch, diff)
				}
				if same := r.Share(target).Digests()[0] == r.Payload.Rootfs().Digest.String(); same != (arch == archs[0]) {
					t.Errorf("a host of %s has the layers of the first master: %v", arch, same)
				}
			}
		})
	}
}

func TestAFirstMasterThatIsDeadDoesNotHideTheArchitecture(t *testing.T) {
	r, fakes := twoArchitectures(t, "amd64", "arm64")
	r.Targets[1].Master, r.Payload.Arch = true, ""
	r.Dial = func(_ context.Context, t *fleet.Target) (host.Host, error) {
		if t == r.Master0() {
			return nil, &host.Error{Host: t.IP.String(), Kind: host.ErrUnreachable}
		}
		return fakes[t.IP.String()], nil
	}
	if err := r.SettleArch(t.Context()); err != nil || r.Payload.Arch != "arm64" {
		t.Errorf("the cluster is described for %q, %v", r.Payload.Arch, err)
	}
}

func TestDiskNeedIsThatOfTheLargestArchitecture(t *testing.T) {
	sizesOf := map[string]payload.Sizes{}
	for _, arch := range []string{"amd64", "arm64"} {
		t.Run(arch, func(t *testing.T) {
			r, _ := twoArchitectures(t, arch)
			s, err := r.Payload.Measure(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			sizesOf[arch] = s
			for _, l := range r.Payload.Rootfs().Layers {
				if l.Size > s.Rootfs {
					t.Errorf("a rootfs of %d bytes is said to take %d", l.Size, s.Rootfs)
				}
			}
		})
	}
	if sizesOf["amd64"] != sizesOf["arm64"] {
		t.Errorf("the need depends on the first master: %+v and %+v", sizesOf["amd64"], sizesOf["arm64"])
	}
}

func TestClusterImageThatLacksAnArchitectureIsNamed(t *testing.T) {
	r, _ := twoArchitectures(t, "amd64")
	_, err := r.Payload.For(t.Context(), "riscv64")
	if err == nil || !strings.Contains(err.Error(), "root:1") || !strings.Contains(err.Error(), "linux/riscv64") {
		t.Errorf("the error is %v, want one that names the image and the platform", err)
	}
}

func TestArchitectureThatTheBundleLacksIsAProblemOfItsHost(t *testing.T) {
	for _, archs := range [][]string{{"riscv64", "amd64"}, {"amd64", "riscv64"}} {
		t.Run(strings.Join(archs, " "), func(t *testing.T) {
			r, fakes := twoArchitectures(t, archs...)
			problems := preflight.From(r.Each(t.Context(), r.Targets, r.Connect), "connect")
			if len(problems) != 1 || problems[0].Check != "architecture" || !strings.Contains(problems[0].Message, "riscv64") ||
				!strings.Contains(problems[0].Message, "linux/amd64, linux/arm64") || !strings.Contains(problems[0].Remedy, "--platform") {
				t.Errorf("problems: %+v", problems)
			}
			for i, arch := range archs {
				for _, c := range fakes[r.Targets[i].IP.String()].Calls() {
					if arch == "riscv64" && c.Argv[0] != "uname" {
						t.Errorf("it was asked for more than its architecture: %q", c.Argv)
					}
				}
			}
		})
	}
}

func TestFirstMasterOutOfReachIsLeftToTheCheckOfAll(t *testing.T) {
	r, _ := twoArchitectures(t, "amd64")
	r.Payload.Arch = ""
	r.Dial = func(context.Context, *fleet.Target) (host.Host, error) { return nil, errors.New("no route") }
	if err := r.SettleArch(t.Context()); err != nil {
		t.Error(err)
	}
}
