package oldpackage

import (
	"io/fs"
	"os/exec"
	"strings"
	"testing"

	"github.com/BurntSushi/toml"
	"github.com/google/go-cmp/cmp"
)

// adapted runs the function of old-after.sh that changes what containerd prints as its configuration.
func adapted(t *testing.T, printed string) (string, error) {
	t.Helper()
	script, err := fs.ReadFile(files, "files/old-after.sh")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(script), "\nadapt() {\n")
	body, _, ok := strings.Cut(rest, "\n}\n")
	if !ok {
		t.Fatal("old-after.sh has no function adapt")
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euc", `yes() { [[ $1 != true ]] || printf true; }
certs_dir=/etc/containerd/certs.d criData=/data/cri pause=registry.example/pause:3.9 disableApparmor=true restrictOOMScoreAdj=false cgroupDriver=cgroupfs
adapt() {`+"\n"+body+"\n}\nadapt")
	cmd.Stdin = strings.NewReader(printed)
	out, err := cmd.Output()
	return string(out), err
}

func decoded(t *testing.T, text string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := toml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return v
}

func TestContainerdOfAnyVersionIsLedToTheRegistries(t *testing.T) {
	for name, tc := range map[string]struct{ printed, want string }{
		"1.6": {`imports = ["/etc/containerd/config.toml"]
root = "/var/lib/containerd"
version = 2
[plugins]
  [plugins."io.containerd.grpc.v1.cri"]
    disable_apparmor = false
    restrict_oom_score_adj = true
    sandbox_image = "k8s.gcr.io/pause:3.6"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      root = ""
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        BinaryName = ""
        SystemdCgroup = true
    [plugins."io.containerd.grpc.v1.cri".registry]
      config_path = ""
      [plugins."io.containerd.grpc.v1.cri".registry.configs]
        [plugins."io.containerd.grpc.v1.cri".registry.configs."sealos.hub:5000".auth]
          password = "passw0rd"
      [plugins."io.containerd.grpc.v1.cri".registry.mirrors."docker.io"]
        endpoint = ["http://sealos.hub:5000"]
    [plugins."io.containerd.grpc.v1.cri".x509_key_pair_streaming]
      tls_key_file = ""
`, `imports = []
root = "/data/cri"
version = 2
[plugins."io.containerd.grpc.v1.cri"]
disable_apparmor = true
restrict_oom_score_adj = true
sandbox_image = "registry.example/pause:3.9"
containerd = {runtimes = {runc = {root = "", options = {BinaryName = "", SystemdCgroup = false}}}}
registry = {config_path = "/etc/containerd/certs.d"}
x509_key_pair_streaming = {tls_key_file = ""}
`},
		"2.1": {`version = 3
root = '/var/lib/containerd'
imports = []
[plugins]
  [plugins.'io.containerd.cri.v1.images']
    [plugins.'io.containerd.cri.v1.images'.pinned_images]
      sandbox = 'registry.k8s.io/pause:3.10'
    [plugins.'io.containerd.cri.v1.images'.registry]
      config_path = '/etc/containerd/certs.d:/etc/docker/certs.d'
  [plugins.'io.containerd.cri.v1.runtime']
    disable_apparmor = false
    restrict_oom_score_adj = false
    [plugins.'io.containerd.cri.v1.runtime'.containerd.runtimes.runc.options]
      BinaryName = ''
  [plugins.'io.containerd.transfer.v1.local']
    config_path = ''
`, `version = 3
root = "/data/cri"
imports = []
[plugins]
"io.containerd.cri.v1.images" = {pinned_images = {sandbox = "registry.example/pause:3.9"}, registry = {config_path = "/etc/containerd/certs.d"}}
"io.containerd.transfer.v1.local" = {config_path = ""}
[plugins."io.containerd.cri.v1.runtime"]
disable_apparmor = true
restrict_oom_score_adj = false
containerd = {runtimes = {runc = {options = {BinaryName = "", SystemdCgroup = false}}}}
`},
	} {
		got, err := adapted(t, tc.printed)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(decoded(t, tc.want), decoded(t, got)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s\n%s", name, diff, got)
		}
	}
	if got, err := adapted(t, "version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n"); err == nil {
		t.Errorf("a containerd without a directory of registries is taken: %s", got)
	}
}
