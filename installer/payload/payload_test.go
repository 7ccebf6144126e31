package payload

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer"
)

func TestTheVirtualAddress(t *testing.T) {
	for name, c := range map[string]struct {
		label, image, user, want string
	}{
		"default":               {"", "", "", installer.DefaultVIP},
		"reference, unset":      {"$defaultVIP", "", "", installer.DefaultVIP},
		"reference, image":      {"$defaultVIP", "10.96.0.99", "", "10.96.0.99"},
		"reference, user":       {"${defaultVIP}", "10.96.0.99", "10.96.0.100", "10.96.0.100"},
		"literal":               {"10.96.0.98", "", "", "10.96.0.98"},
		"literal, but user set": {"10.96.0.98", "", "10.96.0.100", "10.96.0.100"},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := &installer.Cluster{Env: map[string]string{}}
			i := &Image{Labels: map[string]string{"vip": c.label}, Env: map[string]string{}}
			if c.image != "" {
				i.Env["defaultVIP"] = c.image
			}
			if c.user != "" {
				cluster.Env["defaultVIP"] = c.user
			}
			if got := (&Payload{Images: []*Image{i}}).VIP(cluster); got != c.want {
				t.Errorf("vip = %s, want %s", got, c.want)
			}
		})
	}
}

func TestDirNamesAreOneElementOfAPathAndOneImageEach(t *testing.T) {
	seen := map[string]string{}
	for _, name := range []string{"app:v1", "app-v1", "app/v1", "docker.io/library/nginx:1.27", "localhost:5000/a/b@sha256:0f", "a//../b"} {
		got := DirName(name)
		if strings.ContainsAny(got, "/:@") || seen[got] != "" || DirName(name) != got {
			t.Errorf("DirName(%q) = %q, as of %q", name, got, seen[got])
		}
		seen[got] = name
	}
	if got := DirName("app-v1"); got != "app-v1" {
		t.Errorf("a name that is fine becomes %q", got)
	}
}

func TestEveryHostHasAnOrderOfRegistries(t *testing.T) {
	at := func(ip string, master bool) installer.Host {
		return installer.Host{IP: netip.MustParseAddr(ip), Master: master}
	}
	c := &installer.Cluster{Hosts: []installer.Host{at("10.0.0.1", true), at("10.0.0.2", true), at("10.0.0.3", false), at("10.0.0.4", false)}}
	for ip, want := range map[string]string{
		"10.0.0.1": "10.0.0.1 10.0.0.2", "10.0.0.2": "10.0.0.2 10.0.0.1", "10.0.0.3": "10.0.0.1 10.0.0.2", "10.0.0.4": "10.0.0.2 10.0.0.1",
		"10.0.0.9": "10.0.0.1 10.0.0.2", // it leaves the cluster
	} {
		if diff := cmp.Diff(want, strings.Join(Share{Cluster: c, Host: at(ip, false)}.RegistryHosts(), " ")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", ip, diff)
		}
	}
}
