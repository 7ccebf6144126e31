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

// ConformanceBroken breaks a cluster in two ways that leave every node Ready
// and every pod running, and wants the quick selection to see each.
func ConformanceBroken(ctx context.Context, out io.Writer) (err error) {
	st := newStory(out)
	site, err := makeAndOpen(ctx, st, recipe{images: (*Built).clusterWithTests, tests: true}, 1, 2)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	if _, _, err := site.install(ctx, st); err != nil {
		return fmt.Errorf("install: %w", err)
	}
	node := site.Nodes[0]
	st.heading("kube-proxy of %s stands still", node.Name)
	if _, err := node.Exec(ctx, "pkill", "-STOP", "-x", "kube-proxy"); err != nil {
		return err
	}
	if err := site.quickFails(ctx, st, "[sig-network]"); err != nil {
		return err
	}
	if _, err := node.Exec(ctx, "pkill", "-CONT", "-x", "kube-proxy"); err != nil {
		return err
	}
	st.heading("the API server names another issuer of tokens")
	if err := site.changeIssuer(ctx); err != nil {
		return err
	}
	return site.quickFails(ctx, st, "[sig-auth]")
}

// quickFails runs the quick selection, and wants a test of the area among what its verdict names.
func (s *Site) quickFails(ctx context.Context, st *story, area string) error {
	args := []string{"kube-conformance", "quick", "--report", "/root/broken", "--procs", "8"}
	st.say("%s# %s", s.master0().Name, strings.Join(args, " "))
	var told strings.Builder
	res, err := s.master0().Run(ctx, testbed.Command{Argv: args, Dir: "/root", Stdout: io.MultiWriter(st.out, &told), Stderr: st.out})
	if err != nil && res.Code != 1 {
		return err
	}
	if err == nil || !strings.Contains(told.String(), "FAILED "+area) || !strings.Contains(told.String(), "\nNOT PASSED: ") {
		return fmt.Errorf("on a broken cluster the quick selection ends with %d, and its verdict must name a test of %s that failed", res.Code, area)
	}
	_, err = s.master0().Exec(ctx, "rm", "-r", "/root/broken")
	return err
}

// changeIssuer has the API server of the first master give out and take tokens in another name, and waits until it does.
func (s *Site) changeIssuer(ctx context.Context) error {
	const manifest = "/etc/kubernetes/manifests/kube-apiserver.yaml"
	if _, err := s.master0().Exec(ctx, "sed", "-i", "s#--service-account-issuer=.*#--service-account-issuer=https://elsewhere.invalid#", manifest); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		out, err := s.kubectl(ctx, "get", "--raw", "/.well-known/openid-configuration")
		if err == nil && strings.Contains(out, "https://elsewhere.invalid") {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the API server does not take the other issuer: %q, %v", out, err)
		case <-time.After(time.Second):
		}
	}
}
