package steps

import (
	"context"
	"encoding/json"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/care"
	"github.com/sealbuild/sealbuild/installer/certs"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/journal"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// Places that kubeadm and kubelet share with whoever administers a host.
const (
	kubePKI       = installer.KubeDir + "/pki"
	kubeManifests = installer.KubeDir + "/manifests"
	kubeletDir    = "/var/lib/kubelet"
	// kubeletCert is what kubelet.conf names, and with it kubeadm asks the cluster what this host is.
	kubeletCert = kubeletDir + "/pki/kubelet-client-current.pem"
)

// knownKube lists what this installer, kubeadm and kubelet write below /etc/kubernetes, as [node.TidyRequest] has it.
// All else there is somebody else's.
func knownKube() []string {
	known := certs.MasterInput{SuperAdmin: true, WithSuperAdmin: true}.Paths()
	for _, name := range adoptedFiles() {
		known = append(known, "pki/"+name)
	}
	for _, pod := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", care.PodName} {
		known = append(known, "manifests/"+pod+".yaml")
	}
	return append(known, "kubelet.conf", "bootstrap-kubelet.conf", path.Base(kubeadm.AuditPolicyPath), "tmp/kubeadm-*")
}

// foreignFiles refuses a host on which somebody's files lie where the cluster's would: authorities and keys most of all, since
// who overwrites those destroys what they have signed. Files that nothing writes over may stay. told are problems that are told
// already, so that no file is named twice.
func foreignFiles(t *fleet.Target, told []preflight.Problem) []preflight.Problem {
	var out []preflight.Problem
	add := func(check, remedy, format string, files []string) {
		files = slices.DeleteFunc(files, func(file string) bool {
			return slices.ContainsFunc(told, func(p preflight.Problem) bool {
				return p.Host == t.IP.String() && strings.HasSuffix(p.Message, " "+file)
			})
		})
		if len(files) > 0 {
			out = append(out, preflight.Problem{Host: t.IP.String(), Check: check, Message: fmt.Sprintf(format, someOf(files)), Remedy: remedy})
		}
	}
	var pki, pods, others []string
	for _, file := range t.Facts.KubernetesFiles {
		below := strings.TrimPrefix(file, installer.KubeDir+"/")
		known := slices.ContainsFunc(knownKube(), func(k string) bool {
			begin, pattern := strings.CutSuffix(k, "*")
			return pattern && strings.HasPrefix(below, begin) || below == k
		})
		switch {
		case strings.HasPrefix(file, kubePKI+"/"):
			pki = append(pki, file)
		case strings.HasPrefix(file, kubeManifests+"/") && !known:
			pods = append(pods, file)
		case known:
			others = append(others, file)
		}
	}
	if t.Begun() {
		if !t.Joined() {
			add("kubernetes", "move them away until the host is in the cluster: kubeadm begins with an empty directory only", "static pods of somebody else are there: %s", pods)
		}
		return out
	}
	const away = "move them away first: nothing of somebody else's is written over"
	add("foreign", away+" (mv "+kubePKI+" "+kubePKI+".before); to go on with their authorities give that directory with --ca-dir", "certificates or keys of somebody else are there: %s", pki)
	add("foreign", away, "the cluster would write over %s", others)
	return out
}

// someOf names the first of many.
func someOf(files []string) string {
	const most = 8
	if len(files) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(files[:most], ", "), len(files)-most)
	}
	return strings.Join(files, ", ")
}

// sparing lets kubeadm reset do its work without the directories that it would empty, whoever has put something there: static
// pods, certificates, and kubelet's data with the disks that the site mounts in it. [Run.tidyKubernetes] removes from them what
// is ours.
func (r *Run) sparing(q agent.ExecRequest) agent.ExecRequest {
	q.Argv = append(slices.Clone(q.Argv), "--cert-dir", r.dir("none"))
	q.Hide = []string{kubeManifests, kubeletDir}
	// By these it finds the member of etcd, and the cluster that it belongs to.
	q.Show = []string{kubeManifests + "/etcd.yaml", kubeletCert}
	return q
}

// begunWith is the mark of a host where a cluster begins. It names what was in kubelet's directory before: profiles and
// credentials that the site has put there for it.
func begunWith(cluster string, kubelet []string) string {
	if len(kubelet) == 0 {
		return cluster
	}
	names, err := json.Marshal(kubelet)
	if err != nil {
		panic(fmt.Sprintf("steps: mark of a host: %v", err)) // strings can be encoded
	}
	return cluster + "\n" + string(names)
}

// ofTheSite is what stays in kubelet's directory.
func ofTheSite(t *fleet.Target) ([]string, error) {
	_, names, ok := strings.Cut(t.Journal.Of(journal.Begun), "\n")
	if !ok {
		return nil, nil
	}
	var kept []string
	if err := json.Unmarshal([]byte(names), &kept); err != nil {
		return nil, fmt.Errorf("read what was in %s before: %w", kubeletDir, err)
	}
	return kept, nil
}

// tidyKubernetes removes what kubeadm and kubelet have left of the cluster. What others have put there stays, and is told at last.
func (r *Run) tidyKubernetes(ctx context.Context, t *fleet.Target, last bool) error {
	keep, err := ofTheSite(t)
	if err != nil {
		return err
	}
	mounted, err := t.Agent.Clear(ctx, agent.ClearRequest{Paths: []string{kubeletDir}, Keep: keep, Volumes: true})
	if err != nil {
		return fmt.Errorf("empty %s: %w", kubeletDir, err)
	}
	left, err := t.Agent.Tidy(ctx, agent.TidyRequest{Dir: installer.KubeDir, Known: knownKube()})
	if err != nil {
		return fmt.Errorf("take the cluster's files out of %s: %w", installer.KubeDir, err)
	}
	if last && len(mounted) > 0 {
		r.Report.Warnf("%s: file systems of the site are mounted in %s; they stay as they are: %s", t.IP, kubeletDir, someOf(mounted))
	}
	if last && len(left) > 0 {
		r.Report.Warnf("%s: these are not the cluster's and stay: %s", t.IP, strings.Join(left, ", "))
	}
	return nil
}
