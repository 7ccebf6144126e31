package kubeadm

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func mergeTexts(t *testing.T, kind string, layers ...string) object {
	t.Helper()
	var merged object
	for _, text := range layers {
		_, doc, err := parseDocument("test", fmt.Sprintf("apiVersion: kubeadm.k8s.io/v1beta4\nkind: %s\n%s", kind, text))
		if err != nil {
			t.Fatal(err)
		}
		next, err := canonical("test", kind, doc)
		if err != nil {
			t.Fatal(err)
		}
		merged = merge(kind, merged, next[kind])
	}
	return settle(kind, merged)
}

func TestLaterLayerWins(t *testing.T) {
	for name, tc := range map[string]struct{ base, over, want string }{
		"scalar replaced":       {"clusterName: a", "clusterName: b", "clusterName: b"},
		"map merged":            {"networking: {dnsDomain: a, podSubnet: b}", "networking: {podSubnet: c}", "networking: {dnsDomain: a, podSubnet: c}"},
		"list replaced":         {"apiServer: {certSANs: [a, b]}", "apiServer: {certSANs: [c]}", "apiServer: {certSANs: [c]}"},
		"list emptied":          {"apiServer: {certSANs: [a, b]}", "apiServer: {certSANs: []}", "apiServer: {certSANs: []}"},
		"null removes a field":  {"networking: {dnsDomain: a, podSubnet: b}", "networking: {podSubnet: null}", "networking: {dnsDomain: a}"},
		"map over scalar":       {"dns: x", "dns: {imageTag: v1}", "dns: {imageTag: v1}"},
		"argument replaced":     {"scheduler: {extraArgs: {a: 1, b: 2}}", "scheduler: {extraArgs: {a: 3}}", "scheduler: {extraArgs: {a: 3, b: 2}}"},
		"argument added":        {"scheduler: {extraArgs: {a: 1}}", "scheduler: {extraArgs: [{name: 'b', value: '2'}]}", "scheduler: {extraArgs: {a: 1, b: 2}}"},
		"argument removed":      {"scheduler: {extraArgs: {a: 1, b: 2}}", "scheduler: {extraArgs: {a: null}}", "scheduler: {extraArgs: {b: 2}}"},
		"argument only named":   {"scheduler: {extraArgs: {a: 1, b: 2}}", "scheduler: {extraArgs: [{name: a}]}", "scheduler: {extraArgs: {b: 2}}"},
		"all arguments removed": {"scheduler: {extraArgs: {a: 1, b: 2}}", "scheduler: {extraArgs: null}", "scheduler: {}"},
		"volume added": {
			"apiServer: {extraVolumes: [{name: a, hostPath: /a, mountPath: /a}]}",
			"apiServer: {extraVolumes: [{name: b, hostPath: /b, mountPath: /b}]}",
			"apiServer: {extraVolumes: [{name: a, hostPath: /a, mountPath: /a}, {name: b, hostPath: /b, mountPath: /b}]}",
		},
		"volume removed": {
			"apiServer: {extraVolumes: [{name: a, hostPath: /a, mountPath: /a}, {name: b, hostPath: /b, mountPath: /b}]}",
			"apiServer: {extraVolumes: [{name: a}]}",
			"apiServer: {extraVolumes: [{name: b, hostPath: /b, mountPath: /b}]}",
		},
		"repeated argument replaces all of its name": {
			"apiServer: {extraArgs: [{name: i, value: x}, {name: z, value: '1'}]}",
			"apiServer: {extraArgs: [{name: i, value: y}, {name: i, value: w}]}",
			"apiServer: {extraArgs: [{name: i, value: y}, {name: i, value: w}, {name: z, value: '1'}]}",
		},
		"entry deleted by directive": {
			"apiServer: {extraVolumes: [{name: a, hostPath: /a, mountPath: /a}], extraArgs: {a: 1, b: 2}}",
			"apiServer: {extraVolumes: [{name: a, $patch: delete}], extraArgs: [{name: a, $patch: delete}]}",
			"apiServer: {extraVolumes: [], extraArgs: {b: 2}}",
		},
		"list replaced by directive": {
			"apiServer: {extraArgs: {a: 1, b: 2}}",
			"apiServer: {extraArgs: [{$patch: replace}, {name: c, value: '3'}]}",
			"apiServer: {extraArgs: {c: 3}}",
		},
		"map replaced by directive":    {"networking: {dnsDomain: a, podSubnet: b}", "networking: {$patch: replace, podSubnet: c}", "networking: {podSubnet: c}"},
		"map deleted by directive":     {"networking: {dnsDomain: a}\nclusterName: x", "networking: {$patch: delete}", "clusterName: x"},
		"external etcd replaces local": {"etcd: {local: {dataDir: /d}}", "etcd: {external: {caFile: /c}}", "etcd: {external: {caFile: /c}}"},
		"local etcd replaces external": {"etcd: {external: {caFile: /c}}", "etcd: {local: {dataDir: /d}}", "etcd: {local: {dataDir: /d}}"},
	} {
		t.Run(name, func(t *testing.T) {
			want := mergeTexts(t, kindCluster, tc.want)
			if diff := cmp.Diff(want, mergeTexts(t, kindCluster, tc.base, tc.over)); diff != "" {
				t.Errorf("merged (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRemovalOfMiddleLayerActsOnTheDefaults(t *testing.T) {
	got := mergeTexts(t, kindCluster, "scheduler: {extraArgs: {a: 1, b: 2}}", "scheduler: {extraArgs: {a: null}}", "scheduler: {extraArgs: {c: 3}}")
	want := mergeTexts(t, kindCluster, "scheduler: {extraArgs: [{name: b, value: '2'}, {name: c, value: '3'}]}")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("merged (-want +got):\n%s", diff)
	}
}

// randomObject makes documents over few keys, so that layers meet often.
func randomObject(r *rand.Rand, levels int) object {
	result := object{}
	for range r.IntN(4) {
		result[string(rune('a'+r.IntN(4)))] = randomValue(r, levels)
	}
	if levels == 3 && r.IntN(2) == 0 {
		arguments := []any{}
		for range r.IntN(4) {
			arguments = append(arguments, argument(string(rune('p'+r.IntN(4))), fmt.Sprint(r.IntN(9))))
		}
		// Repetitions of an argument stand together, as merging leaves them.
		slices.SortStableFunc(arguments, func(a, b any) int { return strings.Compare(entryName(a), entryName(b)) })
		put(result, arguments, "scheduler", "extraArgs")
	}
	return result
}

func randomValue(r *rand.Rand, levels int) any {
	switch n := r.IntN(6); {
	case n == 0:
		return nil
	case n == 1:
		return json.Number(fmt.Sprint(r.IntN(99)))
	case n == 2:
		return r.IntN(2) == 0
	case n == 3 && levels > 0:
		return randomObject(r, levels-1)
	case n == 4:
		list := []any{}
		for range r.IntN(3) {
			list = append(list, fmt.Sprint(r.IntN(9)))
		}
		return list
	}
	return fmt.Sprint("text", r.IntN(9))
}

func TestMergingHoldsItsPropertiesForRandomDocuments(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 5000 {
		a, b := randomObject(r, 3), randomObject(r, 3)
		keptA, keptB := clone(a), clone(b)
		merged := merge(kindCluster, a, b)
		check := func(property string, want, got any) {
			t.Helper()
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%s\na=%v\nb=%v\n(-want +got):\n%s", property, a, b, diff)
			}
		}
		check("inputs stay as they were", []any{keptA, keptB}, []any{a, b})
		check("an empty layer changes nothing", any(a), any(merge(kindCluster, a, object{})))
		check("laid over nothing, a layer is itself", any(b), any(merge(kindCluster, nil, b)))
		check("a layer laid twice acts once", merged, merge(kindCluster, merged, b))
		requireContains(t, nil, merged, b)
		requireOrigin(t, merged, a, b)
	}
}

// requireContains checks that every scalar and list of over is in merged.
func requireContains(t *testing.T, path []string, merged, over object) {
	t.Helper()
	for key, value := range over {
		here := append(slices.Clone(path), key)
		if below, ok := value.(object); ok {
			next, ok := merged[key].(object)
			if !ok {
				t.Fatalf("%v: a map of the upper layer is missing", here)
			}
			requireContains(t, here, next, below)
			continue
		}
		if slices.Equal(here, []string{"scheduler", "extraArgs"}) {
			for _, entry := range value.([]any) {
				list := merged[key].([]any)
				if !slices.ContainsFunc(list, func(m any) bool { return cmp.Equal(m, entry) }) {
					t.Fatalf("argument %v of the upper layer is missing in %v", entry, list)
				}
			}
			continue
		}
		if diff := cmp.Diff(value, merged[key]); diff != "" {
			t.Fatalf("%v: upper layer lost (-want +got):\n%s", here, diff)
		}
	}
}

// requireOrigin checks that nothing is in merged that neither layer has.
func requireOrigin(t *testing.T, merged, a, b object) {
	t.Helper()
	for key, value := range merged {
		_, inA := a[key]
		_, inB := b[key]
		if !inA && !inB {
			t.Fatalf("key %s comes from nowhere", key)
		}
		if below, ok := value.(object); ok {
			fromA, _ := a[key].(object)
			fromB, _ := b[key].(object)
			requireOrigin(t, below, fromA, fromB)
		}
	}
}
