package steps

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

func clusterImage(name, kind string, labels map[string]string, files ...string) stepstest.Image {
	i := stepstest.Image{Name: name, Type: kind, Config: v1.ImageConfig{Labels: labels}, Files: map[string]string{}}
	for _, f := range files {
		i.Files[f] = name + " " + f
	}
	return i
}

var oneMaster = hostAt("127.0.0.2", 0, true)

func TestImagesComeRootfsFirstThenPatchesThenApplications(t *testing.T) {
	r := loaded(t, []stepstest.Image{
		clusterImage("app:b", "application", nil, "b"), clusterImage("patch:2", "patch", nil, "p2"), clusterImage("app:a", "application", nil, "a"),
		clusterImage("root:1", "rootfs", map[string]string{"version": "v1.36.3"}, "r"), clusterImage("patch:1", "patch", nil, "p1"),
	}, oneMaster, hostAt("127.0.0.3", 0, false))
	names := func(images []*payload.Image) []string {
		var out []string
		for _, i := range images {
			out = append(out, i.Name+" in "+strings.TrimPrefix(i.Dir, r.Dir()))
		}
		return out
	}
	all := []string{"root:1 in /rootfs", "patch:2 in /rootfs", "patch:1 in /rootfs", "app:b in /applications/" + payload.DirName("app:b") + "/workdir", "app:a in /applications/" + payload.DirName("app:a") + "/workdir"}
	if diff := cmp.Diff(all, names(r.Share(r.Targets[0]).Here())); diff != "" {
		t.Errorf("on master0 (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(all[:3], names(r.Share(r.Targets[1]).Here())); diff != "" {
		t.Errorf("on a node (-want +got):\n%s", diff)
	}
}

func TestABundleWithoutExactlyOneRootfsIsRefused(t *testing.T) {
	root := func(name string) stepstest.Image {
		return clusterImage(name, "rootfs", map[string]string{"version": "v1.36.3"}, name)
	}
	for want, images := range map[string][]stepstest.Image{
		"needs the rootfs of the cluster": {clusterImage("app:v1", "application", nil, "a")},
		"holds 2 rootfs images":           {root("root:1"), root("root:2")},
	} {
		r := newRun(t, makeBundle(t, images), t.Output(), oneMaster)
		if err := r.Read(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("loadImages = %v, want it to say %q", err, want)
		}
		closeRun(t, r)
	}
	// Where the operator chooses one, the other does not count.
	r := newRun(t, makeBundle(t, []stepstest.Image{root("root:1"), root("root:2")}), t.Output(), oneMaster)
	r.Cluster.Images = []string{"root:2"}
	if err := r.Read(t.Context()); err != nil || len(r.Payload.Images) != 1 || r.Payload.Rootfs().Name != "root:2" {
		t.Errorf("with spec.image root:2: %v, %d images", err, len(r.Payload.Images))
	}
	closeRun(t, r)
	// Their order is that of spec.image, and the end of a name is enough.
	r = newRun(t, makeBundle(t, []stepstest.Image{root("site/root:1"), clusterImage("site/a:1", "application", nil, "a"), clusterImage("site/b:1", "application", nil, "b")}), t.Output(), oneMaster)
	r.Cluster.Images = []string{"b:1", "a:1", "site/root:1"}
	if err := r.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := r.Payload.Images[1].Name + " " + r.Payload.Images[2].Name; got != "site/b:1 site/a:1" {
		t.Errorf("applications in the order %s", got)
	}
}

func TestTheLastImageThatHasAScriptRunsIt(t *testing.T) {
	var told bytes.Buffer
	r := loaded(t, []stepstest.Image{
		clusterImage("root:1", "rootfs", map[string]string{"version": "v1.36.3", "init": "init.sh $ARG", "check": "check.sh"}, "scripts/clean.sh", "scripts/init.sh"),
		clusterImage("patch:1", "patch", map[string]string{"check": "other-check.sh --fast"}, "scripts/init-registry.sh.tmpl"),
		clusterImage("app:1", "application", map[string]string{"check": "evil.sh", "auth": "auth.sh"}, "scripts/init.sh"),
	}, oneMaster)
	r.Report = installer.NewReporter(&told, t.Output(), false)
	r.WarnOfScripts()
	for key, want := range map[string][2]string{
		"init":          {"root:1", "init.sh $ARG"},           // the label, not the file
		"check":         {"patch:1", "other-check.sh --fast"}, // the later label
		"clean":         {"root:1", "clean.sh"},               // by its file
		"init-registry": {"patch:1", "init-registry.sh"},      // by its template
		"auth":          {"", ""},                             // an application's is not run
		"init-cri":      {"", ""},
	} {
		img, line := r.Share(r.Master0()).Script(key)
		got := [2]string{"", line}
		if img != nil {
			got[0] = img.Name
		}
		if got != want {
			t.Errorf("script(%q) = %q, want %q", key, got, want)
		}
	}
	for _, want := range []string{"app:1 is an application: its label check is not run", "its label auth is not run"} {
		if !strings.Contains(told.String(), want) {
			t.Errorf("the operator is not told %q:\n%s", want, &told)
		}
	}
}

func TestLaterEnvironmentsWin(t *testing.T) {
	images := []stepstest.Image{
		{Name: "root:1", Type: "rootfs", Files: map[string]string{"r": "1"}, Config: v1.ImageConfig{
			Labels: map[string]string{"version": "v1.36.3"},
			Env:    []string{"PATH=/bin", "A=root", "B=root", "C=root", "D=root", "SEALOS_SYS_HOST_IP=root", "registryPort=5001"},
		}},
		{Name: "app:1", Type: "application", Files: map[string]string{"a": "1"}, Config: v1.ImageConfig{Env: []string{"B=image", "C=image", "D=image"}}},
	}
	node := hostAt("127.0.0.3", 0, false)
	node.Env = map[string]string{"D": "host", "SEALOS_SYS_RUN_MODE": "host"}
	r := newRun(t, makeBundle(t, images), t.Output(), oneMaster, node)
	r.Cluster.Env = map[string]string{"C": "cluster", "D": "cluster", "registryUsername": "operator", "registryData": "/data/registry"}
	if err := r.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := r.secrets.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	env := r.Share(r.Targets[1]).Env(r.Payload.Images[1])
	for key, want := range map[string]string{
		"A": "root", "B": "image", "C": "cluster", "D": "host",
		"registryPort": "5001", "registryDomain": "sealos.hub", "registryUsername": "operator", "registryData": "/data/registry",
		"SEALOS_SYS_HOST_IP": "127.0.0.3", "SEALOS_SYS_RUN_MODE": "node", "SEALOS_SYS_KUBE_VERSION": "v1.36.3",
		"SEALOS_SYS_CLUSTER": "default", "SEALOS_SYS_MASTERS": "127.0.0.2", "SEALOS_SYS_REGISTRY_HOSTS": "127.0.0.2",
		"SEALOS_SYS_VIP": installer.DefaultVIP, "SEALOS_SYS_SEALINSTALL": installer.StubPath, "SEALOS_SYS_ROOTFS": r.RootfsDir(),
	} {
		if env[key] != want {
			t.Errorf("%s = %q, want %q", key, env[key], want)
		}
	}
	if _, has := env["PATH"]; has {
		t.Error("the image's PATH would replace the host's")
	}
	if mode := r.Share(r.Targets[0]).Env(r.Payload.Images[0])["SEALOS_SYS_RUN_MODE"]; mode != "master" {
		t.Errorf("mode of a master = %q", mode)
	}
}

func TestPublicRegistryPasswordsAreReplacedByARandomOneThatStays(t *testing.T) {
	file := makeBundle(t, stepstest.Cluster()) // with registryPassword=passw0rd in its image
	password := func(user map[string]string) string {
		var out bytes.Buffer
		r := newRun(t, file, &out, oneMaster)
		defer closeRun(t, r)
		r.Cluster.Env = user
		if err := r.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := r.secrets.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.Report.Infof("it is %s", r.Passwords.Pull)
		if strings.Contains(out.String(), r.Passwords.Pull) {
			t.Errorf("the password is told: %s", &out)
		}
		return r.Share(r.Targets[0]).Env(r.Payload.Images[0])["registryPassword"]
	}
	first := password(nil)
	if len(first) < 32 {
		t.Errorf("the password that was made has %d characters", len(first))
	}
	if again := password(nil); again != first {
		t.Error("the next run makes another password")
	}
	if own := password(map[string]string{"registryPassword": "of the user"}); own != "of the user" {
		t.Errorf("the user's password became %q", own)
	}
}

func TestARegistryPasswordOfTheUsersOwnIsKeptHoweverShortOrKnown(t *testing.T) {
	file := makeBundle(t, stepstest.Cluster()) // with registryPassword=passw0rd in its image
	for _, own := range []string{"x", "short", "passw0rd", "fifteen letters", " p<a\"ss\\word ", "müßig"} {
		t.Setenv("SEALOS_RUNTIME_ROOT", t.TempDir())
		var out bytes.Buffer
		for _, env := range []map[string]string{{"registryPassword": own}, nil, {}} { // the later runs have no flag
			r := newRun(t, file, &out, oneMaster)
			r.Cluster.Env = env
			if err := r.Read(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := r.secrets.Settle(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := r.Share(r.Targets[0]).Env(r.Payload.Images[0])["registryPassword"]; got != own {
				t.Errorf("%q became %q", own, got)
			}
			closeRun(t, r)
		}
		if told := strings.Contains(out.String(), "one that everybody knows"); told != (own == "passw0rd") {
			t.Errorf("%q: %s", own, &out)
		}
	}
}

func TestRegistryHostsAreAskedOwnFirstAndSpread(t *testing.T) {
	var hosts []installer.Host
	for _, ip := range []string{"127.0.0.2", "127.0.0.3", "127.0.0.4"} {
		hosts = append(hosts, hostAt(ip, 0, true))
	}
	for _, ip := range []string{"127.0.0.5", "127.0.0.6", "127.0.0.7"} {
		hosts = append(hosts, hostAt(ip, 0, false))
	}
	r := loaded(t, stepstest.Cluster(), hosts...)
	firsts := map[string]int{}
	for _, target := range r.Targets {
		got := r.Share(target).RegistryHosts()
		if target.Master && got[0] != target.IP.String() {
			t.Errorf("%s asks %s first", target.IP, got[0])
		}
		if !target.Master {
			firsts[got[0]]++
		}
		sorted := slices.Sorted(slices.Values(got))
		if diff := cmp.Diff([]string{"127.0.0.2", "127.0.0.3", "127.0.0.4"}, sorted); diff != "" {
			t.Errorf("%s (-want +got):\n%s", target.IP, diff)
		}
	}
	if len(firsts) != 3 {
		t.Errorf("three nodes ask these first: %v", firsts)
	}
}
