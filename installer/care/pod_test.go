package care

import (
	"net/netip"
	"strings"
	"testing"
)

func TestOnlyImageAndAddressAreInThePod(t *testing.T) {
	out, err := StaticPod("sealbuild.io/care:abc", netip.MustParseAddrPort("10.103.97.2:6443"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"image: sealbuild.io/care:abc", "- 10.103.97.2:6443", "hostNetwork: true", "priorityClassName: system-node-critical", "- --watch", "- --check", "mountPath: " + Dir} {
		if !strings.Contains(string(out), want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
	for _, not := range []string{"--rs", "privileged"} {
		if strings.Contains(string(out), not) {
			t.Errorf("%q in:\n%s", not, out)
		}
	}
}

func TestUnitServesBeforeKubeletAndForEver(t *testing.T) {
	out := string(UnitFile("/opt/sealinstall", "sealinstall-abc", netip.MustParseAddrPort("10.103.97.2:6443")))
	for _, want := range []string{
		"\nExecStart=/opt/sealinstall care --vs 10.103.97.2:6443 --list " + ListFile + "\n", "\nBefore=kubelet.service containerd.service\n",
		"\nRestart=always\n", "\nStartLimitIntervalSec=0\n", "\nWantedBy=multi-user.target\n", "10.103.97.2:6443 of the control planes (sealinstall-abc)\n",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in:\n%s", want, out)
		}
	}
}
