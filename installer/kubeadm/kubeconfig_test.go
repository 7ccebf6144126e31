package kubeadm

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

const adminConfig = `apiVersion: v1
kind: Config
clusters:
- name: kubernetes
  cluster:
    certificate-authority-data: b3Vycw==
    server: https://apiserver.cluster.local:6443
contexts:
- name: kubernetes-admin@kubernetes
  context:
    cluster: kubernetes
    user: kubernetes-admin
current-context: kubernetes-admin@kubernetes
preferences: {}
users:
- name: kubernetes-admin
  user:
    client-certificate-data: Y2VydA==
    client-key-data: a2V5
`

// siteConfig is what an administrator of another cluster of kubeadm's has.
const siteConfig = `# the old cluster, until spring
apiVersion: v1
kind: Config
current-context: kubernetes-admin@kubernetes
clusters:
  - name: kubernetes
    cluster: {server: "https://10.1.1.1:6443", certificate-authority-data: dGhlaXJz, extensions: [{name: x, extension: {y: 1}}]}
  - name: lab
    cluster:
      server: https://lab:6443
contexts:
  - name: kubernetes-admin@kubernetes
    context: {cluster: kubernetes, user: kubernetes-admin, namespace: shop}
  - name: lab
    context: {cluster: lab, user: kubernetes-admin}
users:
  - name: kubernetes-admin
    user: {client-certificate-data: dGhlaXJz, client-key-data: dGhlaXJz}
own: [1, 2]
`

type object2 = map[string]any

func decoded(t *testing.T, data []byte) object2 {
	t.Helper()
	out := object2{}
	if err := yaml.Unmarshal(data, &out); err != nil {
		t.Fatalf("%v in\n%s", err, data)
	}
	// To kubectl a list that is not there is an empty one, and so is no current context an empty one.
	for k, v := range out {
		list, isList := v.([]any)
		if v == nil || v == "" || isList && len(list) == 0 {
			delete(out, k)
		}
	}
	return out
}

func entriesOf(t *testing.T, data []byte, list string) map[string]any {
	t.Helper()
	out := map[string]any{}
	all, _ := decoded(t, data)[list].([]any)
	for _, e := range all {
		m := e.(map[string]any)
		name := m["name"].(string)
		if out[name] != nil {
			t.Errorf("%s %s is there twice", list, name)
		}
		out[name] = m
	}
	return out
}

func TestEntriesOfAnotherClusterWithTheSameNamesStay(t *testing.T) {
	merged, e, err := MergeKubeconfig([]byte(siteConfig), []byte(adminConfig), "site-7")
	if err != nil {
		t.Fatal(err)
	}
	want := KubeconfigEntries{Cluster: "site-7", User: "kubernetes-admin@site-7", Context: "kubernetes-admin@site-7", Previous: "kubernetes-admin@kubernetes"}
	if diff := cmp.Diff(want, e); diff != "" {
		t.Errorf("names (-want +got):\n%s", diff)
	}
	for _, list := range []string{"clusters", "users", "contexts"} {
		got := entriesOf(t, merged, list)
		for name, entry := range entriesOf(t, []byte(siteConfig), list) {
			if diff := cmp.Diff(entry, got[name]); diff != "" {
				t.Errorf("%s %s (-want +got):\n%s", list, name, diff)
			}
		}
	}
	context := entriesOf(t, merged, "contexts")["kubernetes-admin@site-7"]
	if diff := cmp.Diff(map[string]any{"name": "kubernetes-admin@site-7", "context": map[string]any{"cluster": "site-7", "user": "kubernetes-admin@site-7"}}, context); diff != "" {
		t.Errorf("our context (-want +got):\n%s", diff)
	}
	if got := decoded(t, merged)["current-context"]; got != e.Context {
		t.Errorf("the current context is %v", got)
	}
	if !strings.Contains(string(merged), "# the old cluster, until spring") {
		t.Errorf("the comment is gone:\n%s", merged)
	}
	third, again, err := MergeKubeconfig(merged, []byte(adminConfig), "site-7")
	if err != nil || again.Context != "kubernetes-admin@site-7-2" || entriesOf(t, third, "users")["kubernetes-admin@site-7"] == nil {
		t.Errorf("a third of the same names: %+v, %v", again, err)
	}
}

func TestUnmergingGivesBackWhatTheUserHad(t *testing.T) {
	for name, file := range map[string]string{
		"same names": siteConfig, "others": strings.NewReplacer("kubernetes", "other").Replace(siteConfig), "empty": "", "comment only": "# mine\n",
		"lists of nothing": "apiVersion: v1\nkind: Config\nclusters: []\nusers: null\ncontexts:\n", "JSON": `{"apiVersion":"v1","kind":"Config","clusters":[{"name":"a","cluster":{"server":"s"}}],"current-context":""}`,
		"no newline": "kind: Config\napiVersion: v1\npreferences: {colors: true}",
	} {
		merged, e, err := MergeKubeconfig([]byte(file), []byte(adminConfig), "default")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if len(entriesOf(t, merged, "users")) != len(entriesOf(t, []byte(file), "users"))+1 {
			t.Errorf("%s: nothing was added:\n%s", name, merged)
		}
		rest, empty, err := UnmergeKubeconfig(merged, e)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		want := decoded(t, []byte(file))
		got := decoded(t, rest)
		if file == "" || name == "comment only" {
			want = object2{"apiVersion": "v1", "kind": "Config"}
			if !empty {
				t.Errorf("%s: something is left:\n%s", name, rest)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestUnmergingKeepsWhatTheUserChangedMeanwhile(t *testing.T) {
	merged, e, err := MergeKubeconfig([]byte(siteConfig), []byte(adminConfig), "default")
	if err != nil {
		t.Fatal(err)
	}
	change := strings.NewReplacer(
		"current-context: "+e.Context, "current-context: lab",
		"namespace: shop", "namespace: till",
		"contexts:\n", "contexts:\n- name: new\n  context: {cluster: lab, user: kubernetes-admin}\n",
	)
	want := decoded(t, []byte(strings.NewReplacer(
		"current-context: kubernetes-admin@kubernetes", "current-context: lab",
		"namespace: shop", "namespace: till",
		"contexts:\n", "contexts:\n  - name: new\n    context: {cluster: lab, user: kubernetes-admin}\n",
	).Replace(siteConfig)))
	rest, _, err := UnmergeKubeconfig([]byte(change.Replace(string(merged))), e)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, decoded(t, rest)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	renamed := strings.ReplaceAll(string(merged), "- name: "+e.Context+"\n  context:", "- name: prod\n  context:")
	if renamed == string(merged) {
		t.Fatal("nothing was renamed: this test sees nothing")
	}
	rest, _, err = UnmergeKubeconfig([]byte(renamed), e)
	if err != nil || entriesOf(t, rest, "contexts")["prod"] != nil {
		t.Errorf("our context stayed under the name that it was given, %v:\n%s", err, rest)
	}
}

func TestRenewingChangesOurEntriesOnly(t *testing.T) {
	merged, e, err := MergeKubeconfig([]byte(siteConfig), []byte(adminConfig), "default")
	if err != nil {
		t.Fatal(err)
	}
	same, has, err := RenewKubeconfig(merged, []byte(adminConfig), e)
	if err != nil || !has || string(same) != string(merged) {
		t.Errorf("nothing was new: has %v, %v", has, err)
	}
	newer := strings.ReplaceAll(adminConfig, "Y2VydA==", "bmV3")
	renewed, has, err := RenewKubeconfig(merged, []byte(newer), e)
	if err != nil || !has {
		t.Fatalf("has %v, %v", has, err)
	}
	want := decoded(t, []byte(strings.ReplaceAll(string(merged), "Y2VydA==", "bmV3")))
	if diff := cmp.Diff(want, decoded(t, renewed)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if _, has, err := RenewKubeconfig([]byte(siteConfig), []byte(newer), e); has || err != nil {
		t.Errorf("where the entries are gone: has %v, %v", has, err)
	}
}

func TestKubeconfigThatCannotBeReadIsRefused(t *testing.T) {
	for name, file := range map[string]string{
		"text": "his own\n", "list": "- a\n", "two documents": "a: 1\n---\nb: 2\n", "clusters of another kind": "clusters: {a: b}\n", "users of another kind": "users: [a]\n",
		"aliases": "clusters: &a []\nusers: *a\n", "twice": "users: []\nusers: []\n", "cut": "users: [", "too large": strings.Repeat("#", maxKubeconfig+1),
	} {
		if _, _, err := MergeKubeconfig([]byte(file), []byte(adminConfig), "default"); err == nil {
			t.Errorf("%s: merged", name)
		}
		if _, _, err := UnmergeKubeconfig([]byte(file), KubeconfigEntries{}); err == nil {
			t.Errorf("%s: unmerged", name)
		}
	}
}

func FuzzKubeconfig(f *testing.F) {
	for _, seed := range []string{siteConfig, adminConfig, "", "kind: Config\n", `{"users":[{"name":"kubernetes-admin"}]}`, "contexts: [{name: a, context: {cluster: kubernetes, user: b}}]\ncurrent-context: a\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, file []byte) {
		merged, e, err := MergeKubeconfig(file, []byte(adminConfig), "default")
		if err != nil {
			return
		}
		rest, _, err := UnmergeKubeconfig(merged, e)
		if err != nil {
			t.Fatalf("what was merged cannot be taken apart: %v\n%s", err, merged)
		}
		var before, after map[string]any
		if yaml.Unmarshal(file, &before) != nil {
			return // kubectl would not read it, either
		}
		if err := yaml.Unmarshal(rest, &after); err != nil {
			t.Fatalf("%v\n%s", err, rest)
		}
		for _, list := range []string{"clusters", "users", "contexts"} {
			was, _ := before[list].([]any)
			is, _ := after[list].([]any)
			if len(was)+len(is) > 0 {
				if diff := cmp.Diff(was, is); diff != "" {
					t.Errorf("%s (-want +got):\n%s", list, diff)
				}
			}
		}
	})
}
