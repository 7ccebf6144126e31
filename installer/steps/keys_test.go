package steps

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/status"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// overheard is a simulated host that keeps every byte that is sent to it.
type overheard struct {
	name string
	sim  *agenttest.Machine
	mu   sync.Mutex
	sent bytes.Buffer
}

func (h *overheard) Name() string { return h.name }
func (h *overheard) Close() error { return nil }

func (h *overheard) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sent.Write(p)
}

func (h *overheard) Run(ctx context.Context, c host.Cmd) error {
	h.Write([]byte(strings.Join(c.Argv, " ")))
	if c.Argv[0] == "uname" {
		_, err := io.WriteString(c.Stdout, machineOf[runtime.GOARCH]+"\n")
		return err
	}
	if len(c.Argv) != 3 || c.Argv[1] != "node" {
		return nil
	}
	return h.sim.Serve(ctx, c.Argv[2], io.TeeReader(c.Stdin, h), c.Stdout)
}

func (h *overheard) Put(_ context.Context, name string, mode fs.FileMode, r io.Reader) error {
	content, err := io.ReadAll(io.TeeReader(r, h))
	if err != nil {
		return err
	}
	name = filepath.Join(h.sim.Root, name)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, content, mode)
}

// allReady is what the API says of the Nodes of a run's hosts.
func allReady(r *Run) string {
	var b strings.Builder
	for _, t := range r.Targets {
		ip := t.IP.String()
		fmt.Fprintf(&b, "node %q\nat %q\nready \"True\"\n", "host-"+ip[len(ip)-1:], ip)
	}
	return b.String()
}

// simulate makes empty simulated hosts of the run's targets.
func simulate(t *testing.T, r *Run) map[string]*overheard {
	t.Helper()
	hosts := map[string]*overheard{}
	for _, target := range r.Targets {
		ip := target.IP.String()
		name := "host-" + ip[len(ip)-1:]
		root := t.TempDir()
		mounts := filepath.Join(root, "proc/self/mounts")
		if err := errors.Join(os.MkdirAll(filepath.Dir(mounts), 0o755), os.WriteFile(mounts, []byte("root / tmpfs rw 0 0\n"), 0o600)); err != nil {
			t.Fatal(err)
		}
		hosts[ip] = &overheard{name: ip, sim: &agenttest.Machine{
			Root: root,
			Facts: func(agent.FactsRequest) agent.Facts {
				return agent.Facts{Hostname: name, Modules: map[string]bool{"ip_vs": true}, Nameservers: []agent.Nameserver{{Address: "10.0.0.1", Answers: true}}}
			},
			Exec: func(_ context.Context, q agent.ExecRequest) (agent.ExecResult, error) {
				if q.Argv[0] == "systemctl" && q.Argv[1] == "show" { // every unit that there is runs
					unit, _ := os.ReadFile(filepath.Join(root, "etc/systemd/system", q.Argv[len(q.Argv)-1]))
					return agent.ExecResult{Stdout: append([]byte("ActiveState=active\n"), unit...)}, nil
				}
				if slices.Contains(q.Argv, "token") {
					return agent.ExecResult{Stdout: []byte("abcdef.0123456789abcdef\n")}, nil
				}
				if slices.Contains(q.Argv, "nodes") {
					return agent.ExecResult{Stdout: []byte("node \"host-2\"\nready \"True\"\nnode \"host-3\"\nready \"True\"\nnode \"host-4\"\nready \"True\"\n")}, nil
				}
				if slices.Contains(q.Argv, "members") {
					return agent.ExecResult{Stdout: []byte(`{"members":[{"id":"1","name":"first","peerURLs":["https://127.0.0.2:2380"],"answers":true}],"leader":true}`)}, nil
				}
				if slices.Contains(q.Argv, "nodes") {
					return agent.ExecResult{Stdout: []byte(allReady(r))}, nil
				}
				return agent.ExecResult{Stdout: []byte("{}")}, nil
			},
			Script: func(context.Context, agent.ScriptRequest, func(string) error) (int, error) { return 0, nil },
		}}
	}
	return hosts
}

// installOn runs the pipeline up to the commands of the images on simulated hosts, and returns the number of changes.
func installOn(t *testing.T, r *Run, hosts map[string]*overheard) int {
	t.Helper()
	r.Dial = func(_ context.Context, t *fleet.Target) (host.Host, error) { return hosts[t.IP.String()], nil }
	if err := r.Read(t.Context()); err != nil {
		t.Fatal(err)
	}
	if p := r.Open(t.Context()); len(p) > 0 {
		t.Fatal(p)
	}
	if err := r.secrets.AdoptAndSettle(t.Context()); err != nil {
		t.Fatal(err)
	}
	timings, err := installer.RunSteps(t.Context(), until("guest")[1:], r, r.Report)
	if err != nil {
		t.Fatal(err)
	}
	return installer.Changes(timings)
}

// tree gives every file below a directory, with its content.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		content, err := os.ReadFile(path)
		out[strings.TrimPrefix(path, dir)] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestAClusterTakenOverFromAnotherMachineStaysAsItIs(t *testing.T) {
	file := makeBundle(t, stepstest.Cluster())
	made := []installer.Host{hostAt("127.0.0.2", 0, true), hostAt("127.0.0.3", 0, true), hostAt("127.0.0.4", 0, false)}
	first := newRun(t, file, t.Output(), made...)
	hosts := simulate(t, first)
	if installOn(t, first, hosts) == 0 {
		t.Fatal("nothing was done")
	}
	closeRun(t, first)
	before := map[string]map[string]string{}
	for ip, h := range hosts {
		before[ip] = tree(t, h.sim.Root)
	}
	// Another control machine: it knows the hosts of the cluster and nothing else.
	t.Setenv("SEALOS_RUNTIME_ROOT", t.TempDir())
	second := newRun(t, file, t.Output(), made...)
	if changes := installOn(t, second, hosts); changes != 0 {
		t.Errorf("%d changes", changes)
	}
	closeRun(t, second)
	for ip, h := range hosts {
		for name, content := range tree(t, h.sim.Root) {
			if before[ip][name] != content {
				t.Errorf("%s: %s is another", ip, name)
			}
		}
	}
}

func TestPrivateKeysLeaveThisMachineOnlyToMasters(t *testing.T) {
	r := newRun(t, makeBundle(t, stepstest.Cluster()), t.Output(), hostAt("127.0.0.2", 0, true), hostAt("127.0.0.3", 0, true), hostAt("127.0.0.4", 0, false), hostAt("127.0.0.5", 0, false))
	hosts := simulate(t, r)
	installOn(t, r, hosts)
	secrets := []string{"PRIVATE KEY", "client-key-data", "LS0tLS1CRUdJTiBQUklWQVRFIEtFWS", "LS0tLS1CRUdJTiBFQyBQUklWQVRFIEtFWS"}
	for _, target := range r.Targets {
		h := hosts[target.IP.String()]
		if !target.Joined() {
			t.Fatalf("%s has not joined: nothing is shown", target.IP)
		}
		keys := 0
		err := filepath.WalkDir(h.sim.Root, func(path string, d fs.DirEntry, err error) error {
			if err != nil || !d.Type().IsRegular() {
				return err
			}
			content, err := os.ReadFile(path)
			if err != nil || !bytes.Contains(content, []byte("PRIVATE KEY")) && !bytes.Contains(content, []byte("client-key-data")) {
				return err
			}
			keys++
			info, err := d.Info()
			if err == nil && info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %s has mode %v", target.IP, path, info.Mode().Perm())
			}
			if !target.Master {
				t.Errorf("%s, a node, holds %s", target.IP, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if target.Master && keys < 12 {
			t.Errorf("%s, a master, has %d files with keys", target.IP, keys)
		}
		for _, secret := range secrets {
			if !target.Master && bytes.Contains(h.sent.Bytes(), []byte(secret)) {
				t.Errorf("%s, a node, was sent %q", target.IP, secret)
			}
		}
		if target.Master && !bytes.Contains(h.sent.Bytes(), []byte(secrets[2])) {
			t.Error("keys are not recognised on the wire: nothing is shown of nodes")
		}
	}
}

func TestCertificatesAreShownAndOnlyWhatIsNamedIsRenewed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		file := makeBundle(t, stepstest.Cluster())
		made := []installer.Host{hostAt("127.0.0.2", 0, true), hostAt("127.0.0.3", 0, true)}
		first := newRun(t, file, t.Output(), made...)
		hosts := simulate(t, first)
		installOn(t, first, hosts)
		closeRun(t, first)
		before := tree(t, hosts["127.0.0.3"].sim.Root)
		work := func(change bool, renew ...string) (found []HostCertificates, changes int, err error) {
			r := newRun(t, file, t.Output(), made...)
			defer closeRun(t, r)
			r.Dial = func(_ context.Context, t *fleet.Target) (host.Host, error) { return hosts[t.IP.String()], nil }
			timings, err := installer.RunSteps(t.Context(), Certificates(change, renew, func(c []HostCertificates) { found = c }), r, r.Report)
			return found, installer.Changes(timings), err
		}
		found, changes, err := work(false)
		if err != nil || changes != 0 || len(found) != 2 || len(found[0].Certificates) != 15 || len(found[1].Certificates) != 14 {
			t.Fatalf("%d changes, %v, found %+v", changes, err, found)
		}
		asked := newRun(t, file, t.Output(), made...)
		asked.Dial = func(_ context.Context, t *fleet.Target) (host.Host, error) { return hosts[t.IP.String()], nil }
		room := status.Room{Site: asked.Site, State: asked.State}
		status, err := room.Ask(t.Context())
		if err != nil || len(status.Hosts) != 2 || !status.Hosts[1].Joined || time.Until(status.Hosts[1].CertsEnd) < 99*365*24*time.Hour || status.Ready || len(status.Waiting) == 0 {
			t.Errorf("status %+v, %v", status, err) // the pods that it waits for are not simulated
		}
		closeRun(t, asked)
		_, changes, err = work(true, "apiserver", "scheduler.conf")
		if err != nil || changes != 6 { // certificate, key and kubeconfig of two masters
			t.Errorf("%d changes, %v", changes, err)
		}
		var changed []string
		for name, content := range tree(t, hosts["127.0.0.3"].sim.Root) {
			if before[name] != content {
				changed = append(changed, strings.TrimPrefix(name, installer.KubeDir+"/"))
			}
		}
		slices.Sort(changed)
		if want := []string{"pki/apiserver.crt", "pki/apiserver.key", "scheduler.conf"}; !slices.Equal(changed, want) {
			t.Errorf("changed %v, want %v", changed, want)
		}
		if _, _, err := work(true, "apisever"); err == nil || !strings.Contains(err.Error(), `did you mean "apiserver"?`) {
			t.Errorf("a name that is none: %v", err)
		}
	})
}
