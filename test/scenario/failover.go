package scenario

import (
	"context"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// failoverLimit is how long a node may be without the API when a master dies.
const failoverLimit = 15 * time.Second

// takeIn lets the masters that are left go on without the dead one: they take in
// a new node.
func (s *Site) takeIn(ctx context.Context, st *story, spare *testbed.Host) error {
	s.Nodes = append(s.Nodes, spare)
	st.heading("a new node, taken in by %s", s.master0().Name)
	if err := s.carryIn(ctx, st, s.built); err != nil {
		return err
	}
	if _, _, err := s.install(ctx, st); err != nil {
		return fmt.Errorf("take in %s without a master: %w", spare.Name, err)
	}
	nodes, err := s.kubectl(ctx, "get", "nodes", "--no-headers")
	if err != nil {
		return err
	}
	st.say("%s", strings.TrimSpace(nodes))
	// The dead one may stand there as Ready for a while: its lease has to run out first.
	if !regexp.MustCompile(`(?m)^` + spare.Name + ` +Ready `).MatchString(nodes) {
		return fmt.Errorf("%s is not a Ready node:\n%s", spare.Name, nodes)
	}
	return nil
}

// heal gives the cluster a master back that has power again.
func (s *Site) heal(ctx context.Context, st *story, back *testbed.Host) error {
	s.Masters = append(s.Masters, back)
	if _, _, err := s.install(ctx, st); err != nil {
		return fmt.Errorf("heal the cluster: %w", err)
	}
	if err := s.waitPods(ctx, 3*time.Minute); err != nil {
		return err
	}
	return s.everyMasterCounts(ctx, st)
}

// serviceRange is where the cluster's own virtual addresses lie.
var serviceRange = netip.MustParsePrefix("10.96.0.0/22")

// onlyServicesEscaped is nothingEscaped for a cluster in which hosts come and go.
// As long as kube-proxy has not yet written its rules on a host, and when the
// kernel no longer knows a connection that broke, packets to a Service are not
// translated and take the default route. That is so in any cluster, and is told
// here; packets to any other address fail the test.
func (s *Site) onlyServicesEscaped(ctx context.Context, st *story) error {
	flows, err := s.EscapedFlows(ctx)
	if err != nil {
		return err
	}
	late := 0
	for _, f := range flows {
		if !serviceRange.Contains(f.To) {
			return fmt.Errorf("packets tried to leave the site: %v", flows)
		}
		late += f.Packets
	}
	st.heading("packets that tried to leave the site: 0 (to the cluster's own Services, not translated: %d)", late)
	return nil
}

// gap takes the power from a master and tells when the API failed to answer a
// node for the last time, measured from the moment of the cut.
func (s *Site) gap(ctx context.Context, node, dead *testbed.Host) (time.Duration, error) {
	begin := time.Now()
	if err := dead.PowerOff(ctx); err != nil {
		return 0, err
	}
	var last time.Duration
	var cause error
	// Watched for longer than the limit: what comes back may go away again.
	for time.Since(begin) < failoverLimit+10*time.Second {
		_, err := node.Exec(ctx, "kubectl", "--kubeconfig", "/etc/kubernetes/kubelet.conf", "--cache-dir", "/root/.sealos/kubectl-of-test",
			"--request-timeout=2s", "get", "--raw=/readyz")
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if err != nil {
			last, cause = time.Since(begin), err
		}
	}
	if last > failoverLimit {
		return last, fmt.Errorf("%s after %s lost its power the API does not answer %s: %w", last, dead.Name, node.Name, cause)
	}
	return last, nil
}
