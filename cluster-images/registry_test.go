package clusterimages_test

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// site is a copy of the image's scripts with which registries are started and
// removed in a mount namespace; systemd is played by a program that agrees to
// everything.
type site struct{ dir, data, port string }

func newSite(t *testing.T) site {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), "unshare", "--mount", "true").CombinedOutput(); err != nil {
		t.Skipf("mount namespaces: %v %s", err, out)
	}
	if _, err := os.Stat("/etc/systemd"); err != nil {
		t.Skip("nowhere to put units: ", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	dir := t.TempDir()
	s := site{dir, filepath.Join(dir, "data", "registry"), strconv.Itoa(listener.Addr().(*net.TCPAddr).Port)}
	for _, name := range []string{"scripts/lib.sh", "scripts/init-registry.sh", "scripts/clean-registry.sh"} {
		text, err := os.ReadFile("kubernetes/" + name)
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, name), string(text))
	}
	for _, name := range []string{"registry_config.yml", "registry_tls.crt", "registry_tls.key", "registry.service"} {
		write(t, filepath.Join(dir, "etc", name), name)
	}
	write(t, filepath.Join(dir, "bin", "systemctl"), "#!/bin/sh\n")
	write(t, filepath.Join(dir, "bin", "sealinstall"), "#!/bin/sh\n")
	if err := os.MkdirAll(s.data, 0o755); err != nil {
		t.Fatal(err)
	}
	return s
}

// run runs scripts one after the other on one host, whose notes and units are
// gone at the end.
func (s site) run(t *testing.T, scripts ...string) string {
	t.Helper()
	line := "set -e; mount -t tmpfs x /var/lib; mount -t tmpfs x /etc/systemd; "
	for _, name := range scripts {
		line += filepath.Join(s.dir, "scripts", name) + "; "
	}
	cmd := exec.CommandContext(t.Context(), "unshare", "--mount", "bash", "-c", line)
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(s.dir, "bin")+":"+os.Getenv("PATH"), "registryData="+s.data, "registryPort="+s.port,
		"registryPassword=", "registryConfig="+filepath.Join(s.dir, "conf", "registry"), "SEALOS_SYS_SEALINSTALL="+filepath.Join(s.dir, "bin", "sealinstall"))
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", scripts, err, out)
	}
	return string(out)
}

func (s site) has(name string) bool {
	_, err := os.Lstat(filepath.Join(s.data, name))
	return !errors.Is(err, os.ErrNotExist)
}

const (
	registryMark = ".sealos-registry"
	aTag         = "docker/registry/v2/repositories/docker.io/x/link"
)

func TestRegistryOfSomebodyElseOutlivesTheCluster(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	write(t, filepath.Join(s.data, aTag), "x")
	write(t, filepath.Join(s.data, ".sealbuild/partial/1"), "x")
	out := s.run(t, "init-registry.sh", "init-registry.sh", "clean-registry.sh")
	if !strings.Contains(out, "will stay when the cluster is removed") || s.has(registryMark) {
		t.Errorf("claimed:\n%s", out)
	}
	if !s.has(aTag) {
		t.Errorf("removed:\n%s", out)
	}
	if s.has(".sealbuild") {
		t.Errorf("remains of a transfer stay:\n%s", out)
	}
}

func TestRegistryOfTheClusterGoesWithIt(t *testing.T) {
	t.Parallel()
	for name, scripts := range map[string][]string{
		"whole":                    {"init-registry.sh", "clean-registry.sh"},
		"cut off after the images": {"clean-registry.sh"},
	} {
		s := newSite(t)
		write(t, filepath.Join(s.data, registryMark), "x")
		write(t, filepath.Join(s.data, aTag), "x")
		if out := s.run(t, scripts...); s.has("") {
			t.Errorf("%s: it stays:\n%s", name, out)
		}
	}
	s := newSite(t)
	write(t, filepath.Join(s.data, registryMark), "x")
	write(t, filepath.Join(s.data, aTag), "x")
	write(t, filepath.Join(s.data, "notes"), "x")
	if out := s.run(t, "init-registry.sh", "clean-registry.sh"); !s.has("notes") || s.has("docker") || s.has(registryMark) {
		t.Errorf("more or less than the registry is gone:\n%s", out)
	}
}

func TestEmptyDirectoryBecomesARegistryOfTheCluster(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if out := s.run(t, "init-registry.sh"); !s.has(registryMark) {
		t.Errorf("not marked:\n%s", out)
	}
	if out := s.run(t, "init-registry.sh", "clean-registry.sh"); s.has("") {
		t.Errorf("it stays:\n%s", out)
	}
}

func TestANewCertificateIsPutInPlaceWithoutARestart(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	// The systemctl of this test says of every unit that it runs, so that the first script restarts it.
	change := func(name, file string) {
		write(t, filepath.Join(s.dir, "scripts", name), "#!/bin/sh\necho new >"+filepath.Join(s.dir, "etc", file)+"\n")
	}
	show := "#!/bin/sh\ncat " + filepath.Join(s.dir, "conf", "registry", "tls.crt") + "\n"
	write(t, filepath.Join(s.dir, "scripts", "show.sh"), show)
	change("renew.sh", "registry_tls.crt")
	change("configure.sh", "registry_config.yml")
	if out := s.run(t, "init-registry.sh", "renew.sh", "init-registry.sh", "show.sh"); strings.Count(out, "restarting registry") != 1 || !strings.HasSuffix(out, "new\n") {
		t.Errorf("a new certificate:\n%s", out)
	}
	if out := s.run(t, "init-registry.sh", "configure.sh", "init-registry.sh"); strings.Count(out, "restarting registry") != 2 {
		t.Errorf("a new configuration:\n%s", out)
	}
}
