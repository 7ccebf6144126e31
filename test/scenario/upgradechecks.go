package scenario

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/test/testbed"
)

// release is a version of Kubernetes with the images that its kubeadm names, by the name of their program, and its containerd.
type release struct {
	version, containerd string
	images              map[string]string
}

// releases are what a site has before an upgrade and after it.
func (b Built) releases(ctx context.Context) (before, after release, err error) {
	read := func(pieces string) (r release, err error) {
		c := sealosContext{upstream: pieces}
		list, err := c.askKubeadm(ctx)
		if err != nil {
			return r, err
		}
		r = release{version: c.version, images: map[string]string{}}
		for image := range strings.FieldsSeq(list) {
			name, _, _ := strings.Cut(image[strings.LastIndex(image, "/")+1:], ":")
			r.images[name] = image
		}
		r.containerd, err = containerdVersion(ctx, pieces)
		return r, err
	}
	if before, err = read(b.Before); err == nil {
		after, err = read(b.Upstream)
	}
	return before, after, err
}

// mastersRun is what runs on masters alone.
var mastersRun = []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "etcd"}

// hostRuns fails unless a host runs a version of everything: programs, services, the images of its pods, and is a node that
// takes pods.
func (u *upgradeSite) hostRuns(ctx context.Context, h *testbed.Host, r release) error {
	var errs []error
	differs := func(what, got, want string) {
		if got != want {
			errs = append(errs, fmt.Errorf("%s of %s is %q, want %q", what, h.Name, got, want))
		}
	}
	node, err := u.kubectl(ctx, "get", "node", h.Name, "-o",
		`jsonpath={.status.nodeInfo.kubeletVersion} {.status.nodeInfo.containerRuntimeVersion} {.status.conditions[?(@.type=="Ready")].status} {.spec.unschedulable}`)
	if err != nil {
		return err
	}
	differs("the node", strings.TrimSpace(node), fmt.Sprintf("%s containerd://%s True", r.version, strings.TrimPrefix(r.containerd, "v")))
	programs, err := h.Exec(ctx, "sh", "-c", "kubelet --version; kubectl version --client -o yaml | grep gitVersion; kubeadm version -o short; grep -E '^ *sandbox' /etc/containerd/config.toml")
	if err != nil {
		return err
	}
	if n := strings.Count(programs.Stdout, r.version); n != 3 || !strings.Contains(programs.Stdout, r.images["pause"]) {
		errs = append(errs, fmt.Errorf("programs of %s are not all of %s with %s:\n%s", h.Name, r.version, r.images["pause"], programs.Stdout))
	}
	pods, err := u.kubectl(ctx, "get", "pods", "-n", "kube-system", "--field-selector", "spec.nodeName="+h.Name, "-o",
		`jsonpath={range .items[*]}{range .status.containerStatuses[*]}{.name}={.image}={.ready}{"\n"}{end}{end}`)
	if err != nil {
		return err
	}
	if slices.Contains(u.Masters, h) {
		for _, name := range mastersRun {
			if want := name + "=" + r.images[name] + "=true"; !strings.Contains(pods, want) {
				errs = append(errs, fmt.Errorf("%s does not run %s:\n%s", h.Name, want, pods))
			}
		}
	}
	return errors.Join(errs...)
}

// allRun fails unless every host runs a version, and so do the pods that belong to no host of their own.
func (u *upgradeSite) allRun(ctx context.Context, r release) error {
	var errs []error
	for _, h := range u.all() {
		errs = append(errs, u.hostRuns(ctx, h, r))
		for _, name := range []string{"kube-proxy", "pause"} {
			if has, err := hasImage(ctx, h, r.images[name]); err != nil || !has {
				errs = append(errs, fmt.Errorf("%s lacks %s: %w", h.Name, r.images[name], errors.Join(err, errNotYet)))
			}
		}
	}
	for name, labels := range map[string]string{"kube-proxy": "k8s-app=kube-proxy", "coredns": "k8s-app=kube-dns"} {
		got, err := u.kubectl(ctx, "get", "pods", "-n", "kube-system", "-l", labels, "-o", `jsonpath={range .items[*]}{.status.containerStatuses[0].image}{"\n"}{end}`)
		errs = append(errs, err, same("images of "+name, strings.Fields(got), []string{r.images[name]}))
		if n := len(strings.Fields(got)); name == "kube-proxy" && n != len(u.all()) {
			errs = append(errs, fmt.Errorf("%d pods of kube-proxy on %d hosts", n, len(u.all())))
		}
	}
	return errors.Join(errs...)
}

// runsNew fails unless everything runs the new version.
func (u *upgradeSite) runsNew(ctx context.Context) error {
	images, err := u.kubectl(ctx, "get", "deployment", "-n", "load", "asked", "-o", "jsonpath={.spec.template.spec.containers[0].image}")
	if err != nil {
		return err
	}
	return errors.Join(u.allRun(ctx, u.after), same("the application", strings.Fields(images), []string{"ghcr.io/sealbuild/hello:" + newApplication}))
}

// waitVersion waits until a host is a node that is ready with a version of kubelet.
func (u *upgradeSite) waitVersion(ctx context.Context, h *testbed.Host, version string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, barePatience, fmt.Errorf("after %s", barePatience))
	defer cancel()
	return until(ctx, func() error {
		got, err := u.kubectl(ctx, "get", "node", h.Name, "-o", `jsonpath={.status.nodeInfo.kubeletVersion} {.status.conditions[?(@.type=="Ready")].status}`)
		if err == nil && got != version+" True" {
			err = fmt.Errorf("%s is %s", h.Name, got)
		}
		return err
	})
}
