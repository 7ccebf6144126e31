// Package etcdtest runs a real etcd on loopback for tests: the program of the image that test/upstream makes, with certificates as
// kubeadm makes them.
package etcdtest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/ground/durable"
)

// Program is the path of one of etcd's programs: etcd, etcdctl, etcdutl. The test is skipped where there is none.
func Program(t testing.TB, name string) string {
	t.Helper()
	return find(t, "ETCD", "upstream-current", name)
}

// Before is Program of the etcd that a site runs before an upgrade.
func Before(t testing.TB, name string) string {
	t.Helper()
	return find(t, "ETCD_BEFORE", "before-current", name)
}

// find looks in a directory that a variable names, else in a tree of test/upstream.
func find(t testing.TB, variable, tree, name string) string {
	t.Helper()
	if dir := os.Getenv(variable); dir != "" {
		return filepath.Join(dir, name)
	}
	cache := os.Getenv("SEALBUILD_CACHE")
	if cache == "" {
		dir, err := os.UserCacheDir()
		if err != nil {
			t.Skip("no cache directory to look for etcd in: ", err)
		}
		cache = filepath.Join(dir, "sealbuild-test")
	}
	dir, err := programs(cache, tree)
	if errors.Is(err, os.ErrNotExist) {
		t.Skipf("no etcd to run (run test/upstream/make.sh, with `before` for %s, or set %s to the directory of etcd and etcdutl): %v", tree, variable, err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// programs unpacks the programs of the image into a directory of the cache, unless they lie there.
func programs(cache, tree string) (string, error) {
	layout := filepath.Join(cache, tree, "images")
	var index v1.Index
	if err := readJSON(filepath.Join(layout, "index.json"), &index); err != nil {
		return "", err
	}
	for _, d := range index.Manifests {
		if !strings.HasPrefix(d.Annotations[v1.AnnotationRefName], "registry.k8s.io/etcd:") {
			continue
		}
		dir := filepath.Join(cache, "etcd-"+d.Digest.Encoded()[:16])
		if _, err := os.Stat(filepath.Join(dir, "etcd")); err == nil {
			return dir, nil
		}
		var manifest v1.Manifest
		blob := func(d v1.Descriptor) string { return filepath.Join(layout, "blobs/sha256", d.Digest.Encoded()) }
		if err := readJSON(blob(d), &manifest); err != nil {
			return "", err
		}
		for _, layer := range manifest.Layers {
			if err := unpack(dir, blob(layer)); err != nil {
				return "", fmt.Errorf("unpack etcd: %w", err)
			}
		}
		return dir, nil
	}
	return "", fmt.Errorf("no image of etcd in %s: %w", layout, os.ErrNotExist)
}

func readJSON(name string, into any) error {
	data, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	return json.Unmarshal(data, into)
}

// unpack puts the programs of a layer into a directory, etcd the last: tests of other packages do the same meanwhile.
func unpack(dir, layer string) error {
	f, err := os.Open(layer)
	if err != nil {
		return err
	}
	defer f.Close()
	plain, err := gzip.NewReader(f)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var etcd []byte
	for archive := tar.NewReader(plain); ; {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		base := filepath.Base(h.Name)
		if h.Typeflag != tar.TypeReg || !strings.HasPrefix(base, "etcd") {
			continue
		}
		data, err := io.ReadAll(archive)
		if err != nil {
			return err
		}
		if base == "etcd" {
			etcd = data
			continue
		}
		if err := durable.WriteCache(filepath.Join(dir, base), data, 0o755); err != nil {
			return err
		}
	}
	if etcd == nil {
		return nil // it is in another layer
	}
	return durable.WriteCache(filepath.Join(dir, "etcd"), etcd, 0o755)
}

// Cluster is members of etcd that run in this machine. They end with the test.
type Cluster struct {
	Members []*Member
	Certs   string // directory of certificates, as a client takes it
}

// Member is one of them. The others know it by its address, which is 127.0.0.1 and those that follow.
type Member struct {
	IP       string
	Endpoint string // for clients
	Peer     string // for members
	Dir      string

	t       testing.TB
	argv    []string
	process *exec.Cmd
	log     *bytes.Buffer
}

// Start starts members. They may not have a leader yet.
func Start(t testing.TB, members int, args ...string) *Cluster {
	t.Helper()
	program := Program(t, "etcd")
	c := &Cluster{Certs: certificates(t, members)}
	var initial []string
	for i := range members {
		ip := fmt.Sprintf("127.0.0.%d", 1+i)
		m := &Member{IP: ip, Endpoint: "https://" + free(t, ip), Peer: "http://" + free(t, ip), Dir: t.TempDir(), t: t}
		initial = append(initial, ip+"="+m.Peer)
		c.Members = append(c.Members, m)
	}
	for _, m := range c.Members {
		m.argv = append([]string{
			program, "--name=" + m.IP, "--data-dir=" + m.Dir + "/data", "--listen-client-urls=" + m.Endpoint, "--advertise-client-urls=" + m.Endpoint,
			"--listen-peer-urls=" + m.Peer, "--initial-advertise-peer-urls=" + m.Peer, "--initial-cluster=" + strings.Join(initial, ","),
			"--client-cert-auth", "--trusted-ca-file=" + c.Certs + "/ca.crt", "--cert-file=" + c.Certs + "/server.crt", "--key-file=" + c.Certs + "/server.key",
			"--unsafe-no-fsync", "--log-level=warn",
		}, args...)
		m.Run()
		t.Cleanup(m.Kill)
	}
	return c
}

// free finds a port that nobody listens at.
func free(t testing.TB, ip string) string {
	t.Helper()
	l, err := net.Listen("tcp", ip+":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Run starts the member's process.
func (m *Member) Run() {
	m.t.Helper()
	m.log = &bytes.Buffer{}
	m.process = exec.Command(m.argv[0], m.argv[1:]...)
	m.process.Stdout, m.process.Stderr = m.log, m.log
	m.process.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := m.process.Start(); err != nil {
		m.t.Fatal(err)
	}
}

// Use has the member run another etcd from its next start on.
func (m *Member) Use(program string) { m.argv[0] = program }

// Kill ends the process at once.
func (m *Member) Kill() {
	if m.process.ProcessState != nil {
		return
	}
	m.process.Process.Kill()
	m.process.Wait()
	if m.t.Failed() {
		m.t.Logf("etcd of %s:\n%s", m.IP, m.log)
	}
}

// Pause stops the process where it is; Continue has it go on.
func (m *Member) Pause() { m.signal(syscall.SIGSTOP) }

// Continue is said after Pause.
func (m *Member) Continue() { m.signal(syscall.SIGCONT) }

func (m *Member) signal(s os.Signal) {
	if err := m.process.Process.Signal(s); err != nil {
		m.t.Fatal(err)
	}
}

// Put stores a value by etcd's own client.
func (m *Member) Put(certs, key, value string) { m.ctl(certs, "put", key, value) }

// Get gives the line of a value.
func (m *Member) Get(certs, key string) string {
	return strings.TrimSpace(m.ctl(certs, "get", "--print-value-only", key))
}

func (m *Member) ctl(certs string, args ...string) string {
	m.t.Helper()
	argv := append([]string{"--endpoints=" + m.Endpoint, "--cacert=" + certs + "/ca.crt", "--cert=" + certs + "/server.crt", "--key=" + certs + "/server.key"}, args...)
	out, err := exec.CommandContext(m.t.Context(), filepath.Join(filepath.Dir(m.argv[0]), "etcdctl"), argv...).CombinedOutput()
	if err != nil {
		m.t.Fatalf("etcdctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
