package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Settings rolls settings out on three masters and two nodes, while an application and the API are asked without a pause.
func Settings(ctx context.Context, out io.Writer) (err error) {
	m, err := openMembers(ctx, newStory(out), 3)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(m.end(ctx), err, m.Close()) }()
	if err := m.begin(ctx); err != nil {
		return err
	}
	return m.newSettings(ctx)
}

// newSettings changes a setting of every kubelet, which needs a drain, and one of every API server, with a Clusterfile: the record
// with both in it. What asks must not notice.
func (m *memberSite) newSettings(ctx context.Context) error {
	const what = "settings are rolled out"
	m.st.heading("%s", what)
	m.load.enter(true, "%s", what)
	const edit = `sed -e '/^kind: KubeletConfiguration$/a maxPods: 111' /root/.sealos/default/Clusterfile > /root/apply.yml
cat >> /root/apply.yml <<END
---
apiVersion: kubeadm.k8s.io/v1beta4
kind: ClusterConfiguration
apiServer:
  extraArgs: [{name: max-requests-inflight, value: "401"}]
END`
	if res, err := m.master0().Exec(ctx, "sh", "-c", edit); err != nil {
		return fmt.Errorf("write a Clusterfile: %w: %s", err, res.Stderr)
	}
	for again := range 2 {
		start := time.Now()
		sum, _, err := m.sealinstall(ctx, m.st, "apply", "-f", "/root/apply.yml", "--yes")
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		m.took = append(m.took, StepFigure{"apply -f", time.Since(start).Seconds()})
		if (sum.Changes == 0) != (again > 0) {
			m.found(what, fmt.Errorf("run %d: %d changes: %+v", again+1, sum.Changes, sum.Steps))
		}
	}
	for _, h := range m.all() {
		text, err := m.kubectl(ctx, "get", "--raw", "/api/v1/nodes/"+h.Name+"/proxy/configz")
		if err != nil {
			return err
		}
		if !strings.Contains(text, `"maxPods":111`) {
			m.found(what, fmt.Errorf("the kubelet of %s has not got it", h.Name))
		}
	}
	pods, err := m.kubectl(ctx, "get", "pods", "-n", "kube-system", "-l", "component=kube-apiserver", "-o", "yaml")
	if err != nil {
		return err
	}
	if n := strings.Count(pods, "- --max-requests-inflight=401"); n != len(m.Masters) {
		m.found(what, fmt.Errorf("%d of %d API servers have it", n, len(m.Masters)))
	}
	nodes, err := m.kubectl(ctx, "get", "nodes", "-o", "wide")
	if err != nil {
		return err
	}
	if strings.Contains(nodes, "SchedulingDisabled") {
		m.found(what, fmt.Errorf("nodes stay cordoned:\n%s", nodes))
	}
	return m.isHealthy(ctx)
}
