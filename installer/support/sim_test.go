package support

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/status"
	"github.com/sealbuild/sealbuild/installer/support/redact"
)

// machine is a host whose files lie below a directory of this machine, and whose programs are those in bin there, then this
// machine's.
type machine struct {
	t    testing.TB
	name string
	root string // empty: it has nothing, and its programs print nothing
	api  *apiServer
	stub *agenttest.Machine // the installer that lies there; nil: none does
	// before, if set, is asked before a command runs: it may end it.
	before func(ctx context.Context, c host.Cmd) (ended bool, err error)
}

func (m *machine) Name() string { return m.name }
func (m *machine) Close() error { return nil }

func (m *machine) Put(_ context.Context, path string, _ fs.FileMode, _ io.Reader) error {
	m.t.Errorf("%s was put on %s", path, m.name)
	return errors.ErrUnsupported
}

func (m *machine) Run(ctx context.Context, c host.Cmd) error {
	if len(c.Argv) == 3 && c.Argv[1] == "node" {
		if m.stub == nil || c.Argv[2] != agent.VerbFacts {
			m.t.Errorf("%s: the installer was asked for %s", m.name, c.Argv[2])
			return errors.ErrUnsupported
		}
		return m.stub.Serve(ctx, c.Argv[2], c.Stdin, c.Stdout)
	}
	if c.Title == "look for an installer" {
		if m.stub == nil {
			return &host.ExitError{Host: m.name, Code: 1}
		}
		return nil
	}
	if m.before != nil {
		if ended, err := m.before(ctx, c); ended {
			return err
		}
	}
	if strings.HasPrefix(c.Title, "kubectl ") {
		return m.api.serve(m, c)
	}
	if m.root == "" {
		m.answer(c, 0, nil)
		return nil
	}
	argv := slices.Clone(c.Argv)
	for i := range argv[2:] {
		if !strings.HasPrefix(argv[i+2], m.root) { // it told that path itself
			argv[i+2] = absolute.ReplaceAllString(argv[i+2], "${1}"+m.root+"$2")
		}
	}
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = []string{"PATH=" + m.root + "/bin:/usr/bin:/bin"}
	cmd.Stdout, cmd.Stderr = c.Stdout, c.Stderr
	var exit *exec.ExitError
	err := cmd.Run()
	if errors.As(err, &exit) && ctx.Err() == nil {
		return &host.ExitError{Host: m.name, Argv: argv, Code: exit.ExitCode()}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// answer answers questions from the n-th on, as askLine does: in a word, or as others say.
func (m *machine) answer(c host.Cmd, n int, others map[int]string) {
	if c.Argv[2] != shell+askLine {
		return
	}
	for i := range c.Argv[4:] {
		text, ok := others[i]
		if !ok {
			text = "|told\n=0\n"
		}
		if i >= n {
			fmt.Fprintf(c.Stdout, "::%d\n%s", i, text)
		}
	}
}

// absolute are paths in a line of shell.
var absolute = regexp.MustCompile(`(^|[\s"'=])(/(?:etc|var|root)/)`)

// write makes a file of the host.
func (m *machine) write(name, text string) {
	m.t.Helper()
	name = m.root + name
	mode := fs.FileMode(0o644)
	if strings.HasPrefix(name, m.root+"/bin/") {
		mode = 0o755
	}
	if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o755), os.WriteFile(name, []byte(text), mode)); err != nil {
		m.t.Fatal(err)
	}
}

// program makes a program of the host that prints a text.
func (m *machine) program(name, text string) {
	m.t.Helper()
	m.write("/printed/"+name, text)
	m.write("/bin/"+name, "#!/bin/sh\nexec cat "+m.root+"/printed/"+name+"\n")
}

// apiServer answers paths of the API.
type apiServer struct {
	objects map[string]any // by the path, without what stands behind ?
	mu      sync.Mutex
	asked   []string
}

func (s *apiServer) serve(m *machine, c host.Cmd) error {
	if s == nil {
		fmt.Fprintln(c.Stderr, "The connection to the server was refused - did you specify the right host or port?")
		return &host.ExitError{Host: m.name, Code: 1}
	}
	for _, path := range c.Argv[6:] { // sh -c LINE sh CONF SERVER
		s.mu.Lock()
		s.asked = append(s.asked, path)
		s.mu.Unlock()
		plain, query, _ := strings.Cut(path, "?")
		object, ok := s.objects[plain]
		if pages, is := object.([]any); is {
			page := 0
			if _, next, has := strings.Cut(query, "continue="); has {
				fmt.Sscan(next, &page)
			}
			object = pages[page]
		}
		if !ok {
			fmt.Fprintf(c.Stderr, "Error from server (NotFound): the server could not find the requested resource %s\n", plain)
			return &host.ExitError{Host: m.name, Code: 1}
		}
		if err := json.NewEncoder(c.Stdout).Encode(object); err != nil {
			return err
		}
	}
	return nil
}

// sim is a room of simulated hosts: the first is the master.
type sim struct {
	*Room
	hosts []*machine
}

func newSim(t testing.TB, hosts int, withFiles bool) *sim {
	t.Helper()
	s := &sim{}
	c := &installer.Cluster{Name: "default"}
	for i := range hosts {
		m := &machine{t: t, name: fmt.Sprintf("10.0.%d.%d", i/250, 2+i%250)}
		if withFiles {
			m.root = t.TempDir()
			m.write("/etc/os-release", "ID=debian\nVERSION_ID=13\n")
			for _, name := range []string{"systemctl", "journalctl", "timedatectl", "ip", "ss", "iptables-save", "nft", "crictl", "kubelet", "kubeadm"} {
				m.program(name, "told by "+name+"\n")
			}
		}
		s.hosts = append(s.hosts, m)
		c.Hosts = append(c.Hosts, installer.Host{IP: netip.MustParseAddr(m.name), Master: i == 0})
	}
	state := &installer.State{Dir: t.TempDir()}
	f := fleet.New(fleet.Options{Jobs: 100, Report: installer.Silent()}, c.Hosts, nil)
	f.Dial = func(_ context.Context, t *fleet.Target) (host.Host, error) { return s.of(t), nil }
	s.Room = &Room{
		Fleet: f, Cluster: c, State: state, Redact: redact.New(installer.Silent()), Version: "1.2.3", Since: time.Now().Add(-time.Hour), Within: time.Minute,
		Dir: t.TempDir(),
		Status: func(context.Context) (status.Status, error) {
			return status.Status{Cluster: "default", Ready: true, Asked: true}, nil
		},
	}
	return s
}

func (s *sim) of(t *fleet.Target) *machine {
	i := slices.IndexFunc(s.hosts, func(m *machine) bool { return m.name == t.IP.String() })
	return s.hosts[i]
}

// make makes a bundle, and gives what is in it by its path below the root.
func (s *sim) make(t testing.TB) (map[string]string, Summary) {
	t.Helper()
	var out bytes.Buffer
	sum, err := s.Write(t.Context(), &out, "root")
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(s.Dir); err != nil || len(left) > 0 {
		t.Errorf("left beside the bundle: %v, %v", left, err)
	}
	return unpack(t, &out), sum
}

func unpack(t testing.TB, from io.Reader) map[string]string {
	t.Helper()
	packed, err := gzip.NewReader(from)
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]string{}
	for in := tar.NewReader(packed); ; {
		h, err := in.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		name, ok := strings.CutPrefix(h.Name, "root/")
		if _, twice := files[name]; !ok || twice {
			t.Errorf("%s is twice or elsewhere", h.Name)
		}
		files[name] = string(text)
	}
}

// listOf is an answer of the API.
func listOf(kind, version string, items ...any) map[string]any {
	return map[string]any{"kind": kind + "List", "apiVersion": version, "metadata": map[string]any{}, "items": orEmpty(items)}
}

func object(namespace, name string, more map[string]any) map[string]any {
	meta := map[string]any{"name": name, "managedFields": []any{"much"}}
	if namespace != "" {
		meta["namespace"] = namespace
	}
	out := map[string]any{"metadata": meta}
	for k, v := range more {
		out[k] = v
	}
	return out
}

// newAPI has two namespaces, some pods on two pages, and a kind that the cluster was taught.
func newAPI() *apiServer {
	s := &apiServer{objects: map[string]any{
		"/version": map[string]any{"major": "1", "minor": "36", "gitVersion": "v1.36.3"},
		"/apis": map[string]any{"kind": "APIGroupList", "groups": []any{map[string]any{
			"name": "apps", "versions": []any{map[string]any{"groupVersion": "apps/v1", "version": "v1"}},
			"preferredVersion": map[string]any{"groupVersion": "apps/v1", "version": "v1"},
		}}},
		"/api/v1":       map[string]any{"kind": "APIResourceList", "groupVersion": "v1", "resources": []any{map[string]any{"name": "pods", "namespaced": true, "kind": "Pod"}}},
		"/apis/apps/v1": map[string]any{"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "apps/v1", "resources": []any{}},
	}}
	for _, r := range resources {
		version := strings.TrimPrefix(r.api[:strings.LastIndexByte(r.api, '/')], "/apis/")
		s.objects[r.api] = listOf(strings.ToUpper(r.name[:1])+r.name[1:], strings.TrimPrefix(version, "/api/"))
	}
	s.objects["/api/v1/namespaces"] = listOf("Namespace", "v1", object("", "default", nil), object("", "kube-system", nil))
	s.objects["/api/v1/nodes"] = listOf("Node", "v1", object("", "m1", nil))
	first := listOf("Pod", "v1", object("default", "a", nil), object("kube-system", "b", nil))
	first["metadata"] = map[string]any{"continue": "1"}
	s.objects["/api/v1/pods"] = []any{first, listOf("Pod", "v1", object("kube-system", "c", nil))}
	s.objects["/apis/apiextensions.k8s.io/v1/customresourcedefinitions"] = listOf("CustomResourceDefinition", "apiextensions.k8s.io/v1", object("", "things.site.io", map[string]any{
		"spec": map[string]any{
			"group": "site.io", "scope": "Namespaced", "names": map[string]any{"plural": "things"},
			"versions": []any{map[string]any{"name": "v1a", "served": true, "storage": false}, map[string]any{"name": "v1", "served": true, "storage": true}},
		},
	}))
	s.objects["/apis/site.io/v1/things"] = listOf("Thing", "site.io/v1", object("default", "one", nil))
	return s
}
