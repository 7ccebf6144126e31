// Package scenario holds what is proven on real hosts: each scenario builds a
// bundle from the repository's own cluster images, boots hosts in a closed
// network, and does there what an operator would do, with assertions on the
// way. `make demo` tells a scenario as a story; test/e2e runs it as a test.
package scenario

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Scenario is one story. Run narrates on out and fails with an error that
// names the promise which did not hold.
type Scenario struct {
	Name  string
	Title string
	Run   func(ctx context.Context, out io.Writer) error
}

// All lists the scenarios by the names that `make e2e SCENARIO=name` takes.
func All() []Scenario {
	return []Scenario{
		{"install", "one master and two nodes, twice, judged by Kubernetes' own tests, and back", JudgedInstall},
		{"first-install", "docs/first-install.md, word for word, on two hosts that have nothing", FirstInstall},
		{"ha", "three masters and one node; the first master dies, another goes on; its registry is damaged, and comes back", HA},
		{"etcd-join", "masters' joins are cut when etcd has taken them in; one comes back with an empty disk", EtcdJoin},
		{"resume", "killed again and again, then left alone", Resume},
		{"bare", "an installation beside the bare commands of kubeadm", Bare},
		{"sealos-image", "a rootfs image made for sealos, unmodified", SealosImage},
		{"old-package", "a cluster image made of an offline package of the older kind, with containerd in Docker's place", OldPackage},
		{"site-conditions", "hosts as sites have them: resolvers, routes, names, proxies", SiteConditions},
		{"reset-conditions", "hosts with disks, links and files of the site; the cluster comes and goes, they stay", resetConditions},
		{"conformance", "every conformance test of Kubernetes on one master and two nodes; FOCUS=regex for some", Conformance},
		{"conformance-quick", "one or two of each area, on one master and two nodes", ConformanceQuick},
		{"conformance-broken", "clusters that look well and are not: the quick selection sees it", ConformanceBroken},
		{"members", "1+2 becomes 3+2, hosts leave and come back, under load; nothing fails", Members},
		{"settings", "settings of kubelets and API servers are rolled out on 3+2 under load; nothing fails", Settings},
		{"members-dead", "masters and a node die for ever, the first master too; others take their place; old disks come back", MembersDead},
		{"upgrade", "3+2 with an older Kubernetes are upgraded under load; nothing fails, what must be refused is refused", Upgrade},
		{"upgrade-bare", "an upgrade beside the bare commands of kubeadm", UpgradeBare},
		{"upgrade-faults", "an upgrade in which everything goes wrong: what fails is put back, the same command goes on", UpgradeFaults},
		{"badinput", "what an operator gets wrong, and what it says", BadInput},
	}
}

// story prints headings with the time since the beginning.
type story struct {
	out   io.Writer
	start time.Time
}

func newStory(out io.Writer) *story { return &story{out: out, start: time.Now()} }

func (s *story) heading(format string, args ...any) {
	fmt.Fprintf(s.out, "\n=== %5.0fs  %s\n", time.Since(s.start).Seconds(), fmt.Sprintf(format, args...))
}

func (s *story) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

// repository is the root of the checkout that this program was built from.
func repository() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if mod == "" || mod == os.DevNull {
		return "", fmt.Errorf("not inside the repository")
	}
	return filepath.Dir(mod), nil
}

// command runs a program of this machine and shows what it prints.
func command(ctx context.Context, out io.Writer, dir string, env []string, argv ...string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	cmd.Env = append(os.Environ(), env...)
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	return nil
}

// lastLine runs a program that prints progress on stderr and a path as its last line.
func lastLine(ctx context.Context, out io.Writer, dir string, argv ...string) (string, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Dir, cmd.Stderr = dir, out
	data, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(argv, " "), err)
	}
	lines := strings.Split(strings.TrimSpace(string(data)), "\n")
	return lines[len(lines)-1], nil
}
