package compat

import (
	"slices"
	"strings"
	"testing"
)

// kubeadms is the Corefile that kubeadm v1.35 writes.
const kubeadms = `.:53 {
    errors
    health {
       lameduck 5s
    }
    ready
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus :9153
    forward . /etc/resolv.conf {
       max_concurrent 1000
    }
    cache 30 {
       disable success cluster.local
       disable denial cluster.local
    }
    loop
    reload
    loadbalance
}
`

func TestACorefileThatKubeadmCannotCarryOverIsFound(t *testing.T) {
	with := func(plugin string) string { return strings.Replace(kubeadms, "    loop\n", "    loop\n"+plugin, 1) }
	for name, c := range map[string]struct {
		text, from, to string
		want           []string // warning or problem, and a part of the message
	}{
		"kubeadm's own":              {kubeadms, "v1.13.1", "v1.14.2", nil},
		"of the same version":        {with("    blacklist x\n"), "v1.14.2", "v1.14.2", nil},
		"customised, and known":      {with("    hosts {\n      10.0.0.1 a.site\n      fallthrough\n    }\n"), "v1.13.1", "v1.14.2", nil},
		"a zone more":                {kubeadms + "site.lan:53 {\n  errors\n  cache 30\n  forward . 10.0.0.9\n}\n", "v1.13.1", "v1.14.2", nil},
		"a plugin that nobody knows": {with("    blacklist x {\n      reload 3s\n    }\n"), "v1.13.1", "v1.14.2", []string{`false cannot be carried over from CoreDNS 1.13.1 to 1.14.2: nobody knows what becomes of plugin "blacklist"`}},
		"an option that nobody knows": {strings.Replace(kubeadms, "max_concurrent", "as_fast_as", 1), "v1.13.1", "v1.14.2", []string{
			`false cannot be carried over from CoreDNS 1.13.1 to 1.14.2: nobody knows what becomes of option "as_fast_as" of plugin "forward"`,
		}},
		"what was removed": {".:53 {\n kubernetes cluster.local {\n  upstream\n }\n ready\n}\n", "1.6.7", "1.7.0", []string{
			`true has option "upstream" of plugin "kubernetes", which is ignored in CoreDNS 1.6.9`, `true has option "upstream" of plugin "kubernetes", which is removed in CoreDNS 1.7.0`,
		}},
		"back":                         {kubeadms, "v1.14.2", "v1.13.1", []string{"false cannot be carried over from CoreDNS 1.14.2 to 1.13.1: cannot migrate up"}},
		"of a version of their own":    {kubeadms, "v1.13.1-site", "v1.14.2", []string{"true was not tried: how CoreDNS 1.13.1-site is configured is not known here"}},
		"of a version that is to come": {kubeadms, "v1.13.1", "v9.0.0", []string{"true was not tried: how CoreDNS 9.0.0 is configured is not known here"}},
		"broken":                       {"{\n errors {\n x\n", "v1.13.1", "v1.14.2", []string{"false cannot be read"}},
		"empty":                        {"", "v1.13.1", "v1.14.2", nil},
	} {
		var got []string
		for _, p := range corefileProblems(c.text, c.from, c.to) {
			message := strings.TrimPrefix(p.Message, "the Corefile (ConfigMap kube-system/coredns) ")
			got = append(got, map[bool]string{true: "true ", false: "false "}[p.Warning]+message)
		}
		if !slices.EqualFunc(got, c.want, strings.HasPrefix) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}

func FuzzCorefileIsJudgedWhateverItSays(f *testing.F) {
	f.Add(kubeadms)
	f.Add("{\n errors {\n x\n")
	f.Add("}\n}\n. {\n import x\n}\n")
	f.Add(".:53 {\n proxy . /etc/resolv.conf {\n upstream\n }\n}\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, p := range corefileProblems(text, "v1.6.7", "v1.14.2") {
			if p.Check != "corefile" || p.Message == "" || p.Remedy == "" {
				t.Errorf("%+v", p)
			}
		}
	})
}
