package fleet

import "testing"

func TestACommandIsShownByWhatIsAskedOfIt(t *testing.T) {
	for _, c := range []struct {
		want string
		argv []string
	}{
		{"kubeadm join", []string{"kubeadm", "join", "--config", "/var/lib/sealos/data/default/etc/kubeadm.yaml"}},
		{"kubeadm upgrade apply v1.36.3", []string{"kubeadm", "upgrade", "apply", "v1.36.3", "--yes", "--skip-phases=addon"}},
		{"kubeadm upgrade node", []string{"kubeadm", "upgrade", "node", "--certificate-renewal=false", "--ignore-preflight-errors=SystemVerification"}},
		{"systemctl restart kubelet", []string{"/usr/bin/systemctl", "restart", "kubelet"}},
		{"ip", []string{"ip", "-4", "route"}},
		{"-x", []string{"-x"}},
	} {
		if got := inWords(c.argv); got != c.want {
			t.Errorf("%q is shown as %q, want %q", c.argv, got, c.want)
		}
	}
}
