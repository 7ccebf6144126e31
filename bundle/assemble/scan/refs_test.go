package scan

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/distribution/reference"
)

func TestReferencesAreNormalised(t *testing.T) {
	const d = "sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d"
	for in, want := range map[string]string{
		"nginx":                     "docker.io/library/nginx:latest",
		" nginx:1 ":                 "docker.io/library/nginx:1",
		"a/b":                       "docker.io/a/b:latest",
		"docker.io/nginx":           "docker.io/library/nginx:latest",
		"index.docker.io/a/b:1":     "docker.io/a/b:1",
		"docker://quay.io/a/b:1":    "quay.io/a/b:1",
		"localhost:5000/a":          "localhost:5000/a:latest",
		"quay.io/a/b@" + d:          "quay.io/a/b@" + d,
		"quay.io/a/b:1@" + d:        "quay.io/a/b:1@" + d,
		"'quay.io/a/b:1'":           "quay.io/a/b:1",
		"UPPER":                     "",
		"":                          "",
		"a b":                       "",
		strings.Repeat("a", 2000):   "",
		"quay.io/a/b:1@sha256:abcd": "",
	} {
		got, err := Normalize(in)
		if (err != nil) != (want == "") || got != want {
			t.Errorf("Normalize(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
}

func TestStrictTakesOnlyWhatCannotBeElse(t *testing.T) {
	for in, want := range map[string]bool{
		"quay.io/a/b:1": true, "registry.k8s.io/pause:3.10": true, "10.0.0.1:5000/x:1": true, "localhost:5000/x:y": true,
		"a/b@sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d": true, "my-reg.corp.example/a:b": true,
		"nginx:1": false, "a/b:1": false, "quay.io/a/b": false, "host:8080": false, "app.kubernetes.io/name:x": false,
		"node-role.kubernetes.io/master:NoSchedule": false, "https://quay.io/a:1": false, "github.com/a/b:v1": false,
		"x.svc:80/a:b": false, "/usr/bin:1": false, "1.2.3": false, "a.b.c/d.yaml": false, "10.0.0.0/8": false, "": false,
		"rbac.authorization.k8s.io/x:y": false, "example.com:abc/x:1": false,
	} {
		if strict(in) != want {
			t.Errorf("strict(%q) = %v", in, !want)
		}
	}
}

// FuzzReferences: whatever is taken for a reference normalises, the same
// again the second time, and keeps its registry.
func FuzzReferences(f *testing.F) {
	for _, seed := range []string{
		"nginx", "quay.io/a/b:1", "a=b:1,c:2", "docker://x/y:z", "--image=quay.io/a/b:1", "localhost:5000/x@sha256:" + strings.Repeat("a", 64), "ü:1", "[::1]:5000/a:1", "a/b/c/d/e:f",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		for _, ref := range append(looseRefs(in, true), looseRefs(in, false)...) {
			full, err := Normalize(ref)
			if err != nil {
				t.Fatalf("%q was taken and does not normalise: %v", ref, err)
			}
			if again, err := Normalize(full); err != nil || again != full {
				t.Fatalf("%q normalises to %q and that to %q, %v", ref, full, again, err)
			}
			if _, err := reference.ParseNamed(full); err != nil {
				t.Fatalf("%q: %v", full, err)
			}
		}
		if utf8.ValidString(in) {
			neutralize(in, map[string]string{"A": "b"})
		}
	})
}

// FuzzManifest: no text makes the walkers fail, hang, or name a line that is
// not there.
func FuzzManifest(f *testing.F) {
	for _, seed := range []string{
		"apiVersion: v1\nkind: Pod\nspec: {containers: [{image: a:1}]}\n---\nb: [",
		"apiVersion: v1\nkind: ConfigMap\ndata:\n  a: |\n    x = \"quay.io/a/b:1\"\n  b: '{\"image\":\"c\"}'\n",
		"a: &a [*a]\nb: *a\n", "x: &x {<<: *x, image: a:1}\n", "{{ if }}\nimage: {{ .x }}\n", "apiVersion: a/v1\nkind: B\nimage: {repository: r, tag: t}\n",
		"apiVersion: a/v1\nkind: B\nspec: {registry: r.io, hub: {tag: 1, image: {name: a}}, fooImage: b, fooImageTag: c, images: {x: 'y:1'}, enabled: false}\n",
		"apiVersion: v1\nkind: Pod\nspec: {containers: [{env: [{name: A_IMAGE, value: b}, {name: A_TAG, value: '1'}, {name: X_REPOSITORY, value: 'r.io/a,r.io/b'}], args: [--x-image, 'y/z:1']}]}\n",
		"apiVersion: v1\nkind: ConfigMap\ndata: {a.repository: r.io/b, a.tag: '1', q.sql: \"(1,'r.io/a/b:1')\\n\"}\n",
		"apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nkubernetesVersion: v1.33.1\netcd: {local: {imageTag: '1'}}\n",
		"apiVersion: v1\nkind: Pod\nspec: {containers: [{image: '${A:-b}:$(C)'}, {image: $x/y}]}\n",
		"apiVersion: apiextensions.k8s.io/v1\nkind: CustomResourceDefinition\nspec: {default: {image: 'a:1'}}\n",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		lines := 1 + strings.Count(in, "\n")
		c := newCollector(&ignoreList{})
		s := &scanner{collector: c, env: map[string]string{"x": "y"}}
		for _, name := range []string{"m.yaml", "m.tmpl"} {
			s.manifest(name, in, rendered{})
		}
		for _, i := range c.result().Images {
			if i.Line < 0 || i.Line > lines {
				t.Fatalf("line %d of %d: %+v", i.Line, lines, i)
			}
		}
	})
}
