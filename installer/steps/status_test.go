package steps

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/ledger"
	"github.com/sealbuild/sealbuild/installer/payload"
	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

func TestInputsOfAMarkTellValuesApart(t *testing.T) {
	type kv = map[string]string
	all := []string{
		journal.Inputs(), journal.Inputs(""), journal.Inputs("a", "b"), journal.Inputs("ab"), journal.Inputs("b", "a"), journal.Inputs([]string{"a", "b"}),
		journal.Inputs(kv{"a": "1", "b": "2"}), journal.Inputs(kv{"a": "1", "b": "3"}), journal.Inputs([]byte("x")), journal.Inputs(nil),
	}
	if n := len(slices.Compact(slices.Sorted(slices.Values(all)))); n != len(all) {
		t.Errorf("%d digests of %d different inputs", n, len(all))
	}
	// A map has no order, and neither may its digest.
	many := kv{}
	for i := range 50 {
		many[fmt.Sprint(i)] = "x"
	}
	first := journal.Inputs(many)
	for range 20 {
		if journal.Inputs(many) != first {
			t.Fatal("the same map gives two digests")
		}
	}
}

func TestWorkIsDoneAgainOnlyWhenItsInputsChange(t *testing.T) {
	target := &fleet.Target{}
	if target.Begun() || target.Joined() || target.Journal.Is(journal.Init, journal.Inputs("x")) {
		t.Error("a fresh host has marks")
	}
	target.Journal.Note(journal.Init, journal.Inputs("x"))
	if !target.Begun() || target.Joined() || !target.Journal.Is(journal.Init, journal.Inputs("x")) || target.Journal.Is(journal.Init, journal.Inputs("y")) || target.Journal.Is(journal.Registry, journal.Inputs("x")) {
		t.Error("marks are read wrongly")
	}
	target.Journal.Note(journal.KubeadmDone, "default")
	if !target.Joined() {
		t.Error("a host that has joined is not known as such")
	}
}

func TestAPIServerNameLeadsWhereOneAnswers(t *testing.T) {
	r := loaded(t, stepstest.Cluster(), hostAt("127.0.0.2", 0, true), hostAt("127.0.0.3", 0, true), hostAt("127.0.0.4", 0, false))
	master0, master1, worker := r.Targets[0], r.Targets[1], r.Targets[2]
	for _, c := range []struct {
		name string
		t    *fleet.Target
		want string
	}{
		{"master0, before and after init", master0, "127.0.0.2"},
		{"a master that is to join", master1, "127.0.0.2"},
		{"a node", worker, installer.DefaultVIP},
	} {
		if got := r.net.APIAddress(c.t); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
	master1.Journal.Note(journal.KubeadmBegun, "default")
	if got := r.net.APIAddress(master1); got != "127.0.0.2" {
		t.Errorf("a master whose join was cut off: %s", got)
	}
	master1.Journal.Note(journal.KubeadmDone, "default")
	if got := r.net.APIAddress(master1); got != "127.0.0.3" {
		t.Errorf("a master that has joined: %s", got)
	}
}

// recorded is the record of a run, and the cluster that is read from it.
func recorded(t *testing.T, r *Run) (string, *installer.Cluster) {
	t.Helper()
	data, err := os.ReadFile(r.State.Path(ledger.ClusterfileName))
	if err != nil {
		t.Fatal(err)
	}
	c, err := installer.ParseClusterfile(ledger.ClusterfileName, data)
	if err != nil {
		t.Fatalf("what was recorded cannot be read: %v\n%s", err, data)
	}
	return string(data), c
}

func TestARecordHoldsNoSecretsAndIsReadAgain(t *testing.T) {
	node := hostAt("127.0.0.3", 2222, false)
	node.Tunnel = true
	r := loaded(t, stepstest.Cluster(), oneMaster, node)
	failure := &installer.StepError{Step: "guest", Err: &installer.GuestError{
		Image: "localhost/app:v1", Host: "127.0.0.2", Command: "kubectl apply", Err: errors.New("exit status 7: " + r.Passwords.Pull),
	}}
	data, err := r.Ledger.Clusterfile(r.Ledger.Status(failure))
	if err != nil {
		t.Fatal(err)
	}
	text := string(data)
	c, err := installer.ParseClusterfile(ledger.ClusterfileName, data)
	if err != nil {
		t.Fatalf("what was recorded cannot be read: %v\n%s", err, data)
	}
	if !strings.Contains(text, "mountPoint: "+r.RootfsDir()) {
		t.Errorf("where the rootfs lies is not in the Clusterfile:\n%s", text)
	}
	for _, secret := range []string{r.Passwords.Pull, "right", "passw0rd", "ClusterSuccess"} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is in the Clusterfile", secret)
		}
	}
	if len(c.Hosts) != 2 || !c.Hosts[0].Master || c.Hosts[0].Tunnel || c.Hosts[1].SSH.Port != 2222 || !c.Hosts[1].Tunnel {
		t.Errorf("hosts read again: %+v", c.Hosts)
	}
	if diff := cmp.Diff([]string{"localhost/kubernetes:v1.36.3", "localhost/app:v1"}, c.Images); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

func TestAnyOtherFailureHasNoCommandCondition(t *testing.T) {
	r := loaded(t, stepstest.Cluster(), oneMaster)
	s := r.Ledger.Status(&installer.StepError{Step: "bootstrap", Err: errors.New("no")})
	if s.Phase != installer.PhaseFailed || len(s.Conditions) != 1 || s.Conditions[0].Reason != "bootstrap" || len(s.CommandConditions) != 0 {
		t.Errorf("status: %+v", s)
	}
	s = r.Ledger.Status(nil)
	if s.Phase != installer.PhaseSuccess || len(s.Conditions) != 1 || s.Conditions[0].Type != "ApplyClusterSuccess" || len(s.CommandConditions) != 0 {
		t.Errorf("status of a success: %+v", s)
	}
	if len(s.Mounts) != 2 || s.Mounts[0].Type != "rootfs" || s.Mounts[1].Name != payload.DirName("localhost/app:v1") || s.Mounts[1].Env["GREETING"] != "hi" {
		t.Errorf("mounts: %+v", s.Mounts)
	}
	for _, m := range s.Mounts {
		if _, has := m.Env["registryPassword"]; has {
			t.Errorf("%s tells a registry password that is not used", m.Name)
		}
	}
}

func TestAPasswordOfTheUserOutlivesTheRecordedClusterfile(t *testing.T) {
	file := makeBundle(t, stepstest.Cluster())
	t.Setenv("SEALOS_RUNTIME_ROOT", t.TempDir())
	settle := func(env map[string]string) *Run {
		r := newRun(t, file, t.Output(), oneMaster)
		r.Cluster.Env = env
		if err := r.Read(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := r.secrets.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := settle(map[string]string{"registryPassword": "chosen by the user", "SITE": "north"})
	r.Ledger.Begun = true
	if err := r.Ledger.Record(t.Context(), errors.New("later"), 1); err != nil {
		t.Fatal(err)
	}
	text, c := recorded(t, r)
	if strings.Contains(text, "chosen by the user") {
		t.Error("the password is in the Clusterfile")
	}
	closeRun(t, r)
	r = settle(c.Env)
	if r.Passwords.Pull != "chosen by the user" {
		t.Errorf("the next run takes the password for %q", r.Passwords.Pull)
	}
	if r.Cluster.Env["SITE"] != "north" {
		t.Errorf("environment of the next run: %v", r.Cluster.Env)
	}
}

func TestAPasswordThatIsAnEverydayWordSpoilsNoClusterfile(t *testing.T) {
	r := loaded(t, stepstest.Cluster(), oneMaster)
	for _, word := range []string{"root", "master", "default", "Cluster"} {
		r.Report.Hide(word)
	}
	r.Ledger.Begun = true
	if err := r.Ledger.Record(t.Context(), errors.New("the root of all"), 1); err != nil {
		t.Fatal(err)
	}
	text, c := recorded(t, r)
	if c.Name != "default" || len(c.Hosts) != 1 || !c.Hosts[0].Master || c.SSH.User != "root" {
		t.Errorf("read again: name %q, hosts %+v, ssh user %q", c.Name, c.Hosts, c.SSH.User)
	}
	if strings.Contains(text, "the root of all") {
		t.Error("a message with a secret is recorded in clear")
	}
}

func TestAnOperationThatTheAPIRefusesForAWhileIsRepeated(t *testing.T) {
	refusals := 2
	err := installer.Insist(t.Context(), time.Minute, func(context.Context) error {
		if refusals == 0 {
			return nil
		}
		refusals--
		return errors.New("etcdserver: leader changed")
	})
	if err != nil {
		t.Fatal(err)
	}
	err = installer.Insist(t.Context(), time.Millisecond, func(context.Context) error { return errors.New("etcdserver: no leader") })
	if err == nil || !strings.Contains(err.Error(), "no leader") {
		t.Fatalf("%v does not say what the API said", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = installer.Insist(ctx, time.Minute, func(context.Context) error { cancel(); return errors.New("late") })
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("a run that was ended says %v", err)
	}
}
