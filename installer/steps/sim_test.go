package steps

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/ground/progress"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/leaving"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/settings"
	"github.com/sealbuild/sealbuild/installer/site"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

// world is a site, and the control machine that installs it.
type world struct {
	*stepstest.Site
	dir     string // of the control machine's state
	bundle  []byte
	masters int
	take    int              // how many machines the command names, from the first on; 0: all
	named   []installer.Host // in place of what take says
	docs    [][]byte         // for kubeadm, of the operator
	jobs    int
	timeout time.Duration
	env     map[string]string // as -e gives it
	// settings is what the verb wants of settings in force.
	settings settings.Wish

	ignore   []string                                   // --ignore-check
	upgrade  bool                                       // the verb is upgrade or rollback
	parallel string                                     // --parallel-nodes
	wish     func() *installer.Cluster                  // in place of all hosts, as a record gives them
	verb     func(w *world) (*installer.Cluster, error) // in place of all hosts, out of what is recorded
	dead     bool                                       // --dead
	lax      bool                                       // in place of add or delete: apply, or run
	leaveOut []string
	confirm  func([]leaving.Loss) error
	told     io.Writer     // what is reported to the operator; nil: it is dropped
	sink     progress.Sink // what takes the events in its place
}

// ownKubeconfig is the kubeconfig of an administrator who has another cluster of kubeadm's, with the same names in it.
const ownKubeconfig = `apiVersion: v1
kind: Config
clusters:
  - {name: kubernetes, cluster: {server: "https://10.1.1.1:6443", certificate-authority-data: dGhlaXJz}}
contexts:
  - {name: kubernetes-admin@kubernetes, context: {cluster: kubernetes, user: kubernetes-admin, namespace: shop}}
current-context: kubernetes-admin@kubernetes
users:
  - {name: kubernetes-admin, user: {client-certificate-data: dGhlaXJz, client-key-data: dGhlaXJz}}
`

// memoryDir is a directory of the test, in memory if possible: thousands of small files are synced in it.
func memoryDir(t testing.TB) string {
	t.Helper()
	parent := "/dev/shm"
	if info, err := os.Stat(parent); err != nil || !info.IsDir() {
		parent = ""
	}
	dir, err := os.MkdirTemp(parent, "sealbuild-sim-")
	if err != nil {
		dir, err = os.MkdirTemp("", "sealbuild-sim-")
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func simImages() []stepstest.Image {
	images := stepstest.Cluster()
	for _, name := range []string{"init", "clean", "clean-registry"} {
		images[0].Files["scripts/"+name+".sh"] = "echo " + name + "\n"
	}
	images[0].Config.Cmd = []string{"echo first", "echo second"}
	return images
}

func simBundle(t testing.TB) []byte { return bundleOf(t, simImages()) }

func bundleOf(t testing.TB, images []stepstest.Image) []byte {
	t.Helper()
	var buf bytes.Buffer
	if err := stepstest.Write(&buf, []byte("the stub\n"), images); err != nil {
		t.Fatal(err)
	}
	return buf.Bytes()
}

// newWorld makes hosts below dir. The state has the registry's password already, hashed as cheaply as possible.
func newWorld(t testing.TB, dir string, file []byte, masters, workers int) *world {
	t.Helper()
	site, err := stepstest.NewSite(filepath.Join(dir, "hosts"), masters+workers)
	if err != nil {
		t.Fatal(err)
	}
	// The second machine's administrator has a kubeconfig of his own.
	kubeconfig := filepath.Join(site.Machines()[1].Root(), userKubeconfig)
	if err := errors.Join(os.MkdirAll(filepath.Dir(kubeconfig), 0o755), os.WriteFile(kubeconfig, []byte(ownKubeconfig), 0o600)); err != nil {
		t.Fatal(err)
	}
	w := &world{Site: site, dir: filepath.Join(dir, "state"), bundle: file, masters: masters, jobs: 4, timeout: 4 * time.Second}
	// In proportion to three minutes of patience, but for what a test seldom waits for.
	site.Pace = stepstest.Pace{Boot: w.timeout / 5, Lease: w.timeout / 5, Evict: w.timeout / 5, Pod: w.timeout / 400, Elect: w.timeout / 200, Steady: w.timeout / 80}
	if err := os.MkdirAll(w.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	const password = "a-password-of-this-cluster"
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"registry-password": password + "\n", "registry-push-password": password + "\n",
		"registry_htpasswd": "# pull-only: admin\nadmin:" + string(hash) + "\n" + payload.PushUser + ":" + string(hash) + "\n",
	} {
		if err := os.WriteFile(filepath.Join(w.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// clone is a world as this one is now, below another directory.
func (w *world) clone(t testing.TB, dir string) *world {
	t.Helper()
	site, err := w.Clone(filepath.Join(dir, "hosts"))
	if err != nil {
		t.Fatal(err)
	}
	c := *w
	c.Site, c.dir, c.wish, c.leaveOut, c.told = site, filepath.Join(dir, "state"), nil, nil, nil
	if err := os.CopyFS(c.dir, os.DirFS(w.dir)); err != nil {
		t.Fatal(err)
	}
	return &c
}

func (w *world) hosts() []installer.Host {
	if w.named != nil {
		return w.named
	}
	var out []installer.Host
	for i, m := range w.Machines() {
		if w.take == 0 || i < w.take {
			out = append(out, installer.Host{IP: netip.MustParseAddr(m.IP), Master: i < w.masters})
		}
	}
	return out
}

// run runs a command once, as cmd/sealinstall does, until it dies if a fault of the site kills it.
func (w *world) run(ctx context.Context, pipeline []Step) (changes int, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	session := w.Start(cancel)
	b, err := bundle.Open(bytes.NewReader(w.bundle), int64(len(w.bundle)))
	if err != nil {
		return 0, err
	}
	c := &installer.Cluster{Hosts: w.hosts(), Env: maps.Clone(w.env), Kubeadm: w.docs}
	if w.wish != nil {
		c = w.wish()
	}
	options := Options{State: &installer.State{Dir: w.dir}, LeaveOut: w.leaveOut, Settings: w.settings, DrainTimeout: w.timeout / 2, Upgrade: w.upgrade, ParallelNodes: w.parallel, IgnoreChecks: w.ignore}
	if w.upgrade {
		options.Settings.Apply = true
	}
	if w.verb != nil {
		if c, err = w.verb(w); err != nil {
			return 0, err
		}
		options.Confirm = w.confirm
		options.Exists, options.Absence = !w.lax, site.Absence{GoOn: true, Dead: w.dead}
	}
	if err := c.Complete(); err != nil {
		return 0, err
	}
	// Without the lock of the state, which is a file of one process: see TestTwoInstallersAtOnce.
	rep := installer.NewReporter(cmp.Or[io.Writer](w.told, io.Discard), io.Discard, false)
	if w.sink != nil {
		rep = installer.ReportTo(w.sink, io.Discard, false)
	}
	r := New(c, b, options, fleet.Options{Report: rep, Jobs: w.jobs, Timeout: w.timeout})
	r.Dial = func(ctx context.Context, t *fleet.Target) (host.Host, error) { return session.Dial(ctx, t.IP.String()) }
	defer r.Close() // the locks of one that died are gone already
	timings, err := installer.RunSteps(ctx, pipeline, r, r.Report)
	changes = installer.Changes(timings)
	if session.Dead() {
		return changes, errors.Join(errDead, err)
	}
	switch {
	case pipeline[0].Name == "check":
		err = errors.Join(err, r.Ledger.Record(context.WithoutCancel(ctx), err, changes))
	case len(pipeline) > 1 && pipeline[1].Name == "reset-kubernetes" && err == nil:
		err = r.Ledger.Forget()
	}
	if w.sink != nil {
		remedy := ""
		if err != nil {
			remedy = "mend the cause and run the same command again"
		}
		took := time.Duration(0)
		for _, t := range timings {
			took += t.Duration
		}
		TellEnd(ctx, r, took, changes, "/root/.sealos/plant-7/logs/run.log", err, remedy)
	}
	if session.Dead() {
		return changes, errors.Join(errDead, err)
	}
	return changes, err
}

var errDead = errors.New("the installer was killed")

// trees lists what is on each host.
func (w *world) trees(t testing.TB) []map[string]string {
	t.Helper()
	var out []map[string]string
	for _, m := range w.Machines() {
		tree, err := stepstest.Tree(m.Root())
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, tree)
	}
	return out
}

// differences compares what is on hosts: names and modes of all files, content where it is the same in every world.
func differences(want, got map[string]string) []string {
	var out []string
	for name, w := range want {
		g, ok := got[name]
		mode, _, _ := strings.Cut(w, " ")
		switch {
		case !ok:
			out = append(out, "missing "+name)
		case !strings.HasPrefix(g, mode) || g != w && sameEverywhere(name):
			out = append(out, fmt.Sprintf("%s is %s, not %s", name, g, w))
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			out = append(out, "left over "+name)
		}
	}
	slices.Sort(out)
	return out
}

func sameEverywhere(name string) bool {
	if strings.Contains(name, "/registry_") { // certificates
		return false
	}
	return strings.HasPrefix(name, "/var/lib/registry/") || strings.HasPrefix(name, "/var/lib/sealos/bin/") || strings.Contains(name, "/rootfs/") || strings.Contains(name, "/applications/") || strings.HasPrefix(name, "/etc/hosts") || strings.HasPrefix(name, "/root/.kube/config.before")
}

// repeated lists what was done again on a host although it was complete.
func (w *world) repeated() []string {
	var out []string
	for _, m := range w.Machines() {
		done := m.Done()
		for _, name := range slices.Sorted(maps.Keys(done)) {
			if done[name] > 1 || name == "kubeadm reset" {
				out = append(out, fmt.Sprintf("%s: %s %d times", m.IP, name, done[name]))
			}
		}
	}
	return out
}

func TestSimulatedClusterIsInstalledOnceAndResetWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := memoryDir(t)
		w := newWorld(t, dir, simBundle(t), 3, 2)
		before := w.trees(t)
		w.Arm(nil)
		start := time.Now()
		if _, err := w.run(t.Context(), Install()); err != nil {
			t.Fatal(err)
		}
		t.Logf("first run %s, %d events", time.Since(start), len(w.Trace()))
		if bad := append(w.Unsound(3), w.repeated()...); len(bad) > 0 {
			t.Errorf("after the first run:\n%s", strings.Join(bad, "\n"))
		}
		made := w.trees(t)
		start = time.Now()
		changes, err := w.run(t.Context(), Install())
		t.Logf("second run %s", time.Since(start))
		if err != nil || changes != 0 {
			t.Errorf("second run: %d changes, %v", changes, err)
		}
		for i, tree := range w.trees(t) {
			if diff := differences(made[i], tree); len(diff) > 0 {
				t.Errorf("host %d after the second run:\n%s", i, strings.Join(diff, "\n"))
			}
		}
		w.Arm(nil)
		if _, err := w.run(t.Context(), Reset()); err != nil {
			t.Fatal(err)
		}
		t.Logf("reset: %d events", len(w.Trace()))
		for i, tree := range w.trees(t) {
			if diff := differences(before[i], tree); len(diff) > 0 {
				t.Errorf("host %d after the reset:\n%s", i, strings.Join(diff, "\n"))
			}
		}
		if bad := w.Gone(); len(bad) > 0 {
			t.Error(bad)
		}
	})
}
