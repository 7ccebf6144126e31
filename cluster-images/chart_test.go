package clusterimages_test

import (
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
)

// Helm's own engine renders the example's chart with the values it is installed with.
func TestExampleChartMakesADeploymentAndAService(t *testing.T) {
	t.Parallel()
	c, err := loader.Load("example/charts/hello")
	if err != nil {
		t.Fatal(err)
	}
	values, err := common.ReadValuesFile("example/charts/hello.values.yaml")
	if err != nil {
		t.Fatal(err)
	}
	merged, err := util.ToRenderValues(c, values, common.ReleaseOptions{Name: "hello", Namespace: "hello", IsInstall: true}, common.DefaultCapabilities)
	if err != nil {
		t.Fatal(err)
	}
	files, err := engine.Render(c, merged)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]map[string]any{}
	for _, text := range files {
		for _, doc := range documents(t, text) {
			kinds[at(t, doc, "kind").(string)] = doc
		}
	}
	deployment := at(t, kinds["Deployment"], "spec")
	if got := at(t, deployment, "replicas"); got != 2 {
		t.Errorf("%v replicas", got)
	}
	if got := at(t, deployment, "template", "spec", "containers", 0, "image"); got != "ghcr.io/sealbuild/hello:1.0" {
		t.Errorf("image %v", got)
	}
	if got := at(t, kinds["Service"], "spec", "ports", 0, "nodePort"); got != 30080 {
		t.Errorf("node port %v", got)
	}
}
