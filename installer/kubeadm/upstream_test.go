package kubeadm

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// realKubeadm finds the program that test/upstream makes.
func realKubeadm(t *testing.T) string {
	t.Helper()
	if path := os.Getenv("KUBEADM"); path != "" {
		return path
	}
	cache := os.Getenv("SEALBUILD_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Skip("no cache directory to look for kubeadm in: ", err)
		}
		cache = filepath.Join(dir, "sealbuild-test")
	}
	path := filepath.Join(cache, "upstream-current", "bin", "kubeadm")
	if _, err := os.Stat(path); err != nil {
		t.Skipf("no kubeadm to ask (run test/upstream/make.sh or set KUBEADM): %v", err)
	}
	return path
}

func TestRealKubeadmAcceptsTheDocuments(t *testing.T) {
	kubeadm := realKubeadm(t)
	version, err := exec.CommandContext(t.Context(), kubeadm, "version", "-o", "short").Output()
	if err != nil {
		t.Fatal(err)
	}
	// kubeadm refuses to deploy other versions than its own, but still reads
	// the older API that those take.
	own := regexp.MustCompile(`kubernetesVersion: .*`)
	for _, tc := range goldenCases() {
		t.Run(tc.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "kubeadm.yaml")
			if tc.in.Discovery != "" { // kubeadm looks whether it is there
				tc.in.Discovery = filepath.Join(t.TempDir(), "discovery.conf")
				if err := os.WriteFile(tc.in.Discovery, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			docs := own.ReplaceAllString(render(t, tc.in), "kubernetesVersion: "+strings.TrimSpace(string(version)))
			if err := os.WriteFile(file, []byte(docs), 0o600); err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), kubeadm, "config", "validate", "--config", file).CombinedOutput()
			if err != nil {
				t.Fatalf("kubeadm config validate: %v\n%s", err, out)
			}
			for line := range strings.Lines(string(out)) {
				// Older API versions are deprecated by design of this test.
				if strings.Contains(line, "unknown field") || strings.Contains(line, "strict decoding") {
					t.Errorf("kubeadm warns: %s", line)
				}
			}
			t.Logf("%s", out)
		})
	}
}
