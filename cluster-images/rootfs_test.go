package clusterimages_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/distribution/distribution/v3/configuration"
	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent/facts"
)

const (
	configTemplate = "kubernetes/etc/config.toml.tmpl"
	hostsTemplate  = "kubernetes/etc/hosts.toml.tmpl"
)

func decodeTOML(t *testing.T, text string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := toml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return v
}

func TestContainerdConfigurationFollowsTheEnvironment(t *testing.T) {
	t.Parallel()
	type settings struct {
		Root, Sandbox                 any
		Systemd, NoAppArmor, Restrict any
	}
	for name, tc := range map[string]struct {
		env  map[string]string
		want settings
	}{
		"defaults": {nil, settings{"/var/lib/containerd", "", true, false, false}},
		"all set": {
			map[string]string{
				"criData": "/data/cri", "sandboxImage": "registry.k8s.io/pause:3.9", "cgroupDriver": "cgroupfs",
				"disableApparmor": "true", "restrictOOMScoreAdj": "true",
			},
			settings{"/data/cri", "registry.k8s.io/pause:3.9", false, true, true},
		},
		"sandbox as sealos images name it": {map[string]string{"sandboxImage": "pause:3.9"}, settings{"/var/lib/containerd", "registry.k8s.io/pause:3.9", true, false, false}},
	} {
		v := decodeTOML(t, mustRender(t, configTemplate, environment(t, "kubernetes", tc.env)))
		plugins := at(t, v, "plugins")
		runtime := at(t, plugins, "io.containerd.cri.v1.runtime")
		got := settings{
			Root:       at(t, v, "root"),
			Sandbox:    at(t, plugins, "io.containerd.cri.v1.images", "pinned_images", "sandbox"),
			Systemd:    at(t, runtime, "containerd", "runtimes", "runc", "options", "SystemdCgroup"),
			NoAppArmor: at(t, runtime, "disable_apparmor"),
			Restrict:   at(t, runtime, "restrict_oom_score_adj"),
		}
		if diff := cmp.Diff(tc.want, got); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", name, diff)
		}
	}
	if _, err := render(t, configTemplate, environment(t, "kubernetes", map[string]string{"cgroupDriver": "systemD"})); err == nil {
		t.Error("a misspelled cgroupDriver is accepted")
	}
}

// containerd itself reads the configuration and says what it made of it.
func TestContainerdReadsItsConfiguration(t *testing.T) {
	t.Parallel()
	binary := filepath.Join("kubernetes", "files", "amd64", "cri", "containerd")
	if _, err := os.Stat(binary); err != nil {
		t.Skip("run kubernetes/fetch.sh first: ", err)
	}
	env := environment(t, "kubernetes", map[string]string{"criData": "/data/cri", "sandboxImage": "registry.k8s.io/pause:3.9"})
	file := filepath.Join(t.TempDir(), "config.toml")
	if err := os.WriteFile(file, []byte(mustRender(t, configTemplate, env)), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "--config", file, "config", "dump")
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v\n%s", err, stderr.String())
	}
	for line := range strings.Lines(stderr.String()) {
		// containerd 2.3 and later say that they read an older form of configuration, which is meant.
		if strings.Contains(line, "level=") && !strings.Contains(line, "level=info") && !strings.Contains(line, "migrated from version 3") {
			t.Errorf("containerd complains: %s", line)
		}
	}
	v := decodeTOML(t, string(out))
	if got := at(t, v, "root"); got != "/data/cri" {
		t.Errorf("root is %v", got)
	}
	plugins := at(t, v, "plugins")
	if got := at(t, plugins, "io.containerd.cri.v1.images", "registry", "config_path"); got != "/etc/containerd/certs.d" {
		t.Errorf("config_path is %v", got)
	}
	if got := at(t, plugins, "io.containerd.cri.v1.images", "pinned_images", "sandbox"); got != "registry.k8s.io/pause:3.9" {
		t.Errorf("sandbox is %v", got)
	}
	if got := at(t, plugins, "io.containerd.cri.v1.runtime", "containerd", "runtimes", "runc", "options", "SystemdCgroup"); got != true {
		t.Errorf("SystemdCgroup is %v", got)
	}
}

func TestContainerdAsksOnlyTheClustersRegistriesOwnHostFirst(t *testing.T) {
	t.Parallel()
	const basic = "Basic YWRtaW46aHVudGVyIDIi" // admin:hunter 2"
	env := environment(t, "kubernetes", map[string]string{
		"registryPassword": `hunter 2"`, "SEALOS_SYS_REGISTRY_HOSTS": "10.0.0.3 fd00::2 10.0.0.2", "registryPort": "5443",
	})
	text := mustRender(t, hostsTemplate, env)
	v := decodeTOML(t, text)
	var last int
	for _, url := range []string{"https://10.0.0.3:5443", "https://[fd00::2]:5443", "https://10.0.0.2:5443"} {
		at := strings.Index(text, `[host."`+url+`"]`)
		if at < last {
			t.Errorf("%s is missing or out of order in\n%s", url, text)
		}
		last = at
	}
	for _, host := range at(t, v, "host").(map[string]any) {
		if got := at(t, host, "header", "Authorization"); got != basic {
			t.Errorf("Authorization is %v", got)
		}
		if got := at(t, host, "ca"); got != "/etc/containerd/certs.d/_default/ca.crt" {
			t.Errorf("ca is %v", got)
		}
		// A dead registry is dialled once for every blob before the next one is asked.
		if got := at(t, host, "dial_timeout"); got != "1s" {
			t.Errorf("dial_timeout is %v", got)
		}
	}
	// containerd tries the server last: it must be one of ours, with the same credentials.
	if got := at(t, v, "server"); got != "https://10.0.0.3:5443" {
		t.Errorf("server is %v", got)
	}
	if got := at(t, v, "header", "Authorization"); got != basic {
		t.Errorf("Authorization of the server is %v", got)
	}
	if _, err := render(t, hostsTemplate, environment(t, "kubernetes", map[string]string{"SEALOS_SYS_REGISTRY_HOSTS": " "})); err == nil {
		t.Error("no registry host is accepted")
	}
	text = mustRender(t, hostsTemplate, environment(t, "kubernetes", map[string]string{"registryPassword": ""}))
	if decodeTOML(t, text); strings.Contains(text, "Authorization") {
		t.Errorf("credentials without a password in\n%s", text)
	}
}

func TestRegistryConfigurationIsOneTheRegistryReads(t *testing.T) {
	t.Parallel()
	env := environment(t, "kubernetes", map[string]string{"registryData": "/data/registry", "registryPort": "5443"})
	c, err := configuration.Parse(strings.NewReader(mustRender(t, "kubernetes/etc/registry_config.yml.tmpl", env)))
	if err != nil {
		t.Fatal(err)
	}
	got := []any{
		c.Storage.Type(), c.Storage.Parameters()["rootdirectory"], c.Storage["delete"]["enabled"], c.HTTP.Addr,
		c.HTTP.TLS.Certificate, c.HTTP.TLS.Key, c.Auth.Type(), c.Auth.Parameters()["path"],
	}
	want := []any{"filesystem", "/data/registry", true, ":5443", "/etc/registry/tls.crt", "/etc/registry/tls.key", "htpasswd", "/etc/registry/htpasswd"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestUnitsNameProgramsWhereTheyAreInstalled(t *testing.T) {
	t.Parallel()
	env := environment(t, "kubernetes", map[string]string{"BIN_DIR": "/opt/bin", "restrictOOMScoreAdj": "true", "swapMode": "keep"})
	for file, want := range map[string]string{
		"containerd.service.tmpl": "ExecStart=/opt/bin/containerd --config /etc/containerd/config.toml\n",
		"kubelet.service.tmpl":    "ExecStart=/opt/bin/kubelet\n",
		"10-kubeadm.conf.tmpl":    "ExecStart=\nExecStart=/opt/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS\n",
		"registry.service.tmpl":   "ExecStart=/var/lib/sealos/bin/sealinstall registry serve /etc/registry/config.yml\n",
	} {
		out := mustRender(t, "kubernetes/etc/"+file, env)
		if !strings.Contains(out, want) {
			t.Errorf("%s lacks %q:\n%s", file, want, out)
		}
		if strings.HasSuffix(file, ".service.tmpl") {
			unset := "UnsetEnvironment=HTTP_PROXY HTTPS_PROXY ALL_PROXY NO_PROXY http_proxy https_proxy all_proxy no_proxy\n"
			if !strings.Contains(out, unset) {
				t.Errorf("%s lets proxies through:\n%s", file, out)
			}
			// In the template itself: a path of ours that a value brings in is no mark.
			if text, err := os.ReadFile("kubernetes/etc/" + file); err != nil || !strings.Contains(string(text), "# Installed by "+facts.UnitMark) {
				t.Errorf("%s is not marked as ours (%v)", file, err)
			}
		}
		for _, unwanted := range []string{"OOMScoreAdjust", "swapoff", "{{", "\n\n\n"} {
			if strings.Contains(out, unwanted) {
				t.Errorf("%s has %q", file, unwanted)
			}
		}
	}
}

// systemd itself reads the units.
func TestSystemdAcceptsTheUnits(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip(err)
	}
	dir := t.TempDir()
	env := environment(t, "kubernetes", map[string]string{"BIN_DIR": dir, "SEALOS_SYS_SEALINSTALL": dir + "/sealinstall"})
	for _, name := range []string{"containerd", "kubelet", "sealinstall"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for unit, source := range map[string]string{
		"containerd.service": "containerd.service.tmpl", "registry.service": "registry.service.tmpl",
		"kubelet.service": "kubelet.service.tmpl", "kubelet.service.d/10-kubeadm.conf": "10-kubeadm.conf.tmpl",
	} {
		file := filepath.Join(dir, unit)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(mustRender(t, "kubernetes/etc/"+source, env)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, unit := range []string{"containerd.service", "registry.service", "kubelet.service"} {
		out, err := exec.CommandContext(t.Context(), analyze, "verify", "--man=no", filepath.Join(dir, unit)).CombinedOutput()
		if err != nil || strings.Contains(string(out), dir) {
			t.Errorf("%s: %v\n%s", unit, err, out)
		}
	}
}
