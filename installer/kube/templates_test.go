package kube

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"text/template"

	"github.com/google/go-cmp/cmp"
)

// templated does with a list of objects what kubectl does on a host.
func templated(t *testing.T, form, list string) []answerLine {
	t.Helper()
	var data any
	if err := json.Unmarshal([]byte(list), &data); err != nil {
		t.Fatal(err)
	}
	parsed, err := template.New("output").Parse(form)
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	if err := parsed.Execute(&out, data); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(out.String(), "%!") || strings.Contains(out.String(), "<no value>") {
		t.Fatalf("the template prints what is not there:\n%s", out.String())
	}
	records, err := readRecords(out.String())
	if err != nil {
		t.Fatalf("%v in\n%s", err, out.String())
	}
	return records
}

func TestPodsThatAreNotReadyAreToldWithTheirReason(t *testing.T) {
	pods := readPods(templated(t, podsTemplate, `{"items":[
		{"metadata":{"name":"fine","namespace":"kube-system"},"spec":{},"status":{"phase":"Running","conditions":[{"type":"Initialized","status":"True"},{"type":"Ready","status":"True"}]}},
		{"metadata":{"name":"job","namespace":"kube-system"},"status":{"phase":"Succeeded","conditions":[{"type":"Ready","status":"False"}]}},
		{"metadata":{"name":"evicted","namespace":"kube-system"},"status":{"phase":"Failed","reason":"Evicted","message":"The node was low on resource: \"memory\"\nand more"}},
		{"metadata":{"name":"slow","namespace":"kube-system"},"spec":{"nodeName":"host-a"},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"False","message":"containers with unready status: [app]"}],
			"containerStatuses":[{"name":"app","ready":false,"restartCount":0,"state":{"running":{}}}]}},
		{"metadata":{"name":"stuck","namespace":"flannel"},"spec":{"nodeName":"host-b"},"status":{"phase":"Pending",
			"containerStatuses":[{"name":"init","ready":true,"state":{}},{"name":"app","ready":false,"restartCount":3,"state":{"waiting":{"reason":"ImagePullBackOff","message":"no such \"image\""}}}]}},
		{"metadata":{"name":"new","namespace":"kube-system"},"status":{"phase":"Pending","conditions":[{"type":"PodScheduled","status":"False","message":"0/3 nodes are available"}]}},
		{"metadata":{"name":"ended","namespace":"x","deletionTimestamp":"2026-01-01T00:00:00Z"},"spec":{"nodeName":"host-c"},"status":{"phase":"Running",
			"initContainerStatuses":[{"name":"prepare","ready":false,"restartCount":1,"state":{"terminated":{"exitCode":3}}}]}},
		{"metadata":{"name":"bare","namespace":"x"},"status":{"phase":"Pending"}}
	]}`))
	type told struct {
		Title, Node, Why string
		Ready, Remains   bool
	}
	var got []told
	for _, p := range pods {
		got = append(got, told{p.Title(), p.Node, p.Why(), p.ready, p.remains()})
	}
	want := []told{
		{"kube-system/fine", "", "Running", true, false},
		{"kube-system/job", "", "Succeeded", false, true},
		{"kube-system/evicted", "", "Failed", false, true},
		{"kube-system/slow", "host-a", "Running", false, false},
		{"flannel/stuck", "host-b", `app: ImagePullBackOff no such "image"`, false, false},
		{"kube-system/new", "", "Pending, 0/3 nodes are available", false, false},
		{"x/ended", "host-c", "prepare: Terminated exit status 3", false, true},
		{"x/bare", "", "Pending", false, false},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pods (-want +got):\n%s", diff)
	}
	if n := pods[4].containers[0].restarts; n != 3 || len(pods[4].containers) != 1 {
		t.Errorf("containers of the one that is stuck: %+v", pods[4].containers)
	}
}

func TestNodesAndWorkloadsAreReadWhateverTheyLack(t *testing.T) {
	for name, form := range map[string]string{"nodes": nodesTemplate, "workloads": workloadsTemplate, "pods": podsTemplate, "events": eventsTemplate, "places": placesTemplate} {
		t.Run(name, func(t *testing.T) {
			if records := templated(t, form, `{"items":[]}`); len(records) != 0 {
				t.Errorf("of an empty list: %v", records)
			}
			bare := `{"items":[{"kind":"Deployment","metadata":{"name":"a","namespace":"n"},"spec":{},"status":{"phase":"Pending"}}]}`
			if records := templated(t, form, bare); len(records) != 1 {
				t.Errorf("of a bare object: %v", records)
			}
		})
	}
	records := templated(t, workloadsTemplate, `{"items":[{"kind":"DaemonSet","metadata":{"name":"kube-flannel-ds","namespace":"kube-flannel","generation":2},
		"spec":{"selector":{"matchLabels":{"app":"flannel","tier":"node"}},"template":{"spec":{"priorityClassName":"system-node-critical"}}},
		"status":{"desiredNumberScheduled":5000,"numberReady":4999,"observedGeneration":2}}]}`)
	want := []answerLine{
		{"work", []string{"DaemonSet", "kube-flannel", "kube-flannel-ds", "system-node-critical", "5000", "4999", "2", "2"}},
		{"label", []string{"app", "flannel"}},
		{"label", []string{"tier", "node"}},
	}
	if diff := cmp.Diff(want, records, cmp.AllowUnexported(answerLine{})); diff != "" {
		t.Errorf("workload (-want +got):\n%s", diff)
	}
}

func FuzzReadRecords(f *testing.F) {
	f.Add("node \"a\"\nat \"10.0.0.1\"\nready \"False\" \"why\\nso\"\n")
	f.Add("pod \"\n")
	f.Add("x 1 2")
	f.Fuzz(func(t *testing.T, text string) {
		records, err := readRecords(text)
		if err != nil {
			return
		}
		var again strings.Builder
		for _, r := range records {
			again.WriteString(r.kind)
			for _, v := range r.values {
				fmt.Fprintf(&again, " %q", v)
			}
			again.WriteString("\n")
		}
		same, err := readRecords(again.String())
		if err != nil || !cmp.Equal(records, same, cmp.AllowUnexported(answerLine{})) {
			t.Errorf("%q is read as %v, that as %v, %v", text, records, same, err)
		}
	})
}

func TestOneLookSeesNodesPodsAndWorkloads(t *testing.T) {
	seen := readSeen(templated(t, seenTemplate, `{"items":[
		{"kind":"Node","metadata":{"name":"host-a"},"status":{"nodeInfo":{"kubeletVersion":"v1.36.3","containerRuntimeVersion":"containerd://2.1.4"},
			"addresses":[{"type":"InternalIP","address":"10.0.0.2"}],"conditions":[{"type":"Ready","status":"True"}]}},
		{"kind":"Pod","metadata":{"name":"etcd-host-a","namespace":"kube-system","labels":{"tier":"control-plane"}},"spec":{"nodeName":"host-a"},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}},
		{"kind":"Pod","metadata":{"name":"fine","namespace":"x"},"spec":{},"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}},
		{"kind":"Pod","metadata":{"name":"proxy-1","namespace":"kube-system","labels":{"app":"proxy"}},"spec":{"nodeName":"host-a"},"status":{"phase":"Pending",
			"containerStatuses":[{"name":"app","ready":false,"restartCount":3,"state":{"waiting":{"reason":"ImagePullBackOff","message":"no such \"image\""}}}]}},
		{"kind":"Pod","metadata":{"name":"gone","namespace":"x"},"spec":{},"status":{"phase":"Failed","reason":"Evicted"}},
		{"kind":"DaemonSet","metadata":{"name":"proxy","namespace":"kube-system","generation":1},"spec":{"selector":{"matchLabels":{"app":"proxy"}},"template":{"spec":{}}},
			"status":{"observedGeneration":1,"desiredNumberScheduled":2,"numberReady":1}},
		{"kind":"Deployment","metadata":{"name":"web","namespace":"x","generation":1},"spec":{"replicas":2,"selector":{"matchLabels":{"app":"web"}},"template":{"spec":{}}},"status":{"observedGeneration":1}}
	]}`))
	if diff := cmp.Diff([]Node{{Name: "host-a", IP: "10.0.0.2", Ready: "True", Version: "v1.36.3", Runtime: "containerd://2.1.4"}}, seen.Nodes); diff != "" {
		t.Errorf("nodes (-want +got):\n%s", diff)
	}
	if len(seen.Unready) != 1 || seen.Unready[0].Title() != "kube-system/proxy-1" {
		t.Errorf("pods: %+v", seen.Unready)
	}
	w := seen.Lacks([]Host{{Node: "host-a", Master: true}})
	want := []string{
		"pod kube-system/kube-apiserver-host-a is not there yet", "pod kube-system/kube-controller-manager-host-a is not there yet",
		"pod kube-system/kube-scheduler-host-a is not there yet", `pod kube-system/proxy-1 on host-a is not ready: app: ImagePullBackOff no such "image"`,
	}
	if diff := cmp.Diff(want, w.Lines); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Deployment x/web: 0 of 2 pods are ready"}, w.Apps); diff != "" {
		t.Errorf("applications (-want +got):\n%s", diff)
	}
}
