package kube

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBudgetsThatAllowNothingAreReadWithTheSelectorOfTheirPods(t *testing.T) {
	budgets, selectors := readBudgets(templated(t, budgetsTemplate, `{"items":[
		{"metadata":{"namespace":"shop","name":"web"},"spec":{"minAvailable":2,"selector":{"matchLabels":{"app":"web","tier":"front"},
			"matchExpressions":[{"key":"zone","operator":"In","values":["a","b"]},{"key":"old","operator":"DoesNotExist"},{"key":"x","operator":"NotIn","values":["y"]},{"key":"z","operator":"Exists"}]}},
			"status":{"currentHealthy":2,"desiredHealthy":2,"expectedPods":2,"disruptionsAllowed":0}},
		{"metadata":{"namespace":"shop","name":"loose"},"spec":{"selector":{"matchLabels":{"app":"db"}}},"status":{"currentHealthy":3,"desiredHealthy":2,"expectedPods":3,"disruptionsAllowed":1}},
		{"metadata":{"namespace":"all","name":"everything"},"spec":{"selector":{}},"status":{"expectedPods":7,"disruptionsAllowed":0}},
		{"metadata":{"namespace":"none","name":"nothing"},"spec":{},"status":{"disruptionsAllowed":0}},
		{"metadata":{"namespace":"new","name":"unseen"},"spec":{"selector":{"matchLabels":{"app":"x"}}}}
	]}`))
	want := []Budget{
		{Namespace: "shop", Name: "web", Healthy: 2, Needed: 2, Covered: 2}, {Namespace: "all", Name: "everything", Covered: 7}, {Namespace: "none", Name: "nothing"},
	}
	if diff := cmp.Diff(want, budgets); diff != "" {
		t.Errorf("budgets (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"app=web,tier=front,zone in (a,b),!old,x notin (y),z", "", selectsNone}, selectors); diff != "" {
		t.Errorf("selectors (-want +got):\n%s", diff)
	}
}

func TestPodsAreReadWithWhatHoldsThem(t *testing.T) {
	const list = `{"items":[
		{"metadata":{"namespace":"x","name":"free"},"spec":{"nodeName":"host-a"},"status":{"phase":"Running"}},
		{"metadata":{"namespace":"x","name":"held","deletionTimestamp":"2026-01-01T00:00:00Z","finalizers":["site/a","site/b"]},"spec":{},"status":{"phase":"Running"}},
		{"metadata":{"namespace":"x","name":"over","finalizers":["site/a"]},"spec":{"nodeName":"host-b"},"status":{"phase":"Failed"}}
	]}`
	held := Seated{Namespace: "x", Name: "held", Going: true, Finalizers: []string{"site/a", "site/b"}}
	if diff := cmp.Diff([]Seated{{Namespace: "x", Name: "free", Node: "host-a"}, held}, readSeated(templated(t, seatedTemplate, list))); diff != "" {
		t.Errorf("pods that are not over (-want +got):\n%s", diff)
	}
	over := Seated{Namespace: "x", Name: "over", Node: "host-b", Finalizers: []string{"site/a"}}
	if diff := cmp.Diff([]Seated{held, over}, readSeated(templated(t, heldTemplate, list))); diff != "" {
		t.Errorf("pods with finalizers (-want +got):\n%s", diff)
	}
}

func TestTheTagOfAnImage(t *testing.T) {
	for image, want := range map[string]string{
		"registry.k8s.io/kube-apiserver:v1.36.3": "v1.36.3", "sealos.hub:5000/kube-apiserver:v1.35.0@sha256:abc": "v1.35.0", "sealos.hub:5000/x": "", "x@sha256:abc": "", "": "",
	} {
		if got := (Runs{Image: image}).Tag(); got != want {
			t.Errorf("%q: %q, want %q", image, got, want)
		}
	}
}
