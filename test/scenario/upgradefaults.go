package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// UpgradeFaults upgrades a site on which everything goes wrong that does on sites: a budget that lets no pod go, a dead master,
// an image that does not start, a kubelet that does not, kubeadm and the installer killed in the middle, a power cut. What fails
// is put back, what was not touched is not, the application serves, and after mending the same command goes on.
func UpgradeFaults(ctx context.Context, out io.Writer) (err error) {
	st := newStory(out)
	b, stop, err := build(ctx, st, recipe{images: (*Built).bothVersions, before: true})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.work.remove()) }()
	if err := stop(); err != nil {
		return err
	}
	u, err := openUpgrade(ctx, st, b, 2)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(u.end(ctx), err, u.Bed.Close()) }()
	if err := u.begin(ctx); err != nil {
		return err
	}
	for _, part := range []func(context.Context) error{
		u.budgetIsNamed, u.deadMasterIsNamed, u.masterIsPutBack, u.takenBack, u.killedBetweenRenames, u.powerIsCut, u.nodeIsPutBack,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	if err := u.upgraded(ctx); err != nil {
		return err
	}
	u.found("after the upgrade", u.runsNew(ctx))
	return u.nothingMoreToUpgrade(ctx)
}

// budgetIsNamed: a PodDisruptionBudget that lets no pod go is named before anything changes.
func (u *upgradeSite) budgetIsNamed(ctx context.Context) error {
	const name = "nobody-may-go"
	if _, err := u.kubectl(ctx, "create", "poddisruptionbudget", "-n", "load", name, "--selector=app=kept", "--min-available=1"); err != nil {
		return err
	}
	if err := u.changesNothing(ctx, "an upgrade past a budget that allows nothing", exitRefused, []string{name}, newOnSite, "upgrade", "--yes"); err != nil {
		return err
	}
	_, err := u.kubectl(ctx, "delete", "poddisruptionbudget", "-n", "load", name)
	return err
}

// deadMasterIsNamed: a dead master is named with the command that takes it out.
func (u *upgradeSite) deadMasterIsNamed(ctx context.Context) error {
	dead := u.Masters[2]
	u.st.heading("%s is dead at the start", dead.Name)
	u.load.enter(false, "%s loses its power", dead.Name)
	if err := dead.PowerOff(ctx); err != nil {
		return err
	}
	if err := u.load.waitQuiet(ctx, 2*time.Minute); err != nil {
		return err
	}
	alive := u.Masters
	u.Masters = without(alive, dead)
	words := []string{dead.Addr, "delete --dead --masters " + dead.Addr}
	err := u.changesNothing(ctx, "an upgrade with a dead master", exitRefused, words, newOnSite, "upgrade", "--yes")
	u.Masters = alive
	if err != nil {
		return err
	}
	u.load.enter(false, "%s is back", dead.Name)
	return u.isBack(ctx, dead)
}

// isBack gives a host its power, and waits until the cluster is whole.
func (u *upgradeSite) isBack(ctx context.Context, h *testbed.Host) error {
	if err := u.back(ctx, h); err != nil {
		return err
	}
	if err := u.waitNodes(ctx, barePatience); err != nil {
		return err
	}
	return u.waitPods(ctx, barePatience)
}

// attempt runs an upgrade that must not succeed, and tells what it said. disturb works on the site meanwhile, and may kill it.
func (u *upgradeSite) attempt(ctx context.Context, what string, planned bool, disturb func(ctx context.Context, kill func()) error) (said string, err error) {
	u.st.heading("%s", what)
	u.load.enter(planned, "%s", what)
	u.file = newOnSite
	ctx, cancel := context.WithTimeout(ctx, attemptLimit)
	defer cancel()
	running, cut := context.WithCancel(ctx)
	defer cut()
	ended := make(chan struct{})
	var res testbed.Result
	go func() {
		defer close(ended)
		res, err = u.master0().Run(running, testbed.Command{Argv: []string{u.file, "upgrade", "--yes"}, Dir: "/root"})
	}()
	kill := func() { // SIGKILL
		cut()
		<-ended
	}
	disturbed := make(chan error, 1)
	go func() { disturbed <- disturb(ctx, kill) }()
	<-ended
	said = res.Stdout + res.Stderr
	u.st.say("%s\nstatus %d (%v)", strings.TrimSpace(said), res.Code, err)
	if res.Code == 0 {
		cancel()
		return said, fmt.Errorf("%s: the upgrade succeeded (%v)", what, <-disturbed)
	}
	if err := <-disturbed; err != nil {
		return said, fmt.Errorf("%s: %w", what, err)
	}
	return said, nil
}

// attemptLimit is after what time an upgrade hangs: kubeadm alone waits five minutes for one component.
const attemptLimit = 20 * time.Minute

// names notes the words that a failed run does not say.
func (u *upgradeSite) names(what, said string, words ...string) {
	for _, word := range words {
		if !strings.Contains(said, word) {
			u.found(what, fmt.Errorf("it does not name %q", word))
		}
	}
}

// mirrorPatience is how long a kubelet may need until the API shows the static pods that it runs: seen were 130 s.
const mirrorPatience = 4 * time.Minute

// stand notes the hosts that do not run a version.
func (u *upgradeSite) stand(ctx context.Context, what string, r release, hosts ...*testbed.Host) {
	ctx, cancel := context.WithTimeout(ctx, mirrorPatience)
	defer cancel()
	for _, h := range hosts {
		u.found(what, until(ctx, func() error { return u.hostRuns(ctx, h, r) }))
	}
}

// masterIsPutBack lets the API server of the second master fail: its image is another program. The master is back at the old
// version and serves, and the hosts behind it have not been touched.
func (u *upgradeSite) masterIsPutBack(ctx context.Context) error {
	victim, image := u.Masters[1], u.after.images["kube-apiserver"]
	what := "the API server of " + victim.Name + " does not start"
	// All hosts have the new images before the first one is disturbed.
	wrong := fmt.Sprintf(`set -e
until [[ $(ctr -n k8s.io images check -q 'name==%[1]s,labels."io.cri-containerd.pinned"==pinned') == %[1]s ]]; do sleep 0.2; done
ctr -n k8s.io images tag --force %[2]s %[1]s
ctr -n k8s.io images label %[1]s io.cri-containerd.pinned=pinned`, image, u.after.images["pause"])
	said, err := u.attempt(ctx, what, true, func(ctx context.Context, _ func()) error {
		_, err := victim.Exec(ctx, "bash", "-c", wrong)
		return err
	})
	if err != nil {
		return err
	}
	u.names(what, said, victim.Addr, "kube-apiserver")
	u.stand(ctx, what, u.after, u.Masters[0])
	u.stand(ctx, what, u.before, u.all()[1:]...)
	res, err := victim.Exec(ctx, "kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", "--cache-dir", "/root/.sealos/kubectl-of-test",
		"--server", "https://"+victim.Addr+":6443", "get", "--raw", "/version")
	if err != nil || !strings.Contains(res.Stdout, oldKubernetes) {
		u.found(what, fmt.Errorf("the API server that was put back is not of %s: %w: %s", oldKubernetes, err, res.Stdout))
	}
	u.found(what, u.exact(ctx, time.Now()))
	_, err = ctr(ctx, victim, "images", "rm", image)
	return err
}

// takenBack: who wants to go back where one master runs the new version and others do not gets the old version everywhere.
func (u *upgradeSite) takenBack(ctx context.Context) error {
	const what = "rollback"
	if err := u.changesNothing(ctx, "the plan of a rollback", 0, []string{u.Masters[0].Addr, oldKubernetes}, newOnSite, "rollback", "--dry-run"); err != nil {
		return err
	}
	u.st.heading("%s", what)
	u.load.enter(true, "%s", what)
	start := time.Now()
	if _, _, err := u.sealinstall(ctx, u.st, "rollback", "--yes"); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	u.took = append(u.took, StepFigure{what, time.Since(start).Seconds()})
	u.stand(ctx, what, u.before, u.all()...)
	u.found(what, u.exact(ctx, time.Now()))
	return u.waitPods(ctx, barePatience)
}

// killedBetweenRenames kills the installer and kubeadm on the second master when kubeadm has moved a manifest away and has not
// yet moved the new one in, once for each manifest.
func (u *upgradeSite) killedBetweenRenames(ctx context.Context) error {
	victim := u.Masters[1]
	for _, component := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler"} {
		what := fmt.Sprintf("kubeadm and the installer are killed between the renames of %s on %s", component, victim.Name)
		// The gap is some microseconds long. So kubeadm is stopped a moment after it, and its second rename is undone.
		stop := fmt.Sprintf(`cd /etc/kubernetes/tmp 2>/dev/null || mkdir -p /etc/kubernetes/tmp && cd /etc/kubernetes/tmp
had=$(ls -d kubeadm-backup-manifests-* 2>/dev/null)
while :; do
	for dir in kubeadm-backup-manifests-*; do
		if [[ -e $dir/%[1]s.yaml && -e ../manifests/%[1]s.yaml && $'\n'$had$'\n' != *$'\n'$dir$'\n'* ]]; then pkill -STOP -x kubeadm && exit 0; fi
	done
	sleep 0.05
done`, component)
		undo := fmt.Sprintf(`set -e; cd /etc/kubernetes/tmp; mv ../manifests/%s.yaml "$(ls -dt kubeadm-upgraded-manifests* | head -n 1)/"; pkill -KILL -x kubeadm || true; ls ../manifests`, component)
		if _, err := u.attempt(ctx, what, true, func(ctx context.Context, kill func()) error {
			if _, err := victim.Exec(ctx, "bash", "-c", stop); err != nil {
				return err
			}
			kill()
			res, err := victim.Exec(ctx, "bash", "-c", undo)
			u.st.say("%s has %s", victim.Name, strings.Join(strings.Fields(res.Stdout), " "))
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// powerIsCut takes the power from the third master while kubeadm changes it.
func (u *upgradeSite) powerIsCut(ctx context.Context) error {
	victim := u.Masters[2]
	if _, err := u.attempt(ctx, victim.Name+" loses its power while kubeadm changes it", false, func(ctx context.Context, _ func()) error {
		if _, err := victim.Exec(ctx, "bash", "-c", "until ls /etc/kubernetes/tmp/kubeadm-backup-manifests-*/etcd.yaml; do sleep 0.05; done >/dev/null 2>&1"); err != nil {
			return err
		}
		return victim.PowerOff(ctx)
	}); err != nil {
		return err
	}
	return u.back(ctx, victim)
}

// nodeIsPutBack lets the kubelet of the first node end at once in its new version: a feature gate that it no longer knows. The
// node is back at the old version and takes pods, and the second node has not been touched.
func (u *upgradeSite) nodeIsPutBack(ctx context.Context) error {
	victim, next := u.Nodes[0], u.Nodes[1]
	what := "the new kubelet of " + victim.Name + " ends at once"
	said, err := u.attempt(ctx, what, true, func(ctx context.Context, _ func()) error {
		err := until(ctx, func() error {
			out, err := u.kubectl(ctx, "get", "node", victim.Name, "-o", "jsonpath={.spec.unschedulable}")
			if err == nil && out != "true" {
				err = errNotYet
			}
			return err
		})
		if err != nil {
			return err
		}
		_, err = victim.Exec(ctx, "sh", "-c", "echo KUBELET_EXTRA_ARGS=--feature-gates=MemoryManager=true > /etc/default/kubelet")
		return err
	})
	if err != nil {
		return err
	}
	u.names(what, said, victim.Addr)
	u.stand(ctx, what, u.after, u.Masters...)
	u.stand(ctx, what, u.before, victim, next)
	_, err = victim.Exec(ctx, "rm", "/etc/default/kubelet")
	return err
}
