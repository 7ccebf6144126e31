package scenario

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"time"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// SealosImage installs a rootfs image made for sealos, unmodified: its own registry speaks plain HTTP, kubelet asks an
// image-cri-shim, and its scripts are what such scripts are. What keeps a node in the cluster outlives that registry. The
// promises are those of Install; after reset the hosts are what the image's clean scripts leave.
func SealosImage(ctx context.Context, out io.Writer) (err error) {
	st := newStory(out)
	site, err := makeAndOpen(ctx, st, recipe{images: (*Built).sealosImages}, 1, 1)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, site.Close()) }()
	// Its check script has to find out that the hosts lack apparmor_parser.
	site.extra = []string{"-e", "disableApparmor=false"}
	before, err := site.snapshots(ctx)
	if err != nil {
		return err
	}
	figures, err := site.firstRun(ctx, st)
	if err != nil {
		return err
	}
	if err := site.showCluster(ctx, st); err != nil {
		return err
	}
	if err := site.imagesCameThroughTheShim(ctx, st); err != nil {
		return err
	}
	if err := site.registryIsItsOwn(ctx, st); err != nil {
		return err
	}
	if err := site.exampleAnswers(ctx, st); err != nil {
		return err
	}
	if err := site.outlivesItsRegistry(ctx, st); err != nil {
		return err
	}
	if err := site.secondRun(ctx, st, &figures); err != nil {
		return err
	}
	if err := site.nothingEscaped(ctx, st); err != nil {
		return err
	}
	figures.print(st)
	return site.resetLeavesNoCluster(ctx, st, before)
}

// sealosHub is how every image is called on a host whose kubelet asks the shim.
const sealosHub = "sealos.hub:5000/"

// imagesCameThroughTheShim looks at what the runtime of each host holds: an
// image that had come another way would have another name.
func (s *Site) imagesCameThroughTheShim(ctx context.Context, st *story) error {
	st.heading("every image came through the image-cri-shim")
	for _, h := range s.Hosts {
		res, err := h.Exec(ctx, "ctr", "--namespace", "k8s.io", "images", "list", "--quiet")
		if err != nil {
			return err
		}
		images := 0
		for name := range strings.FieldsSeq(res.Stdout) {
			switch {
			case strings.HasPrefix(name, sealosHub):
				images++
			case !strings.HasPrefix(name, "sha256:"): // the identifier of an image that has a name as well
				return fmt.Errorf("%s holds %s, which did not come through the shim", h.Name, name)
			}
		}
		res, err = h.Exec(ctx, "journalctl", "--unit", "image-cri-shim", "--output", "cat", "--no-pager")
		if err != nil {
			return err
		}
		// Images of Kubernetes bear the registry's name from the beginning; those of applications get it.
		pull := regexp.MustCompile(`(?m)^PullImage: \S+/flannel:\S+ is ` + regexp.QuoteMeta(sealosHub) + `\S*flannel:\S+$`).FindString(res.Stdout)
		if pull == "" {
			return fmt.Errorf("the shim of %s tells of no pull of flannel:\n%s", h.Name, res.Stdout)
		}
		st.say("%s: %d images, all of %s (%s)", h.Name, images, sealosHub, pull)
	}
	return nil
}

// registryIsItsOwn asks the registry program of the image over plain HTTP, with
// the password that everybody knows; and looks whether the check script's own
// finding reached the runtime.
func (s *Site) registryIsItsOwn(ctx context.Context, st *story) error {
	st.heading("the image's registry, over plain HTTP")
	for _, h := range s.Hosts {
		res, err := h.Exec(ctx, "curl", "--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--max-time", "10",
			"--user", "admin:passw0rd", "http://"+sealosHub+"v2/")
		if err != nil {
			return fmt.Errorf("%s asks the registry: %w", h.Name, err)
		}
		if res.Stdout != "401" {
			return fmt.Errorf("the password that everybody knows gets %s %s from the registry, not 401", h.Name, res.Stdout)
		}
		if _, err := h.Exec(ctx, "grep", "--quiet", "disable_apparmor = true", "/etc/containerd/config.toml"); err != nil {
			return fmt.Errorf("what the check script found out about %s is not in containerd's configuration: %w", h.Name, err)
		}
		st.say("%s -> http://%s : 401 to the password of the image's ENV", h.Name, sealosHub)
	}
	return nil
}

// outlivesItsRegistry ends what a node and a master cannot do without while the
// only registry is down: it comes back from what the runtime holds, whatever the
// shim has found out meanwhile about names that it cannot look up.
func (s *Site) outlivesItsRegistry(ctx context.Context, st *story) (err error) {
	st.heading("the registry is down, and containers end")
	master := s.master0()
	if _, err := master.Exec(ctx, "systemctl", "stop", "registry"); err != nil {
		return err
	}
	defer func() {
		_, start := master.Exec(context.WithoutCancel(ctx), "systemctl", "start", "registry")
		err = errors.Join(err, start)
	}()
	for _, c := range []struct {
		host      *testbed.Host
		container string
	}{{s.Hosts[len(s.Hosts)-1], "care"}, {master, "kube-scheduler"}, {master, "kube-apiserver"}} {
		if err := comesBack(ctx, st, c.host, c.container); err != nil {
			return err
		}
	}
	return s.waitPods(ctx, 2*time.Minute)
}

// comesBack removes a container, so that kubelet has to ask for its image again, and waits for the next one.
func comesBack(ctx context.Context, st *story, h *testbed.Host, name string) error {
	begin := time.Now()
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, fmt.Errorf("%s of %s does not come back", name, h.Name))
	defer cancel()
	running := func() (string, error) {
		res, err := h.Exec(ctx, "crictl", "ps", "--quiet", "--state", "running", "--name", "^"+name+"$")
		return strings.TrimSpace(res.Stdout), err
	}
	old, err := running()
	if err != nil || old == "" {
		return fmt.Errorf("find container %s of %s: %q: %w", name, h.Name, old, err)
	}
	if _, err := h.Exec(ctx, "crictl", "rm", "--force", old); err != nil {
		return err
	}
	err = until(ctx, func() error {
		now, err := running()
		if err != nil || now == "" || now == old {
			return fmt.Errorf("container %q runs: %w", now, errors.Join(err, errNotYet))
		}
		return nil
	})
	if err != nil {
		log, _ := h.Exec(context.WithoutCancel(ctx), "journalctl", "--unit", "kubelet", "--unit", "image-cri-shim", "--output", "cat", "--no-pager", "--lines", "15")
		return fmt.Errorf("%w\n%s", err, log.Stdout)
	}
	st.say("%s: %s runs again after %.1f s", h.Name, name, time.Since(begin).Seconds())
	return nil
}

// resetLeavesNoCluster runs reset. The image's clean scripts leave more behind
// than those of our own image; nothing of it may run, be mounted or be reached.
func (s *Site) resetLeavesNoCluster(ctx context.Context, st *story, before [][]string) error {
	st.heading("reset")
	start := time.Now()
	if _, _, err := s.sealinstall(ctx, st, "reset", "--yes"); err != nil {
		return fmt.Errorf("reset: %w", err)
	}
	st.say("reset took %.1f s", time.Since(start).Seconds())
	after, err := s.snapshots(ctx)
	if err != nil {
		return err
	}
	var left []string
	for i, h := range s.Hosts {
		rules, others := 0, 0
		for _, d := range diff(before[i], after[i]) {
			switch {
			case expectedAfterReset(d) || strings.Contains(d, " /var/lib/sealos/installed") || strings.HasSuffix(d, " 0:0 /var/lib/sealos"):
				// The helm image notes there what it installed, for the scripts of our own rootfs.
			case ofTheCluster.MatchString(d):
				left = append(left, h.Name+": "+d)
			case packetFilter.MatchString(d):
				rules++
			default:
				others++
				st.say("  %s: %s", h.Name, d)
			}
		}
		st.say("%s: nothing runs, is mounted or listens; the image's clean scripts leave the %d things above, and %d lines of packet filter", h.Name, others, rules)
	}
	if len(left) > 0 {
		return fmt.Errorf("reset left %d things of the cluster:\n%s", len(left), strings.Join(left, "\n"))
	}
	return nil
}

var packetFilter = regexp.MustCompile(`^[+-] (iptables|nft) `)

// ofTheCluster finds what reset must have undone whatever the image's scripts do.
var ofTheCluster = regexp.MustCompile(`^[+-] (process|mount|port|service|route|address|rule|file content [0-9a-f]+ +/etc/hosts$|` +
	`file [a-z] \d+ \S+ (/etc/(kubernetes|hosts|cni)|/opt/cni|/root/\.kube|/var/lib/(sealos|cni|kubelet|etcd|containerd|registry))(/| |$))`)
