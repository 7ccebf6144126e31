package kube

import "testing"

func TestQuantitiesAreReadAsKubernetesWritesThem(t *testing.T) {
	for text, want := range map[string]int64{"500m": 500, "2": 2000, "1.5": 1500, "0": 0, "": 0, "x": 0, "m": 0} {
		if got := milli(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	for text, want := range map[string]int64{
		"128Mi": 128 << 20, "1Gi": 1 << 30, "1.5Gi": 3 << 29, "1e3": 1000, "2E": 2e18, "2k": 2000, "3974428Ki": 3974428 << 10, "100M": 100e6, "1Qi": 0, "100000m": 100,
	} {
		if got := quantity(text); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
}
