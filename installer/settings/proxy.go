package settings

import (
	"context"
	"fmt"
	"time"

	"github.com/sealbuild/sealbuild/installer"
)

// rolloutRound is how long one kubectl waits for kube-proxy. Then it is begun again, by whichever control plane answers.
const rolloutRound = 20 * time.Second

// rollProxy brings kube-proxy's configuration in force: its pods read it when they start.
func (s *Settings) rollProxy(ctx context.Context, m *configMap) (int, error) {
	if m.gone() {
		return 0, nil
	}
	differs := len(m.fields) > 0 && s.mayWrite(m.drifted())
	if !differs && (!m.note.Rolling || !s.Wish.Apply) {
		return s.rollMap(ctx, m)
	}
	if differs {
		if err := s.writeMap(ctx, m, note{Rolling: true}); err != nil {
			return 0, err
		}
	}
	s.Report.Infof("kube-proxy is rolled out with new settings")
	err := installer.Insist(ctx, s.APIPatience(), func(ctx context.Context) error {
		_, err := s.Kube.Kubectl(ctx, "rollout", "restart", "daemonset", "kube-proxy", "-n", mapNamespace)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("restart kube-proxy: %w", err)
	}
	err = installer.Insist(ctx, min(settlePatience, s.Timeout), func(ctx context.Context) error {
		_, err := s.Kube.Kubectl(ctx, "rollout", "status", "daemonset", "kube-proxy", "-n", mapNamespace, "--timeout", rolloutRound.String())
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("kube-proxy is not ready everywhere with its new settings: %w\n  Its pods say why (kubectl logs -n kube-system -l k8s-app=kube-proxy). Correct the settings in the Clusterfile, and run the same command", err)
	}
	return 1, s.writeMap(ctx, m, note{Of: m.of})
}
