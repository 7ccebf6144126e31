package steps

import (
	"testing"

	"github.com/sealbuild/sealbuild/installer/steps/stepstest"
)

func TestUnitsThatTakeNoProxyAreNotTouchedByOne(t *testing.T) {
	for name, c := range map[string]struct {
		files map[string]string
		want  bool
	}{
		"ours":         {map[string]string{"containerd.service.tmpl": "[Service]\nUnsetEnvironment=HTTPS_PROXY https_proxy\n", "kubelet.service.tmpl": "UnsetEnvironment=HTTPS_PROXY https_proxy\n"}, true},
		"one of two":   {map[string]string{"containerd.service": "UnsetEnvironment=HTTPS_PROXY https_proxy\n", "kubelet.service": "[Service]\n"}, false},
		"for sealos":   {map[string]string{"containerd.service": "[Service]\n"}, false},
		"in a comment": {map[string]string{"containerd.service": "# UnsetEnvironment=HTTPS_PROXY https_proxy\n", "kubelet.service": "UnsetEnvironment=HTTPS_PROXY https_proxy\n"}, false},
	} {
		i := clusterImage("root:1", "rootfs", map[string]string{"version": "v1.36.3"}, "x")
		for n, text := range c.files {
			i.Files["etc/"+n] = text
		}
		r := loaded(t, []stepstest.Image{i}, oneMaster)
		if got := r.net.Shielded(r.Master0()); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
		closeRun(t, r)
	}
}
