package steps

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	_ "github.com/distribution/distribution/v3/registry/auth/htpasswd" // what the configuration names
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/filesystem" // what the configuration names
	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// plainRegistry is the registry program of an image made for sealos: the distribution registry as it is. It knows an image
// only by the name in its tree.
func plainRegistry(configFile string) error {
	f, err := os.Open(configFile)
	if err != nil {
		return err
	}
	defer f.Close()
	config, err := configuration.Parse(f)
	if err != nil {
		return err
	}
	return http.ListenAndServe(config.HTTP.Addr, handlers.NewApp(context.Background(), config))
}

// pingRegistry stands for the command of that name.
func pingRegistry(url, user string) error {
	password, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err != nil {
		return err
	}
	return answers(url+"/v2/", user, strings.TrimSpace(password))
}

func answers(url, user, password string) error {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	req.SetBasicAuth(user, password)
	req.Header.Set("Accept", "application/vnd.oci.image.manifest.v1+json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, resp.Status)
	}
	return nil
}

func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port)
}

// until is the pipeline up to a step, without that and without the check.
func until(name string) []Step {
	var out []Step
	for _, s := range Install() {
		if s.Name == name {
			break
		}
		out = append(out, s)
	}
	return out[1:]
}

func TestImageMadeForSealosIsBootstrappedUnmodified(t *testing.T) {
	if !apart(t) {
		return
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	file := makeBundle(t, stepstest.Sealos("#!/bin/sh\nexec "+host.Quote(self)+" plain-registry \"$@\"\n"))
	master := sshHost(t, "127.0.0.2", "right", true)
	t.Setenv("SEALOS_RUNTIME_ROOT", t.TempDir())
	const bin = "/var/lib/test-bin"
	port := freePort(t)
	env := map[string]string{"BIN_DIR": bin, "registryConfig": "/var/lib/test-registry-config", "registryPort": port}
	install := func() (int, *Run) {
		r := newRun(t, file, t.Output(), master)
		r.Cluster.Env = env
		mustCheck(t, r)
		timings, err := installer.RunSteps(t.Context(), until("init-master0"), r, r.Report)
		if err != nil {
			t.Fatal(err)
		}
		return installer.Changes(timings), r
	}
	_, r := install()
	apparmor := "true"
	if _, err := exec.LookPath("apparmor_parser"); err == nil {
		apparmor = "false"
	}
	url := "http://127.0.0.2:" + port + "/v2/"
	for _, name := range []string{"pause/manifests/3.9", "coredns/coredns/manifests/v1.10.1", "library/nginx/manifests/1.27", "care/manifests/v1", "registry.k8s.io/pause/manifests/3.9"} {
		if err := answers(url+name, r.Access().User, r.Passwords.Pull); err != nil {
			t.Error(err)
		}
	}
	if err := answers(url+"pause/manifests/3.9", "admin", "passw0rd"); err == nil {
		t.Error("the password that everybody knows opens the registry")
	}
	for name, want := range map[string]string{
		bin + "/ran":                    "sealos.hub:" + port + "\ninit\n",
		r.RootfsDir() + "/etc/motd":     "of the patch\n",
		r.RootfsDir() + "/etc/greeting": "the patch greets sealos.hub\n",
		r.RootfsDir() + "/etc/motd.d":   "no site\n",
		// what the check script found out, and the last word of it
		r.RootfsDir() + "/etc/config.toml": "sandbox_image = \"sealos.hub:" + port + "/pause:3.9\"\ndisable_apparmor = " + apparmor + "\n",
		r.RootfsDir() + "/etc/hosts.toml":  "server = \"http://sealos.hub:" + port + "\"\n",
		r.RootfsDir() + "/etc/image-cri-shim.yaml": "shim: /var/run/image-cri-shim.sock\ncri: /var/run/containerd/containerd.sock\naddress: http://sealos.hub:" + port +
			"\nforce: true\nauth: admin:" + r.Passwords.Pull + "\n",
	} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		} else if d := cmp.Diff(want, string(data)); d != "" {
			t.Errorf("%s (-want +got):\n%s", name, d)
		}
	}
	if info, err := os.Stat(r.Dir("applications", payload.DirName("docker.io/site/app:v1"), "workdir/install.sh")); err != nil || info.Mode().Perm() != 0o755 {
		t.Errorf("a script of an application: %v, %v", info, err)
	}
	docs, err := kubeadm.Render(r.KubeadmInput(kubeadm.Init, r.Master0()))
	if err != nil {
		t.Fatal(err)
	}
	if text, err := docs.YAML(); err != nil || !strings.Contains(string(text), "imagePullPolicy: Never") {
		t.Errorf("kubeadm would pull past the shim: %v", err)
	}
	if len(r.AuditPolicy(r.Master0())) == 0 {
		t.Error("the API server gets no audit policy")
	}
	if _, err := os.Stat(filepath.Join(r.RootfsDir(), "registry")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("registry/ in the rootfs: %v", err)
	}
	// The image's script says that it has started a runtime; the next run looks.
	socket := r.Share(r.Master0()).RuntimeSocket()
	if err := os.MkdirAll(filepath.Dir(socket), 0o755); err != nil {
		t.Fatal(err)
	}
	runtime, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer runtime.Close()
	closeRun(t, r)
	if changes, _ := install(); changes != 0 {
		t.Errorf("the second run made %d changes", changes)
	}
}

func TestResetOfAnImageMadeForSealosRemovesPodsNetwork(t *testing.T) {
	if !apart(t) {
		return
	}
	if err := unix.Mount("tmpfs", "/opt", "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		t.Helper()
		if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), 0o644)); err != nil {
			t.Fatal(err)
		}
	}
	const own, later, plugin = "/etc/cni/net.d/99-own.conflist", "/etc/cni/net.d/backup.conflist", "/opt/cni/bin/backup-net"
	write(own, "{}")
	file := makeBundle(t, stepstest.Sealos("#!/bin/sh\n"))
	master := sshHost(t, "127.0.0.2", "right", true)
	t.Setenv("SEALOS_RUNTIME_ROOT", t.TempDir())
	halfDone(t, file, master, true)
	write("/etc/cni/net.d/10-flannel.conflist", `{"name":"cbr0","plugins":[{"type":"flannel"},{"type":"portmap"}]}`)
	write("/opt/cni/bin/flannel", "")
	write("/opt/cni/bin/host-local", "") // of an archive of the image
	write(filepath.Join("/var/lib/cni/networks/cbr0/100.64.0.2"), "")
	write(later, `{"name":"backup","plugins":[{"type":"backup-net"}]}`) // an agent of the site, installed since
	write(plugin, "")
	ip := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("ip", args...).CombinedOutput()
		if err != nil {
			t.Skipf("ip %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	ip("link", "add", "cni0", "type", "bridge")
	ip("link", "add", "uplink", "type", "bridge")
	ip("address", "add", "192.0.2.1/24", "dev", "uplink")
	ip("link", "set", "uplink", "up")
	ip("route", "add", "100.64.7.0/24", "via", "192.0.2.2")
	ip("route", "add", "100.64.8.0/24", "via", "192.0.2.3")
	ip("route", "add", "198.51.100.0/24", "via", "192.0.2.2")
	var told strings.Builder
	r := newRun(t, file, io.MultiWriter(t.Output(), &told), master)
	archive := filepath.Join(r.RootfsDir(), "cri/cri-containerd-cni.tar.gz")
	made := exec.Command("sh", "-c", `mkdir -p "$1" && cd "$2" && mkdir -p opt/cni/bin && touch opt/cni/bin/host-local && tar -czf "$3" opt`, "sh", filepath.Dir(archive), t.TempDir(), archive)
	if out, err := made.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	r.Cluster.Env = map[string]string{"BIN_DIR": "/var/lib/test-bin", "registryConfig": "/var/lib/test-registry-config"}
	r.Cluster.Hosts = append(r.Cluster.Hosts, installer.Host{IP: netip.MustParseAddr("192.0.2.2")}) // a node that is not reset here
	if _, err := installer.RunSteps(t.Context(), Reset(), r, r.Report); err != nil {
		t.Fatal(err)
	}
	closeRun(t, r)
	if want := later + ", " + plugin; !strings.Contains(told.String(), want) {
		t.Errorf("what stays is not named: %s", want)
	}
	for name, want := range map[string]bool{
		own: true, later: true, plugin: true, "/etc/cni/net.d/10-flannel.conflist": false, "/opt/cni/bin/flannel": false, "/opt/cni/bin/host-local": false,
		"/var/lib/cni/networks": false,
	} {
		if _, err := os.Stat(name); (err == nil) != want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := net.InterfaceByName("cni0"); err == nil {
		t.Error("cni0 stays: with other addresses on it, pods of the next cluster do not start")
	}
	if routes := ip("-4", "route"); strings.Contains(routes, "100.64.7.0") ||
		!strings.Contains(routes, "100.64.8.0") || !strings.Contains(routes, "198.51.100.0") {
		t.Errorf("routes after reset:\n%s", routes)
	}
}

func TestRegistryOfAnImageIsPlainWhenItsConfigurationSaysSo(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  bool
	}{
		"sealos":     {map[string]string{"etc/registry_config.yml": "http:\n  addr: :5000\n"}, true},
		"ours":       {map[string]string{"etc/registry_config.yml.tmpl": "http:\n  addr: {{ .x }}\n  tls:\n    key: k\n{{- if .y }}\n{{- end }}\n"}, false},
		"a template": {map[string]string{"etc/registry_config.yml.tmpl": "http:\n  addr: {{ .x }}\n{{- if .y }}\n{{- end }}\n"}, true},
		"nothing":    {nil, false},
		"overlaid":   {map[string]string{"etc/registry_config.yml.tmpl": "{{", "etc/registry_config.yml": "http: {tls: {key: k}}\n"}, false},
	} {
		i := clusterImage("root:1", "rootfs", map[string]string{"version": "v1.36.3"}, "x")
		for n, text := range c.files {
			i.Files[n] = text
		}
		r := loaded(t, []stepstest.Image{i}, oneMaster)
		if got := r.PlainRegistry(r.Master0()); got != c.want {
			t.Errorf("%s: plain = %t", name, got)
		}
		closeRun(t, r)
	}
}

func TestPasswordWrittenIntoAnImageStays(t *testing.T) {
	image := func(files map[string]string) []stepstest.Image {
		i := clusterImage("root:1", "rootfs", map[string]string{"version": "v1.36.3"}, "x")
		i.Config.Env = []string{"registryPassword=passw0rd"}
		for n, text := range files {
			i.Files[n] = text
		}
		return []stepstest.Image{i}
	}
	for name, c := range map[string]struct {
		files map[string]string
		kept  bool
	}{
		"in a plain file":      {map[string]string{"etc/image-cri-shim.yaml": "auth: admin:passw0rd\n"}, true},
		"asked for as well":    {map[string]string{"etc/image-cri-shim.yaml": "auth: admin:passw0rd\n", "etc/b.tmpl": "{{ .registryPassword }}"}, false},
		"asked for by scripts": {map[string]string{"etc/x.yaml": "passw0rd", "scripts/init.sh": "echo $registryPassword"}, false},
		"nowhere":              {nil, false},
	} {
		r := loaded(t, image(c.files), oneMaster)
		if kept := r.Passwords.Pull == "passw0rd"; kept != c.kept {
			t.Errorf("%s: password %q", name, r.Passwords.Pull)
		}
		closeRun(t, r)
	}
}
