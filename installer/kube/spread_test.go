package kube

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCopiesAreReadWithWhatKeepsThemOnTheirNode(t *testing.T) {
	got := readCopies(templated(t, copiesTemplate, `{"items":[
		{"metadata":{"name":"coredns-5d-a","namespace":"kube-system","labels":{"pod-template-hash":"5d"},"ownerReferences":[{"kind":"ReplicaSet","name":"coredns-5d","controller":true}]},
			"spec":{"nodeName":"host-a","nodeSelector":{"kubernetes.io/os":"linux"},
				"tolerations":[{"key":"CriticalAddonsOnly","operator":"Exists"},{"effect":"NoSchedule","key":"node-role.kubernetes.io/control-plane"}],
				"volumes":[{"name":"config-volume","configMap":{"name":"coredns"}},{"name":"token","projected":{"sources":[]}}]},
			"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}},
		{"metadata":{"name":"shop-1-a","namespace":"x","deletionTimestamp":"2026-01-01T00:00:00Z","ownerReferences":[{"kind":"ReplicaSet","name":"shop-1","controller":true}]},
			"spec":{"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[]}}},
				"volumes":[{"name":"a","emptyDir":{}},{"name":"b","emptyDir":{"medium":"Memory"}},{"name":"c","emptyDir":{"sizeLimit":"1Gi"}},{"name":"d","hostPath":{"path":"/x"}},{"name":"e","persistentVolumeClaim":{"claimName":"y"}}]},
			"status":{"phase":"Pending"}},
		{"metadata":{"name":"evicted","namespace":"x","ownerReferences":[{"kind":"ReplicaSet","name":"shop-1","controller":true}]},"spec":{},"status":{"phase":"Failed"}},
		{"metadata":{"name":"db-0","namespace":"x","ownerReferences":[{"kind":"StatefulSet","name":"db","controller":true}]},"spec":{},"status":{"phase":"Running"}},
		{"metadata":{"name":"bare","namespace":"x"},"spec":{},"status":{"phase":"Running"}}
	]}`))
	want := []copies{
		{"kube-system", "coredns", []copyPod{{
			name: "coredns-5d-a", node: "host-a", ready: true, set: "coredns-5d", selector: map[string]string{"kubernetes.io/os": "linux"},
			tolerates: []toleration{{key: "CriticalAddonsOnly", operator: "Exists"}, {key: "node-role.kubernetes.io/control-plane", effect: "NoSchedule"}},
		}}},
		{"x", "shop-1", []copyPod{{
			name: "shop-1-a", going: true, set: "shop-1", bound: true, selector: map[string]string{}, keeps: []string{"emptyDir", "hostPath", "persistentVolumeClaim"},
		}}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(copies{}, copyPod{}, toleration{})); diff != "" {
		t.Errorf("copies (-want +got):\n%s", diff)
	}
}

func TestANodeTakesPodsThatTolerateItsTaints(t *testing.T) {
	plane := toleration{key: "node-role.kubernetes.io/control-plane", effect: "NoSchedule"}
	dedicated := toleration{key: "for", value: "db", effect: "NoExecute"}
	for name, c := range map[string]struct {
		node      place
		tolerates []toleration
		want      bool
	}{
		"no taint":        {place{open: true}, nil, true},
		"cordoned":        {place{}, nil, false},
		"a master":        {place{open: true, taints: []toleration{plane}}, nil, false},
		"one that may":    {place{open: true, taints: []toleration{plane}}, []toleration{plane}, true},
		"all tolerated":   {place{open: true, taints: []toleration{plane, dedicated}}, []toleration{{operator: "Exists"}}, true},
		"another value":   {place{open: true, taints: []toleration{dedicated}}, []toleration{{key: "for", operator: "Equal", value: "web"}}, false},
		"any value":       {place{open: true, taints: []toleration{dedicated}}, []toleration{{key: "for", operator: "Exists"}}, true},
		"another effect":  {place{open: true, taints: []toleration{dedicated}}, []toleration{{key: "for", operator: "Exists", effect: "NoSchedule"}}, false},
		"a mere wish":     {place{open: true, taints: []toleration{{key: "for", effect: "PreferNoSchedule"}}}, nil, true},
		"only one of two": {place{open: true, taints: []toleration{plane, dedicated}}, []toleration{plane}, false},
	} {
		if got := c.node.takes(copyPod{tolerates: c.tolerates}); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}
