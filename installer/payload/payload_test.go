package payload

import (
	"strings"
	"testing"

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
