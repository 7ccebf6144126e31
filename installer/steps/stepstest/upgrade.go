package stepstest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// upgrade is one run of kubeadm upgrade. What it does, and in which order, is that of kubeadm 1.36 (cmd/upgrade, phases/upgrade):
// it changes files of its host and, where it is told to, what the cluster keeps; it restores manifests alone, and only if it
// lives to see a failure.
type upgrade struct {
	*call
	apply   bool
	force   bool
	renews  bool // certificates
	addons  bool // it does not skip that phase
	master  bool // as kubeadm sees it: there is the manifest of an API server
	version string
	cluster object
	// fresh and kept are directories of this run: manifests to come, and manifests that were in force. data is etcd's copy.
	fresh, kept, data string
	moved             []string // static pods whose manifests are to be put back after a failure
}

func (c *call) kubeadmUpgrade(ctx context.Context, args []string) error {
	words, flags := upgradeFlags(args)
	u := &upgrade{call: c, apply: len(words) > 0 && words[0] == "apply", force: slices.Contains(flags, "--force") || slices.Contains(flags, "-f")}
	u.renews, u.addons = !slices.Contains(flags, "--certificate-renewal=false"), !slices.Contains(flags, "--skip-phases=addon")
	switch {
	case c.release.version == "":
		return errors.New("exec: \"kubeadm\": executable file not found in $PATH")
	case u.apply && len(words) == 2:
		u.version = words[1]
		if !slices.Contains(flags, "--yes") && !slices.Contains(flags, "-y") && !u.force {
			return errors.New("it asks, and nobody answers")
		}
	case strings.Join(words, " ") == "node phase addon all":
	case len(words) != 1 || words[0] != "node":
		return fmt.Errorf("not simulated: kubeadm upgrade %v", args)
	}
	if err := c.session.site.pause(ctx, "kubeadm upgrade"); err != nil {
		return err
	}
	_ = c.quietly(func(_ *Site, m *Machine) error {
		u.master = m.tree.has(manifest("kube-apiserver"))
		return nil
	})
	if err := u.configuration(ctx); err != nil {
		return err
	}
	if len(words) == 4 {
		return u.upgradeAddons(ctx)
	}
	if err := u.preflight(ctx); err != nil {
		return err
	}
	if u.master || u.apply {
		if err := u.controlPlane(ctx); err != nil {
			return err
		}
	}
	return u.finish(ctx)
}

func upgradeFlags(args []string) (words, flags []string) {
	for _, a := range args {
		if strings.HasPrefix(a, "-") {
			flags = append(flags, a)
		} else {
			words = append(words, a)
		}
	}
	return words, flags
}

// ask does something by an API server: on a master with the administrator's kubeconfig, on a worker with kubelet's.
func (u *upgrade) ask(do func(s *Site, m *Machine) error) func(s *Site, m *Machine) error {
	return func(s *Site, m *Machine) error {
		defer s.remembering()()
		at := m.tree.lookup("apiserver.cluster.local")
		switch {
		case s.kube == nil:
			return errors.New("connect: connection refused")
		case u.apply || u.master:
			if err := s.api(m, adminConf, at); err != nil {
				return err
			}
		case m.tree.text(kubeletConf) != kubeletOf(s.kube.ca):
			return fmt.Errorf("couldn't create a Kubernetes client from file %q", kubeletConf)
		case !s.reaches(m):
			return fmt.Errorf("dial tcp %s:6443: connect: connection refused", at)
		}
		s.register()
		mirror(s)
		return do(s, m)
	}
}

// patient asks until it is answered, or a time is over.
func (u *upgrade) patient(ctx context.Context, what string, patience time.Duration, do func(s *Site, m *Machine) error) error {
	if err := u.happen("step", what); err != nil {
		return err
	}
	return u.await(ctx, patience, u.ask(do))
}

// short is how long kubeadm waits for the API, long how long for a static pod: a minute, and five.
func (u *upgrade) short() time.Duration {
	return cmp.Or(u.session.site.Pace.Manifests, patience(u.session.site)) / 5
}

func (u *upgrade) long() time.Duration {
	return cmp.Or(u.session.site.Pace.Manifests, patience(u.session.site))
}

// configuration reads what the cluster keeps. The version of an `upgrade node` is the one there.
func (u *upgrade) configuration(ctx context.Context) error {
	return u.patient(ctx, "upgrade: configuration", u.short(), func(s *Site, m *Machine) error {
		u.cluster = maps.Clone(documents(s.kube.configs["kubeadm-config"])["ClusterConfiguration"])
		had, _ := u.cluster["kubernetesVersion"].(string)
		switch _, told := mirrored(m, "kube-apiserver"); {
		case u.cluster == nil:
			return errors.New("failed to get config map: configmaps \"kubeadm-config\" not found")
		case !s.kube.has(m.node()):
			return fmt.Errorf("failed to get corresponding node: nodes %q not found", m.node())
		case (u.apply || u.master) && !told:
			return errors.New("failed to getAPIEndpoint: failed to get APIEndpoint information for this node")
		case minor(had) < minor(u.release.version)-1:
			return fmt.Errorf("this version of kubeadm only supports deploying clusters with the control plane version >= 1.%d.0. Current version: %s", minor(u.release.version)-1, had)
		}
		if !u.apply {
			u.version = had
		}
		u.cluster["kubernetesVersion"] = u.version
		return nil
	})
}

// tmp makes a directory of kubeadm's, whose name tells the time.
func (u *upgrade) tmp(m *Machine, name string) (string, error) {
	at := time.Now()
	for m.tree.has(tmpDir + name + "-" + at.Format("2006-01-02-15-04-05")) {
		at = at.Add(time.Second)
	}
	dir := tmpDir + name + "-" + at.Format("2006-01-02-15-04-05")
	if name == "kubeadm-upgraded-manifests" { // or a number
		dir = fmt.Sprintf("%s%s%d", tmpDir, name, at.UnixNano())
	}
	return dir, m.tree.mkdir(dir, []string{"0700"})
}

const tmpDir = "/etc/kubernetes/tmp/"

// controlPlane upgrades the static pods of this host, etcd first.
func (u *upgrade) controlPlane(ctx context.Context) error {
	before := map[string]string{}
	err := u.patient(ctx, "upgrade: hashes", u.long(), func(_ *Site, m *Machine) error {
		for _, pod := range staticPods()[:3] {
			text, ok := mirrored(m, pod)
			if !ok {
				return fmt.Errorf("failed to obtain static Pod hash for component %s on Node %s: pods \"%s-%s\" not found", pod, m.node(), pod, m.node())
			}
			before[pod] = text
		}
		return nil
	})
	if err != nil {
		return err
	}
	err = u.step("upgrade: new manifests", func(_ *Site, m *Machine) (err error) {
		dirs := []*string{&u.fresh, &u.kept, &u.data}
		for i, name := range []string{"kubeadm-upgraded-manifests", "kubeadm-backup-manifests", "kubeadm-backup-etcd"} {
			if *dirs[i], err = u.tmp(m, name); err != nil {
				return err
			}
		}
		for _, pod := range staticPods()[:3] {
			if err := m.tree.put(u.fresh+"/"+pod+".yaml", podManifest(pod, u.cluster, m.IP)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if err := u.etcd(ctx, before); err != nil {
		return err
	}
	for _, pod := range staticPods()[:3] {
		if err := u.component(ctx, pod, before[pod]); err != nil {
			return err
		}
	}
	return u.step("upgrade: administrator's certificates", func(_ *Site, m *Machine) error {
		err := u.renew(m, "admin.conf")
		if m.tree.has("/etc/kubernetes/super-admin.conf") {
			err = errors.Join(err, u.renew(m, "super-admin.conf"))
		}
		// Of the directories only that of the new manifests goes.
		return errors.Join(err, m.tree.remove(u.fresh))
	})
}

// etcd looks whether etcd has a majority, copies the data of this host's member, and upgrades it.
func (u *upgrade) etcd(ctx context.Context, before map[string]string) error {
	skip := false
	err := u.step("upgrade etcd: copy of the data", func(s *Site, m *Machine) error {
		switch has := tagOf(imageOf(m.tree.text(manifest("etcd")))); {
		case !s.quorum():
			return errors.New("etcd cluster is not healthy: context deadline exceeded")
		case !m.tree.has(manifest("etcd")):
			return fmt.Errorf("failed to retrieve the current etcd version: error reading %s: no such file or directory", manifest("etcd"))
		case older(u.release.etcd, has):
			skip = true // a warning
			return nil
		case broken(m, "disk", tmpDir) != "":
			return fmt.Errorf("failed to back up etcd data: %w", unix.ENOSPC)
		}
		return copyTree(m.tree.path(path.Join(u.data, "etcd")), m.tree.path(m.dataDir()))
	})
	if err != nil || skip {
		return err
	}
	err = u.patient(ctx, "upgrade etcd: hash", u.long(), func(_ *Site, m *Machine) error {
		text, ok := mirrored(m, "etcd")
		if !ok {
			return fmt.Errorf("failed to obtain static Pod hash for component etcd on Node %s", m.node())
		}
		before["etcd"] = text
		// It names the member of this host alone: one that has its data does not read the list.
		return m.tree.put(u.fresh+"/etcd.yaml", u.release.etcdPod(m.dataDir(), m.IP))
	})
	if err == nil {
		err = u.component(ctx, "etcd", before["etcd"])
	}
	if err != nil {
		if u.fate() == nil && !errors.Is(err, errKilled) {
			err = fmt.Errorf("fatal error when trying to upgrade the etcd cluster, rolled the state back to pre-upgrade state: %w", err)
		}
		return err
	}
	if err := u.happen("step", "upgrade etcd: available"); err != nil {
		return err
	}
	return u.await(ctx, u.long()/2, func(s *Site, _ *Machine) error {
		if !s.quorum() {
			return errors.New("fatal error upgrading local etcd cluster, rolled the state back to pre-upgrade state: etcd has no majority")
		}
		return nil
	})
}

// component upgrades one static pod: two renames, then it waits for what kubelet makes of them.
func (u *upgrade) component(ctx context.Context, pod, before string) error {
	at, fresh, kept := manifest(pod), u.fresh+"/"+pod+".yaml", u.kept+"/"+pod+".yaml"
	equal := false
	err := u.step("upgrade "+pod+": certificates", func(_ *Site, m *Machine) error {
		read := []string{at}
		if pod == "etcd" { // whether the API server is to change
			read = append(read, manifest("kube-apiserver"))
		}
		for _, name := range read {
			if !m.tree.has(name) {
				return fmt.Errorf("%w: open %s: no such file or directory", errManifest, name)
			}
		}
		equal = m.tree.text(at) == m.tree.text(fresh)
		if equal && (pod != "etcd" || m.tree.text(manifest("kube-apiserver")) == m.tree.text(u.fresh+"/kube-apiserver.yaml")) {
			return errEqual
		}
		u.moved = append(u.moved, pod)
		return u.renew(m, renewedWith(pod)...)
	})
	switch {
	case errors.Is(err, errEqual):
		return nil
	case errors.Is(err, errManifest): // it gives up without a rollback
		return err
	case err != nil:
		return u.rollback(err)
	}
	move := func(from, to string) func(*Site, *Machine) error {
		return func(s *Site, m *Machine) error {
			watchHang(s, m, pod)
			err := os.Rename(m.tree.path(from), m.tree.path(to))
			m.static()
			return err
		}
	}
	if err := u.step("upgrade "+pod+": the old manifest goes", move(at, kept)); err != nil {
		return u.rollback(err)
	}
	if err := u.step("upgrade "+pod+": the new manifest comes", move(fresh, at)); err != nil {
		return u.rollback(err)
	}
	// The hash of a pod whose manifest is what it was does not change.
	err = u.patient(ctx, "upgrade "+pod+": kubelet restarts it", u.long(), func(_ *Site, m *Machine) error {
		switch text, ok := mirrored(m, pod); {
		case !ok:
			return fmt.Errorf("failed to obtain static Pod hash for component %s on Node %s", pod, m.node())
		case !equal && text == before:
			return fmt.Errorf("static Pod hash for component %s on Node %s did not change after 5m0s", pod, m.node())
		case m.running[pod].manifest != text: // it is Pending: its image is not there
			return errors.New("context deadline exceeded")
		}
		return nil
	})
	if err != nil {
		return u.rollback(err)
	}
	return nil
}

var (
	errEqual    = errors.New("the manifests are equal")
	errManifest = errors.New("error reading static pod manifest")
)

// renewedWith are the certificates that are made anew with a static pod.
func renewedWith(pod string) []string {
	return map[string][]string{
		"etcd":                    {"etcd/server", "etcd/peer", "etcd/healthcheck-client"},
		"kube-apiserver":          {"apiserver", "apiserver-kubelet-client", "front-proxy-client", "apiserver-etcd-client"},
		"kube-controller-manager": {"controller-manager.conf"},
		"kube-scheduler":          {"scheduler.conf"},
	}[pod]
}

// rollback puts back the manifests that this run has moved away, unless it was killed. That of etcd it puts back only if etcd is
// what failed.
func (u *upgrade) rollback(cause error) error {
	if u.fate() != nil || errors.Is(cause, errKilled) {
		return cause
	}
	for i, pod := range u.moved {
		if pod == "etcd" && i < len(u.moved)-1 {
			continue
		}
		err := u.step("upgrade "+pod+": the old manifest comes back", func(_ *Site, m *Machine) error {
			if !m.tree.has(u.kept + "/" + pod + ".yaml") {
				return nil // one error more in its list
			}
			err := os.Rename(m.tree.path(u.kept+"/"+pod+".yaml"), m.tree.path(manifest(pod)))
			m.static()
			return err
		})
		if u.fate() != nil || errors.Is(err, errKilled) {
			return err
		}
	}
	return fmt.Errorf("couldn't upgrade control plane. kubeadm has tried to recover everything into the earlier state. Errors faced: %w", cause)
}
