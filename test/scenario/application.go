package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// imagesAndApplication builds the images of the repository, and beside their bundle one that holds an application alone.
func (b *Built) imagesAndApplication(ctx context.Context, s *story) error {
	if err := b.images(ctx, s); err != nil {
		return err
	}
	b.Application = b.work.path("app.run")
	s.heading("sealbuild: an application as a file of its own")
	if err := b.seal(ctx, s, "-t", "greeter:v1", "-o", "none", filepath.Join(b.Root, "test/scenario/testdata/application")); err != nil {
		return err
	}
	return b.seal(ctx, s, "bundle", "greeter:v1", "-o", b.Application)
}

// addApplication adds an application to the cluster that runs: ./app.run, with no flags. Nothing else changes, a second run
// changes nothing at all, and neither does the file that made the cluster.
func addApplication(ctx context.Context, st *story, s *Site) error {
	st.heading("an application is added to the cluster: ./app.run")
	const file = "/root/app.run"
	if err := s.master0().Copy(ctx, s.built.Application, file, 0o755); err != nil {
		return err
	}
	before, err := untouched(ctx, s)
	if err != nil {
		return err
	}
	for _, first := range []bool{true, false} {
		start := time.Now()
		sum, err := runApplication(ctx, st, s, file)
		if err != nil {
			return fmt.Errorf("add the application: %w", err)
		}
		st.say("%d changes in %.1f s", sum.Changes, time.Since(start).Seconds())
		if first != (sum.Changes > 0) {
			return fmt.Errorf("%d changes: %+v", sum.Changes, sum.Steps)
		}
		for _, step := range sum.Steps {
			if slices.Contains([]string{"bootstrap", "init-master0", "join-masters", "join-nodes", "sync-ipvs"}, step.Step) {
				return fmt.Errorf("the step %s ran: %+v", step.Step, sum.Steps)
			}
		}
	}
	after, err := untouched(ctx, s)
	if err != nil {
		return err
	}
	if before != after {
		return fmt.Errorf("more than the application has changed: before\n%s\nafter\n%s", before, after)
	}
	if err := greeterAnswers(ctx, st, s); err != nil {
		return err
	}
	sum, _, err := s.install(ctx, st)
	if err != nil {
		return fmt.Errorf("the first file after the application: %w", err)
	}
	if sum.Changes != 0 {
		return fmt.Errorf("the first file changed %d things after the application was added: %+v", sum.Changes, sum.Steps)
	}
	res, err := s.master0().Exec(ctx, "cat", "/root/.sealos/default/Clusterfile")
	if err != nil {
		return err
	}
	if !strings.Contains(res.Stdout, "greeter:v1") || !strings.Contains(res.Stdout, "kubernetes:v1.36.3") {
		return fmt.Errorf("the record lacks an image:\n%s", res.Stdout)
	}
	_, err = s.master0().Exec(ctx, "rm", file)
	return err
}

func runApplication(ctx context.Context, st *story, s *Site, file string) (sum Summary, err error) {
	st.say("%s# ./app.run", s.master0().Name)
	res, err := s.master0().Run(ctx, testbed.Command{Argv: []string{file, "-o", "json"}, Dir: "/root", Stderr: st.out})
	if err != nil {
		return sum, err
	}
	return sum, json.Unmarshal([]byte(res.Stdout), &sum)
}

// untouched is what an application must not change on any host: the installer in use, the containers of the control plane and
// of care, and the settings of kubelet and containerd.
func untouched(ctx context.Context, s *Site) (string, error) {
	const script = `readlink /var/lib/sealos/bin/sealinstall || sha256sum /var/lib/sealos/bin/sealinstall; ls /var/lib/sealos/bin
find /etc/kubernetes /etc/containerd /etc/hosts /var/lib/kubelet/config.yaml /var/lib/sealos/data/default/rootfs -type f -exec sha256sum {} + | sort -k 2 | sha256sum
systemctl show --property=MainPID kubelet containerd registry
crictl ps --quiet --namespace '^kube-system$' | sort`
	var out strings.Builder
	for _, h := range s.Hosts {
		res, err := h.Exec(ctx, "bash", "-c", script)
		if err != nil {
			return "", fmt.Errorf("look at %s: %w", h.Name, err)
		}
		fmt.Fprintf(&out, "%s:\n%s", h.Name, res.Stdout)
	}
	return out.String(), nil
}

// greeterAnswers asks the application from every host. Its image was in no bundle before, so it came from the site's registry.
func greeterAnswers(ctx context.Context, st *story, s *Site) error {
	ip, err := s.kubectl(ctx, "get", "service", "-n", "greeter", "greeter", "-o", "jsonpath={.spec.clusterIP}")
	if err != nil {
		return err
	}
	for _, h := range s.Hosts {
		script := fmt.Sprintf(`exec 3<>/dev/tcp/%s/80; printf 'GET / HTTP/1.0\r\n\r\n' >&3; timeout 10 cat <&3`, ip)
		res, err := h.Exec(ctx, "timeout", "20", "bash", "-c", script)
		if err != nil {
			return fmt.Errorf("%s asks the application: %w", h.Name, err)
		}
		lines := strings.Split(strings.TrimSpace(res.Stdout), "\n")
		st.say("%s -> %s", h.Name, lines[len(lines)-1])
		if !strings.Contains(res.Stdout, "hello from an application bundle, Kubernetes v1.36.3") {
			return errors.New("that is not the application's answer")
		}
	}
	return nil
}
