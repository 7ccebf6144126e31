package steps

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/ledger"
	"github.com/sealbuild/sealbuild/installer/status"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
	"github.com/sealbuild/sealbuild/test/detector"
)

// conforms checks what is printed of a status against the published schema.
func conforms(t testing.TB, s status.Status) {
	t.Helper()
	text, err := os.ReadFile("../../docs/schemas/status.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("status", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("status")
	if err != nil {
		t.Fatal(err)
	}
	printed, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := jsonschema.UnmarshalJSON(bytes.NewReader(printed))
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(answer); err != nil {
		t.Errorf("it does not conform: %v\n%s", err, printed)
	}
}

// recorded makes the looker know the cluster as the machine does that made it.
func (w *world) recordedStatus(t testing.TB) status.Status {
	t.Helper()
	name := filepath.Join(w.dir, ledger.ClusterfileName)
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	c, err := installer.ParseClusterfile(name, text)
	if err != nil {
		t.Fatal(err)
	}
	c.Kept, c.Images = c.Images, nil
	if err := c.Complete(); err != nil {
		t.Fatal(err)
	}
	r := w.looker(t, t.Context(), io.Discard, c.Hosts...)
	r.Cluster = c
	s, err := (&status.Room{Site: r.Site, State: r.State}).Ask(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestEveryStatusOfTheSimulatedSiteConformsToItsSchema(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fresh := newWorld(t, memoryDir(t), simBundle(t), 1, 1)
		conforms(t, fresh.status(t))
		w := installed(t, 3, 2)
		w.Kubelet = "v1.36.3"
		conforms(t, w.status(t))
		conforms(t, w.recordedStatus(t))
		w.Fill(2<<30, "NOSPACE")
		w.Machines()[4].Leave("/var/lib/containerd", 1<<40)
		conforms(t, w.status(t))
		time.Sleep(time.Hour)
		w.Machines()[4].Leave("/var/lib/containerd", 1<<39)
		w.Machines()[4].StopKubelet()
		conforms(t, w.status(t))
		w.Hang()
		conforms(t, w.status(t))
		for _, m := range w.Machines() {
			m.PowerOff()
		}
		conforms(t, w.status(t))
	})
}

func TestStatusShowsAWholeClusterOnOneScreen(t *testing.T) {
	w := installed(t, 3, 2)
	w.Kubelet = "v1.36.3"
	w.Fill(20 << 20)
	s := w.recordedStatus(t)
	mustSay(t, s, true)
	if !s.Asked || s.Etcd == nil || !s.Etcd.Matches || !s.Etcd.Leader || len(s.Etcd.Members) != 3 || !s.Etcd.Members[0].Leads || s.Etcd.Members[2].Size != 20<<20 {
		t.Errorf("etcd: %+v", s.Etcd)
	}
	if s.Registry == nil || !s.Registry.Complete || !s.Registry.ByBundle || s.Registry.Blobs == 0 {
		t.Errorf("registry: %+v", s.Registry)
	}
	servers := []status.Server{{Address: "10.77.0.1:6443", Weight: 1}, {Address: "10.77.0.2:6443", Weight: 1}, {Address: "10.77.0.3:6443", Weight: 1}}
	for i, h := range s.Hosts {
		if h.Kubelet != "v1.36.3" || h.Runtime != "containerd://2.1.4" || h.Installer != "v1.2.3" || len(h.Disks) == 0 || h.NodeReady != "True" {
			t.Errorf("host: %+v", h)
		}
		if i < 3 && (h.Registry == nil || !h.Registry.Answers || h.Registry.Missing != 0 || len(h.Certificates) < 10 || h.FirstCert == "") {
			t.Errorf("master: %+v", h)
		}
		if i >= 3 {
			if diff := cmp.Diff(servers, h.Servers); diff != "" {
				t.Errorf("servers of the virtual address on %s (-want +got):\n%s", h.Address, diff)
			}
		}
	}
	text := s.Text()
	for line := range strings.Lines(text) {
		if len([]rune(line)) > 81 {
			t.Errorf("wider than 80 columns: %s", line)
		}
	}
	if n := strings.Count(text, "\n"); n > 24 {
		t.Errorf("%d lines do not fit on one screen:\n%s", n, text)
	}
	text = strings.Join(strings.Fields(text), " ")
	for _, want := range []string{
		"versions: kubelet v1.36.3, containerd 2.1.4, installer v1.2.3 on 10.77.0.1-10.77.0.5 (5 hosts)",
		"etcd: 3 members, leader 10.77.0.1, database 20 MiB of 2.0 GiB (0 %)",
		"complete on 10.77.0.1-10.77.0.3 (3 hosts)", "virtual address: 10.77.0.1:6443, 10.77.0.2:6443, 10.77.0.3:6443 on", "cluster default: ready",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
}

// A dead host, or an API that hangs, costs no more than the limit: time passes in the bubble as the program lets it pass.
func TestStatusAnswersInTimeWhateverIsDead(t *testing.T) {
	for what, c := range map[string]struct {
		dead int
		fail func(w *world)
		want []string
	}{
		"nothing":           {0, func(*world) {}, nil},
		"one master":        {1, func(*world) {}, []string{"10.77.0.1: host is unreachable", "node host-1 (10.77.0.1) is not Ready"}},
		"two masters":       {2, func(*world) {}, []string{"10.77.0.2: host is unreachable", "etcd has no majority: 1 of 3 masters are reached"}},
		"three masters":     {3, func(*world) {}, []string{"10.77.0.3: host is unreachable", "no master that is reached is in the cluster"}},
		"an API that hangs": {0, func(w *world) { w.Hang() }, []string{"the cluster does not answer, or etcd has no majority: 3 of 3 masters are reached, none answers: no answer for 2.8 s"}},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := installed(t, 3, 2)
				w.Latency = func(string) time.Duration { return 100 * time.Millisecond }
				r := w.looker(t, t.Context(), io.Discard)
				dial := r.Dial
				r.Dial = func(ctx context.Context, t *fleet.Target) (host.Host, error) {
					if slices.ContainsFunc(w.Machines()[:c.dead], func(m *stepstest.Machine) bool { return m.IP == t.IP.String() }) {
						<-ctx.Done() // nothing comes back from a host without power
						return nil, &host.Error{Host: t.IP.String(), Kind: host.ErrUnreachable, Err: context.Cause(ctx)}
					}
					return dial(ctx, t)
				}
				for _, m := range w.Machines()[:c.dead] {
					m.PowerOff()
				}
				w.noticed(t)
				c.fail(w)
				began := time.Now()
				s, err := (&status.Room{Site: r.Site, State: r.State}).Ask(t.Context())
				if took := time.Since(began); err != nil || took > 3*time.Second {
					t.Errorf("after %s: %v", took, err)
				}
				mustSay(t, s, what == "nothing", c.want...)
				conforms(t, s)
				for i, h := range s.Hosts {
					if h.Reached != (i >= c.dead) || h.Joined != h.Reached {
						t.Errorf("host: %+v", h)
					}
				}
			})
		})
	}
}

func TestStatusOfTwoHundredHostsIsNotHeldUpByTenThatHang(t *testing.T) {
	hosts := 200
	if detector.On { // all of them without the detector (make unit)
		hosts = 60
	}
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, memoryDir(t), simBundle(t), 3, hosts-3)
		w.jobs, w.timeout = 50, time.Minute
		if _, err := w.run(t.Context(), Install()); err != nil {
			t.Fatal(err)
		}
		w.Latency = func(string) time.Duration { return 300 * time.Millisecond }
		r := w.looker(t, t.Context(), io.Discard)
		dial := r.Dial
		r.Dial = func(ctx context.Context, t *fleet.Target) (host.Host, error) {
			link, err := dial(ctx, t)
			if i := slices.IndexFunc(r.Targets, func(o *fleet.Target) bool { return o == t }); i >= 10 && i < 20 {
				return endless{link}, err
			}
			return link, err
		}
		began := time.Now()
		s, err := (&status.Room{Site: r.Site, State: r.State}).Ask(t.Context())
		t.Logf("%d hosts, 10 of which hang: %s", hosts, time.Since(began))
		if took := time.Since(began); err != nil || took > 10*time.Second {
			t.Errorf("after %s: %v", took, err)
		}
		reached := 0
		for _, h := range s.Hosts {
			if h.Reached && h.Joined {
				reached++
			}
		}
		if reached != hosts-10 || len(s.Problems) != 10 {
			t.Errorf("%d hosts answered; problems: %v", reached, s.Problems)
		}
		if n := strings.Count(s.Text(), "\n"); n > 40 {
			t.Errorf("%d lines:\n%s", n, s.Text())
		}
		time.Sleep(2 * time.Hour) // the hosts that hang give up
	})
}

// endless is a host that runs commands which do not end, also when they are told to.
type endless struct{ host.Host }

func (endless) Run(ctx context.Context, _ host.Cmd) error {
	<-ctx.Done()
	time.Sleep(time.Hour)
	return ctx.Err()
}

func TestStatusTellsAtWhichStepAnotherInstallerWorks(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 3, 1)
	started, release := make(chan struct{}), make(chan struct{})
	w.Latency = func(what string) time.Duration {
		if what == "kubeadm join node" {
			close(started)
			<-release
		}
		return 0
	}
	w.timeout = time.Minute
	ended := make(chan error, 1)
	go func() {
		_, err := w.run(t.Context(), Install())
		ended <- err
	}()
	select {
	case <-started:
	case err := <-ended:
		t.Fatalf("the run ended early: %v", err)
	}
	s := w.status(t)
	close(release)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if s.LockedBy == "" || s.LockedStep != "join-nodes" || !s.Hosts[0].Joined || s.Hosts[3].Joined {
		t.Errorf("locked by %q at %q: %+v", s.LockedBy, s.LockedStep, s.Hosts)
	}
	if len(s.Undone) > 0 {
		t.Errorf("what the run does is told as left undone: %q", s.Undone)
	}
	if text := s.Text(); !strings.Contains(strings.Join(strings.Fields(text), " "), "another sealinstall works on the cluster now: process ") || !strings.Contains(text, "join-nodes") {
		t.Errorf("text:\n%s", text)
	}
}

func TestStatusTellsOfWorkLeftUndone(t *testing.T) {
	w := newWorld(t, memoryDir(t), simBundle(t), 2, 1)
	w.Arm(&stepstest.Fault{Kind: stepstest.InstallerDies, At: stepstest.Event{Host: "10.77.0.2", Kind: "after", What: "/var/lib/sealos/data/default/journal/kubeadm-begun", N: 1}})
	if _, err := w.run(t.Context(), Install()); !errors.Is(err, errDead) {
		t.Fatalf("nobody was killed: this test sees nothing: %v", err)
	}
	w.Arm(nil)
	s := w.recordedStatus(t)
	mustSay(t, s, false, "a change was begun and did not come to its end", "10.77.0.2: kubeadm was begun there and did not come to its end", "10.77.0.3: the cluster was begun there and the host has not joined")
}

func TestStatusOfHostsWithAnOlderInstallerTellsWhatTheyCan(t *testing.T) {
	w := installed(t, 2, 1)
	r := w.looker(t, t.Context(), io.Discard)
	dial := r.Dial
	r.Dial = func(ctx context.Context, t *fleet.Target) (host.Host, error) {
		link, err := dial(ctx, t)
		return older{link}, err
	}
	s, err := (&status.Room{Site: r.Site, State: r.State}).Ask(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	mustSay(t, s, true, "10.77.0.1: its installer is older and cannot tell how its member of etcd is, nor what its registry holds")
	conforms(t, s)
}

// older is a host whose stub knows nothing of what came later.
type older struct{ host.Host }

func (o older) Run(ctx context.Context, c host.Cmd) error {
	if len(c.Argv) < 3 || c.Argv[1] != "node" {
		return o.Host.Run(ctx, c)
	}
	var request bytes.Buffer
	line, err := readLine(c.Stdin, &request)
	if err != nil {
		return err
	}
	c.Stdin = io.MultiReader(&request, c.Stdin)
	refuse := func(why string) error {
		text, err := json.Marshal(map[string]any{"error": agent.Error{Code: agent.CodeProtocol, Message: why}})
		if err != nil {
			return err
		}
		_, err = c.Stdout.Write(append(text, '\n'))
		return errors.Join(err, &host.ExitError{Host: o.Name(), Argv: c.Argv, Code: 1})
	}
	switch {
	case c.Argv[2] == agent.VerbBlobs:
		return refuse("no verb")
	case strings.Contains(line, `"lean":true`):
		return refuse("unknown field")
	case strings.Contains(line, `"own"`):
		result, err := json.Marshal(map[string]any{"result": agent.ExecResult{Code: 2, Stderr: []byte("error: unknown command or argument \"own\" for \"sealinstall etcd\"\n")}})
		if err != nil {
			return err
		}
		_, err = c.Stdout.Write(append(result, '\n'))
		return err
	}
	return o.Host.Run(ctx, c)
}

// readLine reads the line of a request, and keeps it.
func readLine(r io.Reader, keep *bytes.Buffer) (string, error) {
	var b [1]byte
	for {
		if _, err := io.ReadFull(r, b[:]); err != nil {
			return "", err
		}
		keep.WriteByte(b[0])
		if b[0] == '\n' {
			return keep.String(), nil
		}
	}
}

func TestStatusBringsNothingToAHost(t *testing.T) {
	w := installed(t, 1, 1)
	w.Arm(nil)
	mustSay(t, w.status(t), true)
	if len(w.Trace()) == 0 {
		t.Error("nothing was asked: this test sees nothing")
	}
	for _, e := range w.Trace() {
		if slices.Contains([]string{"put", "before", "removing", "staged", "after"}, e.Kind) || e.What == "lock" || e.What == "installer" {
			t.Errorf("%s", e)
		}
	}
}
