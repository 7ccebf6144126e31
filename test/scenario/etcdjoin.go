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

// EtcdJoin cuts the joins of masters at the moment at which etcd has given them a vote: the second one's by the death of
// the installer and of kubeadm, the third one's by a power cut. The same command must finish each time, with all members
// and all that the cluster held. At last the third comes back with an empty disk.
func EtcdJoin(ctx context.Context, out io.Writer) (err error) {
	st := newStory(out)
	site, err := buildAndOpen(ctx, st, 3, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	all := site.Masters
	second, third := all[1], all[2]
	st.heading("sealinstall: one master, which holds something")
	if _, _, err := site.sealinstall(ctx, st, append([]string{"--masters", all[0].Addr}, siteFlags()...)...); err != nil {
		return err
	}
	if _, err := site.kubectl(ctx, "create", "configmap", "kept", "--from-literal=word=kept"); err != nil {
		return err
	}
	site.Masters = all[:2]
	st.heading("a second master joins; once it has a vote in etcd, installer and kubeadm are killed")
	if err := site.cutAtVote(ctx, st, second, func(ctx context.Context) error {
		_, err := second.Exec(ctx, "sh", "-c", "pkill -9 -x kubeadm; true") // it may have ended with the agent already
		return err
	}); err != nil {
		return err
	}
	st.heading("the same command")
	if err := site.joinedWhole(ctx, st); err != nil {
		return err
	}
	site.Masters = all
	st.heading("a third master joins; once it has a vote in etcd, it loses its power")
	if err := site.cutAtVote(ctx, st, third, third.PowerOff); err != nil {
		return err
	}
	if err := site.back(ctx, third); err != nil {
		return err
	}
	st.heading("the same command")
	if err := site.joinedWhole(ctx, st); err != nil {
		return err
	}
	st.heading("the third master comes back with an empty disk")
	if err := site.loseDisk(ctx, st, third); err != nil {
		return err
	}
	st.heading("the same command")
	return site.joinedWhole(ctx, st)
}

// back gives a host its power again, once the machine that carries it has forgotten its network.
func (s *Site) back(ctx context.Context, h *testbed.Host) error {
	time.Sleep(3 * time.Second)
	return h.PowerOn(ctx)
}

func (s *Site) joinArgs() []string {
	return append([]string{"--masters", addresses(s.Masters)}, siteFlags()...)
}

// cutAtVote begins the command, and ends the join when the member of the one that joins has a vote.
func (s *Site) cutAtVote(ctx context.Context, st *story, joining *testbed.Host, cut func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	r := s.begin(ctx, "join-masters", s.joinArgs()...)
	defer r.kill()
	if !r.reach(ctx, moment{"join-masters", 0}) {
		return fmt.Errorf("the run ended before the join (%v):\n%s", r.err, r.out)
	}
	for {
		list, err := s.members(ctx)
		if err == nil && strings.Contains(list, joining.Addr+":2379, false") {
			st.say("%s", list)
			break
		}
		select {
		case <-r.ended:
			return fmt.Errorf("the run ended before the vote was seen (%v, %v): %s\n%s", r.err, err, list, r.out)
		case <-ctx.Done():
			return fmt.Errorf("no vote was seen: %w: %v", ctx.Err(), err)
		case <-time.After(50 * time.Millisecond):
		}
	}
	r.kill()
	if err := cut(ctx); err != nil {
		return err
	}
	<-r.ended
	nodes, err := s.kubectl(ctx, "get", "nodes", "--no-headers", "--request-timeout=5s")
	st.say("nodes then: %s (%v)", strings.TrimSpace(nodes), err)
	return nil
}

// members lists etcd's members by etcd's own tool: ID, state, name, peer, client address, whether it is a learner.
func (s *Site) members(ctx context.Context) (string, error) {
	const certs = "/etc/kubernetes/pki/etcd/"
	return s.kubectl(ctx, "exec", "-n", "kube-system", "etcd-"+s.master0().Name, "--", "etcdctl", "--endpoints=https://127.0.0.1:2379",
		"--cacert="+certs+"ca.crt", "--cert="+certs+"server.crt", "--key="+certs+"server.key", "member", "list")
}

// joinedWhole runs the command once more, and looks whether all masters are in etcd and nothing is lost.
func (s *Site) joinedWhole(ctx context.Context, st *story) error {
	if _, _, err := s.sealinstall(ctx, st, s.joinArgs()...); err != nil {
		return err
	}
	list, err := s.members(ctx)
	if err != nil {
		return err
	}
	st.say("%s", list)
	if n := len(s.Masters); strings.Count(list, ", started,") != n || strings.Count(list, ", false") != n || strings.Count(list, ":2380") != n {
		return fmt.Errorf("etcd's members are not %d that vote:\n%s", n, list)
	}
	word, err := s.kubectl(ctx, "get", "configmap", "kept", "-o", "jsonpath={.data.word}")
	if err != nil || word != "kept" {
		return fmt.Errorf("what the cluster held is gone: %q, %w", word, err)
	}
	sum, _, err := s.sealinstall(ctx, st, s.joinArgs()...)
	if err != nil || sum.Changes != 0 {
		return fmt.Errorf("a further run: %d changes, %w", sum.Changes, err)
	}
	return nil
}

// loseDisk leaves a master as one that was set up anew: its member of etcd and its Node are still in the cluster.
func (s *Site) loseDisk(ctx context.Context, st *story, h *testbed.Host) error {
	script := `systemctl stop kubelet containerd registry 2>/dev/null
for pid in $(pgrep -x containerd-shim); do kill -9 $pid; done
sleep 1
for m in $(awk '$2 ~ "^/var/lib/(kubelet|containerd)|^/run/containerd|^/run/netns" {print $2}' /proc/self/mounts | sort -r); do umount -l "$m"; done
rm -rf /etc/kubernetes /var/lib/etcd /var/lib/kubelet /var/lib/containerd /var/lib/registry /var/lib/sealos /etc/containerd /etc/cni /opt/cni /root/.kube \
  /run/containerd /etc/systemd/system/{kubelet,containerd,registry}.service /etc/systemd/system/kubelet.service.d /usr/bin/{containerd,kubeadm,kubelet,kubectl,crictl,ctr,registry}
sed -i '/sealos/d;/apiserver.cluster.local/d' /etc/hosts
systemctl daemon-reload
for l in cni0 flannel.1 kube-ipvs0; do ip link delete $l 2>/dev/null; done
true`
	if _, err := h.Exec(ctx, "bash", "-c", script); err != nil {
		return err
	}
	// A boot leaves nothing of what ran.
	if err := errors.Join(h.PowerOff(ctx), s.back(ctx, h)); err != nil {
		return err
	}
	st.say("%s has no trace of the cluster, which has its member still", h.Name)
	return nil
}
