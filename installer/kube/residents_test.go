package kube_test

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/kube/kubetest"
)

// asking is a client of a cluster.
func asking(c *kubetest.Cluster) *kube.Client {
	plane := kube.ControlPlane{IP: netip.MustParseAddr("10.0.0.1"), Agent: (&agenttest.Machine{Exec: c.Exec}).Agent("/stub")}
	return &kube.Client{ControlPlanes: func() []kube.ControlPlane { return []kube.ControlPlane{plane} }}
}

func TestPodsOfManyNodesAreAskedForAtOnceAndAreTheSame(t *testing.T) {
	var pods []string
	nodes := []string{"host-c", "host-a", "host-b", "host-d", "host-e"}
	for i := range 40 {
		pods = append(pods, fmt.Sprintf(`{"metadata":{"namespace":"x","name":"p%d","ownerReferences":[{"kind":"ReplicaSet","name":"r%d","uid":"u%d","controller":true}]},
			"spec":{"nodeName":"host-%c"},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`, i, i%7, i%7, 'a'+i%6))
	}
	c := &kubetest.Cluster{Lists: map[string]string{
		"pods":                               `{"items":[` + strings.Join(pods, ",") + `]}`,
		"replicasets.apps,statefulsets.apps": `{"items":[{"metadata":{"uid":"u1"},"status":{"readyReplicas":5}}]}`,
	}}
	client := asking(c)
	var single []kube.Resident
	for _, node := range nodes {
		found, err := client.Residents(t.Context(), []string{node})
		if err != nil {
			t.Fatal(err)
		}
		single = append(single, found...)
	}
	before := len(c.Asked())
	all, err := client.Residents(t.Context(), nodes)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(c.Asked()) - before; n != 3 {
		t.Errorf("%d questions for %d nodes", n, len(nodes))
	}
	last := 0
	for i := range all {
		if all[i].Last {
			last++
		}
		all[i].Last = false // what is the last one depends on which nodes are asked about
	}
	if diff := cmp.Diff(single, all); diff != "" || len(all) != 34 || last == 0 {
		t.Errorf("%d pods, %d the last of theirs (-one by one +at once):\n%s", len(all), last, diff)
	}
}

func TestBudgetsAreAskedForWithThePodsThatTheyCover(t *testing.T) {
	c := &kubetest.Cluster{Lists: map[string]string{
		"poddisruptionbudgets.policy": `{"items":[{"metadata":{"namespace":"x","name":"web"},"spec":{"selector":{"matchLabels":{"app":"web"}}},"status":{"disruptionsAllowed":0}},
			{"metadata":{"namespace":"x","name":"none"},"spec":{},"status":{"disruptionsAllowed":0}}]}`,
		"pods": `{"items":[{"metadata":{"namespace":"x","name":"web-1","labels":{"app":"web"}},"spec":{"nodeName":"host-a"},"status":{"phase":"Running"}},
			{"metadata":{"namespace":"x","name":"db-1","labels":{"app":"db"}},"spec":{"nodeName":"host-a"},"status":{"phase":"Running"}},
			{"metadata":{"namespace":"y","name":"web-2","labels":{"app":"web"}},"spec":{"nodeName":"host-a"},"status":{"phase":"Running"}}]}`,
	}}
	got, err := asking(c).TightBudgets(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want := []kube.Budget{{Namespace: "x", Name: "web", Pods: []kube.Seated{{Namespace: "x", Name: "web-1", Node: "host-a"}}}, {Namespace: "x", Name: "none"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("budgets (-want +got):\n%s", diff)
	}
}

func TestWhatIsOnTheNodeOnlyIsToldWhateverItsVolumeSays(t *testing.T) {
	c := &kubetest.Cluster{Lists: map[string]string{"pods": `{"items":[{"metadata":{"namespace":"x","name":"p"},"spec":{"nodeName":"host-a","volumes":[{"name":"a","emptyDir":{}},
		{"name":"b","emptyDir":{"medium":"Memory"}},{"name":"c","hostPath":{"path":"/x"}},{"name":"d","configMap":{"name":"e"}}]},"status":{"phase":"Running"}}]}`}}
	got, err := asking(c).Residents(t.Context(), []string{"host-a"})
	if err != nil || len(got) != 1 {
		t.Fatal(got, err)
	}
	if diff := cmp.Diff([]string{"emptyDir a", "emptyDir b", "hostPath /x"}, got[0].Local); diff != "" {
		t.Errorf("local (-want +got):\n%s", diff)
	}
}
