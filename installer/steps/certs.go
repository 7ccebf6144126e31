package steps

import (
	"bytes"
	"context"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/certs"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/hostregistry"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/preflight"
	"github.com/sealbuild/sealbuild/installer/secrets"
	"github.com/sealbuild/sealbuild/installer/site"
)

// HostCertificates are the certificates of one master.
type HostCertificates struct {
	Host         string       `json:"host"`
	Certificates []certs.Info `json:"certificates"`
}

// Certificates reads the certificates of the masters, and gives them to show. If change is set, it first makes those anew that do
// not fit what is wanted, and those that renew names: "all", or names as [certs.MasterInput.Names] gives them.
func Certificates(change bool, renew []string, show func([]HostCertificates)) []Step {
	list := []Step{{Name: "connect", Title: "reach every host", Run: (*Run).connectForCerts}}
	if change {
		list = append(list, Step{Name: "renew", Title: "make certificates anew, master by master", Run: func(r *Run, ctx context.Context) (installer.Result, error) {
			return r.renewCerts(ctx, renew)
		}})
	}
	return append(list, Step{Name: "read", Title: "read the certificates of every master", Run: func(r *Run, ctx context.Context) (installer.Result, error) {
		found, err := r.readCerts(ctx)
		if err == nil {
			show(found)
		}
		return installer.Result{}, err
	}})
}

// PlanCertificates tells what [Certificates] would make anew, and what it would disturb.
func PlanCertificates(renew []string) []Step {
	return []Step{
		{Name: "connect", Title: "reach every host", Run: (*Run).connectForCerts},
		{Name: "plan", Title: "find certificates that would be made anew", Run: func(r *Run, ctx context.Context) (installer.Result, error) {
			return installer.Result{}, planCerts(ctx, r, renew)
		}},
	}
}

func planCerts(ctx context.Context, r *Run, renew []string) error {
	if err := r.secrets.PreparePKI(); err != nil {
		return err
	}
	for _, t := range r.Masters() {
		in, err := renewal(ctx, r, t, renew)
		if err != nil {
			return t.Failed(err)
		}
		names := r.secrets.PKI.Unfit(in)
		var restarts []string
		for _, component := range controllers {
			if slices.Contains(names, component+".conf") {
				restarts = append(restarts, "kube-"+component)
			}
		}
		registry, err := r.registry.Renews(t, renew)
		if err != nil {
			return t.Failed(err)
		}
		if registry {
			names = append(names, hostregistry.RegistryCert)
		}
		text := "nothing would be made anew"
		if len(names) > 0 {
			text = "would be made anew: " + strings.Join(names, ", ")
		}
		if len(restarts) > 0 {
			text += "; restarted: " + strings.Join(restarts, ", ")
		}
		r.Report.Infof("%s: %s", t.IP, text)
	}
	return nil
}

func (r *Run) connectForCerts(ctx context.Context) (installer.Result, error) {
	r.Payload.OntoCluster = true
	if err := r.Load(ctx); err != nil {
		return installer.Result{}, err
	}
	if err := refused(r.Open(ctx), nil); err != nil {
		return installer.Result{}, err
	}
	for _, t := range r.Masters() {
		if !t.Joined() {
			return installer.Result{}, t.Failed(fmt.Errorf("it is no master of cluster %s", r.Cluster.Name))
		}
	}
	if err := refused(r.Ledger.Compare(ctx)); err != nil {
		return installer.Result{}, err
	}
	if err := meetRootfs(ctx, r); err != nil {
		return installer.Result{}, err
	}
	return installer.Result{}, r.secrets.AdoptAndSettle(ctx)
}

// meetRootfs finds out what the cluster has of its rootfs where the bundle brings none, for runs that need no more of it than is
// recorded and lies on the hosts.
func meetRootfs(ctx context.Context, r *Run) error {
	on := site.Adding{Site: r.Site}
	if err := on.Clusterless(); err != nil || !r.onlyAdds() {
		return err
	}
	var scripts []string
	for _, key := range []string{"clean", "clean-registry", "init-registry"} {
		scripts = append(scripts, "scripts/"+key+".sh")
	}
	return on.ReadRootfs(ctx, scripts...)
}

// refused is the error for problems, if there are any, or the one that kept them from being found.
func refused(problems []preflight.Problem, err error) error {
	if err == nil && len(problems) > 0 {
		return &preflight.Error{Problems: problems}
	}
	return err
}

func (r *Run) renewCerts(ctx context.Context, renew []string) (installer.Result, error) {
	if err := r.secrets.PreparePKI(); err != nil {
		return installer.Result{}, err
	}
	changes := 0
	for _, t := range r.Masters() {
		n, err := r.renewOn(ctx, t, renew)
		changes += n
		r.Changed(t, n)
		if err == nil {
			n, err = r.registry.Renew(ctx, t, renew)
			changes += n
			r.Changed(t, n)
		}
		if err != nil {
			return installer.Result{Changes: changes}, t.Failed(err)
		}
	}
	return installer.Result{Changes: changes}, nil
}

// renewal is what is wanted of the certificates of one master, with those that it has and that are renewed in any case.
func renewal(ctx context.Context, r *Run, t *fleet.Target, renew []string) (certs.MasterInput, error) {
	in, err := r.secrets.MasterInput(ctx, t)
	if err != nil {
		return in, err
	}
	known := in.Names()
	for _, name := range renew {
		switch {
		case name == "all":
			in.Renew = known
		case name == hostregistry.RegistryCert:
		case slices.Contains(known, name):
			in.Renew = append(in.Renew, name)
		case name != "super-admin.conf": // which exists on the first master only
			return in, fmt.Errorf("there is no certificate %q%s", name, installer.DidYouMean(name, append(known, "all", hostregistry.RegistryCert)))
		}
	}
	return in, nil
}

// controllers are what reads its certificate only when it starts.
var controllers = []string{"controller-manager", "scheduler"}

// renewOn makes the certificates of one master anew, and counts the files that it wrote. API server and etcd read theirs again by
// themselves. The controllers are restarted, and it waits until the API servers are ready before the next master is changed.
func (r *Run) renewOn(ctx context.Context, t *fleet.Target, renew []string) (int, error) {
	in, err := renewal(ctx, r, t, renew)
	if err != nil {
		return 0, err
	}
	made, err := r.secrets.PKI.MasterFiles(in)
	if err != nil {
		return 0, err
	}
	for _, f := range made {
		if has, ok := in.Has[f.Path]; f.Path == path.Base(installer.AdminConf) && ok && !bytes.Equal(has, f.Content) {
			// Root's kubeconfig is made from this file. If this run is cut off before that, the next one makes it.
			if err := t.Journal.Drop(ctx, journal.Kubeconfig); err != nil {
				return 0, err
			}
		}
	}
	changed, err := t.Agent.WriteFiles(ctx, secrets.OnMaster(made))
	if err != nil || len(changed) == 0 && t.Journal.Has(journal.Kubeconfig) {
		return len(changed), err
	}
	for _, component := range controllers {
		if slices.Contains(changed, path.Join(installer.KubeDir, component+".conf")) {
			if err := r.restartStaticPod(ctx, t, "kube-"+component); err != nil {
				return len(changed), err
			}
		}
	}
	if slices.Contains(changed, installer.AdminConf) || !t.Journal.Has(journal.Kubeconfig) {
		if err := r.nodes.AdminKubeconfig(ctx, t); err != nil {
			return len(changed), err
		}
	}
	return len(changed), r.health.WaitAPI(ctx)
}

// restartStaticPod stops the container of a static pod, or its process where the rootfs brings no crictl. Kubelet starts it
// again.
func (r *Run) restartStaticPod(ctx context.Context, t *fleet.Target, name string) error {
	if there, err := t.Agent.Exec(ctx, agent.ExecRequest{Argv: []string{"crictl", "--version"}, TimeoutSeconds: 10}, nil); err != nil || there.Code != 0 {
		// The kernel keeps 15 bytes of a name, which tell these programs from all others.
		if _, err := r.Exec(ctx, t, "renew", "pkill", "-TERM", "-x", name[:min(len(name), 15)]); err != nil {
			return fmt.Errorf("restart %s, which still uses its old certificate: %w", name, err)
		}
		return nil
	}
	res, err := r.Exec(ctx, t, "renew", r.ControlPlane(t).Crictl("ps", "--quiet", "--name", "^"+name+"$")...)
	var ids []byte
	if err == nil {
		ids, err = res.Whole()
	}
	if err != nil {
		return fmt.Errorf("find the container of %s: %w", name, err)
	}
	for id := range strings.FieldsSeq(string(ids)) {
		if _, err := r.Exec(ctx, t, "renew", r.ControlPlane(t).Crictl("stop", id)...); err != nil {
			return fmt.Errorf("restart %s, which still uses its old certificate: %w", name, err)
		}
	}
	return nil
}

func (r *Run) readCerts(ctx context.Context) ([]HostCertificates, error) {
	var out []HostCertificates
	for _, t := range r.Masters() {
		found, err := r.secrets.CertificatesOn(ctx, t)
		if err != nil {
			return nil, t.Failed(err)
		}
		out = append(out, HostCertificates{t.IP.String(), found})
	}
	return out, nil
}
