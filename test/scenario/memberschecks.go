package scenario

import (
	"context"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/test/testbed"
)

// How long after a command every trace of a change of members may take: what stands behind the virtual addresses, and all else.
const (
	vipLimit     = 10 * time.Second
	membersLimit = 60 * time.Second
)

// sorted are the words of a text, each once.
func sorted(words []string) []string {
	out := slices.Sorted(slices.Values(words))
	return slices.Compact(out)
}

func same(what string, got, want []string) error {
	got, want = sorted(got), sorted(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("%s: %q, want %q", what, got, want)
	}
	return nil
}

func names(hosts []*testbed.Host) (out []string) {
	for _, h := range hosts {
		out = append(out, h.Name)
	}
	return out
}

func addressList(hosts []*testbed.Host) (out []string) {
	for _, h := range hosts {
		out = append(out, h.Addr)
	}
	return out
}

// exact waits until every list of members that the cluster and its hosts keep is that of the site, and tells how long after
// begin each took.
func (m *memberSite) exact(ctx context.Context, begin time.Time) error {
	type check struct {
		what  string
		limit time.Duration
		try   func(context.Context) error
	}
	checks := []check{
		{"nodes", membersLimit, m.nodesAreExact},
		{"etcd", membersLimit, m.etcdIsExact},
		{"the endpoints of the API", membersLimit, m.endpointsAreExact},
		{"leases of nodes", membersLimit, m.leasesAreExact},
		{"kubeadm's ConfigMaps", membersLimit, m.configMapsAreExact},
	}
	for _, h := range m.Nodes {
		checks = append(checks, check{"the virtual address on " + h.Name, vipLimit, func(ctx context.Context) error { return m.vipIsExact(ctx, h) }})
	}
	for _, h := range m.all() {
		checks = append(
			checks,
			check{"/etc/hosts on " + h.Name, membersLimit, func(ctx context.Context) error { return m.etcHostsAreExact(ctx, h) }},
			check{"containerd's mirrors on " + h.Name, membersLimit, func(ctx context.Context) error { return m.mirrorsAreExact(ctx, h) }},
		)
	}
	for _, h := range m.Masters {
		checks = append(
			checks,
			check{"the API's certificate on " + h.Name, membersLimit, func(ctx context.Context) error { return m.sansAreExact(ctx, h) }},
			check{"the record on " + h.Name, membersLimit, func(ctx context.Context) error { return m.recordIsExact(ctx, h) }},
		)
	}
	took := make([]time.Duration, len(checks))
	errs := make([]error, len(checks))
	var all errgroup.Group
	all.SetLimit(4)
	for i, c := range checks {
		all.Go(func() error {
			ctx, cancel := context.WithDeadlineCause(ctx, begin.Add(c.limit), fmt.Errorf("after %s", c.limit))
			defer cancel()
			errs[i] = until(ctx, func() error { return c.try(ctx) })
			took[i] = time.Since(begin)
			return nil
		})
	}
	_ = all.Wait() // each has its place in errs
	last := 0
	for i, c := range checks {
		if errs[i] != nil {
			errs[i] = fmt.Errorf("%s: %w", c.what, errs[i])
		}
		if took[i] > took[last] {
			last = i
		}
	}
	m.st.say("%d lists of members looked at; the last to be right was %s, %.1f s after the command", len(checks), checks[last].what, took[last].Seconds())
	return errors.Join(errs...)
}

func (m *memberSite) nodesAreExact(ctx context.Context) error {
	out, err := m.kubectl(ctx, "get", "nodes", "-o", `jsonpath={range .items[*]}{.metadata.name}={.status.conditions[?(@.type=="Ready")].status}{.spec.unschedulable}{"\n"}{end}`)
	if err != nil {
		return err
	}
	var want []string
	for _, n := range names(m.all()) {
		want = append(want, n+"=True")
	}
	return same("nodes", strings.Fields(out), want)
}

func (m *memberSite) etcdIsExact(ctx context.Context) error {
	list, err := m.members(ctx)
	if err != nil {
		return err
	}
	var got []string
	for line := range strings.Lines(list) {
		f := strings.Split(strings.TrimSpace(line), ", ")
		if len(f) != 6 || f[1] != "started" || f[5] != "false" {
			return fmt.Errorf("a member that does not vote: %s", line)
		}
		got = append(got, strings.TrimSuffix(strings.TrimPrefix(f[4], "https://"), ":2379"))
	}
	return same("members", got, addressList(m.Masters))
}

func (m *memberSite) endpointsAreExact(ctx context.Context) error {
	out, err := m.kubectl(ctx, "get", "endpointslices", "-n", "default", "kubernetes", "-o", `jsonpath={range .endpoints[*]}{.addresses[*]}{"\n"}{end}`)
	if err != nil {
		return err
	}
	return same("endpoints", strings.Fields(out), addressList(m.Masters))
}

func (m *memberSite) leasesAreExact(ctx context.Context) error {
	out, err := m.kubectl(ctx, "get", "leases", "-n", "kube-node-lease", "-o", `jsonpath={range .items[*]}{.metadata.name}{"\n"}{end}`)
	if err != nil {
		return err
	}
	return same("leases", strings.Fields(out), names(m.all()))
}

// siteAddress is an address of a host of the site.
var siteAddress = regexp.MustCompile(`\b10\.66\.0\.\d+\b`)

// configMapsAreExact looks for hosts that are not in the cluster, and for masters that are not told.
func (m *memberSite) configMapsAreExact(ctx context.Context) error {
	config, err := m.kubectl(ctx, "get", "configmap", "-n", "kube-system", "kubeadm-config", "-o", "jsonpath={.data.ClusterConfiguration}")
	if err != nil {
		return err
	}
	info, err := m.kubectl(ctx, "get", "configmap", "-n", "kube-public", "cluster-info", "-o", "jsonpath={.data.kubeconfig}")
	if err != nil {
		return err
	}
	err = same("addresses in kubeadm-config", siteAddress.FindAllString(config, -1), addressList(m.Masters))
	for _, a := range siteAddress.FindAllString(info, -1) {
		if !slices.Contains(addressList(m.Masters), a) {
			err = errors.Join(err, fmt.Errorf("cluster-info names %s", a))
		}
	}
	return err
}

// vipIsExact asks the keeper of a virtual address whether it has exactly the masters behind it, and reads the list that it follows.
func (m *memberSite) vipIsExact(ctx context.Context, h *testbed.Host) error {
	res, err := h.Exec(ctx, "cat", "/var/lib/sealos/care/servers")
	if err != nil {
		return err
	}
	argv := []string{"/var/lib/sealos/bin/sealinstall", "care", "--check", "--vs", "10.103.97.2:6443", "--list", "/var/lib/sealos/care/servers"}
	var servers []string
	for _, a := range addressList(m.Masters) {
		servers = append(servers, a+":6443")
		argv = append(argv, "--rs", a+":6443")
	}
	if err := same("listed servers", strings.Fields(res.Stdout), servers); err != nil {
		return err
	}
	_, err = h.Exec(ctx, argv...)
	return err
}

// etcHostsAreExact looks at the lines of the installer: each host of the cluster by its name, and nobody else.
func (m *memberSite) etcHostsAreExact(ctx context.Context, h *testbed.Host) error {
	res, err := h.Exec(ctx, "cat", "/etc/hosts")
	if err != nil {
		return err
	}
	var got, want []string
	for line := range strings.Lines(res.Stdout) {
		entry, _, ours := strings.Cut(line, "# sealos")
		f := strings.Fields(entry)
		if !ours || len(f) < 2 || !siteAddress.MatchString(f[0]) {
			continue
		}
		if f[1] == "apiserver.cluster.local" || f[1] == "sealos.hub" {
			if !slices.Contains(addressList(m.Masters), f[0]) {
				return fmt.Errorf("%s is %s, which is no master", f[1], f[0])
			}
			continue
		}
		got = append(got, f[0]+" "+f[1])
	}
	for _, o := range m.all() {
		want = append(want, o.Addr+" "+o.Name)
	}
	return same("hosts", got, want)
}

// mirrorsAreExact looks at the registries that containerd asks.
func (m *memberSite) mirrorsAreExact(ctx context.Context, h *testbed.Host) error {
	res, err := h.Exec(ctx, "cat", "/etc/containerd/certs.d/_default/hosts.toml")
	if err != nil {
		return err
	}
	return same("registries", siteAddress.FindAllString(res.Stdout, -1), addressList(m.Masters))
}

// sansAreExact looks at the certificate that a master's API server shows.
func (m *memberSite) sansAreExact(ctx context.Context, h *testbed.Host) error {
	res, err := h.Exec(ctx, "cat", "/etc/kubernetes/pki/apiserver.crt")
	if err != nil {
		return err
	}
	block, _ := pem.Decode([]byte(res.Stdout))
	if block == nil {
		return errors.New("no certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return err
	}
	var got []string
	for _, ip := range cert.IPAddresses {
		if siteAddress.MatchString(ip.String()) {
			got = append(got, ip.String())
		}
	}
	return same("addresses in the certificate", got, addressList(m.Masters))
}

// recordIsExact looks at the Clusterfile that a master keeps.
func (m *memberSite) recordIsExact(ctx context.Context, h *testbed.Host) error {
	const name = "/var/lib/sealos/data/default/Clusterfile"
	res, err := h.Exec(ctx, "cat", name)
	if err != nil {
		return err
	}
	c, err := installer.ParseClusterfile(name, []byte(res.Stdout))
	if err != nil {
		return err
	}
	named := siteAddress.FindAllString(res.Stdout, -1) // in its hosts, and among those that were taken out; nowhere else
	return errors.Join(
		same("recorded hosts", c.IPs(), addressList(m.all())),
		same("addresses in the record", named, slices.Concat(c.IPs(), c.TakenOut())),
	)
}

// spreadOut fails if all replicas lie on one host: there are others that would take them.
func (m *memberSite) spreadOut(ctx context.Context, namespace, selector string) error {
	out, err := m.kubectl(ctx, "get", "pods", "-n", namespace, "-l", selector, "-o", `jsonpath={range .items[?(@.status.phase=="Running")]}{.spec.nodeName}{"\n"}{end}`)
	if err != nil {
		return err
	}
	hosts := strings.Fields(out)
	slices.Sort(hosts)
	if len(hosts) > 1 && len(slices.Compact(slices.Clone(hosts))) == 1 {
		return fmt.Errorf("all of %s/%s lie on %s", namespace, selector, hosts[0])
	}
	return nil
}
