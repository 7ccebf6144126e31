package scan

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/kubefile"
)

func TestPlanIsTheKubefileAndTheImages(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/Kubefile", "FROM scratch\nLABEL sealos.io.type=patch\nENV A=b\nCOPY --chmod=755 . .\nCMD [\"x $(A)\"]\n")
	write(t, dir+"/images/shim/l", "pause\n")
	p, err := MakePlan(context.Background(), dir, "", Options{})
	if err != nil {
		t.Fatal(err)
	}
	p.Kubefile = "Kubefile"
	out, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"kubefile":"Kubefile","instructions":[{"name":"FROM","args":["scratch"],"line":1},` +
		`{"name":"LABEL","args":["sealos.io.type=patch"],"line":2},{"name":"ENV","args":["A=b"],"line":3},` +
		`{"name":"COPY","args":[".","."],"flags":["--chmod=755"],"line":4},{"name":"CMD","args":["x $(A)"],"line":5}],` +
		`"type":"patch","labels":{"sealos.io.type":"patch"},"env":{"A":"b"},"entrypoint":[],"cmd":["x $(A)"],` +
		`"images":[{"ref":"docker.io/library/pause:latest","original":"pause","certainty":"certain","file":"images/shim/l","line":1,"reason":"image list"}]}`
	if diff := cmp.Diff(want, string(out)); diff != "" {
		t.Error(diff)
	}
	if _, err := MakePlan(context.Background(), dir, "Kubefile", Options{}); err != nil {
		t.Errorf("a name inside the context: %v", err)
	}
}

func TestFlagsReachTheSearchAsTheyReachTheImage(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/Kubefile", "FROM scratch\nARG SET\nENV SET=$SET OWN=own\nCMD [\"kubectl run x --image=r.io/o/$SET:$GIVEN\", \"kubectl run y --image=r.io/o/$OWN\"]\n")
	p, err := MakePlan(context.Background(), dir, "", Options{Env: []string{"GIVEN=2", "OWN=given:1"}}, kubefile.WithBuildArgs(map[string]string{"SET": "arg"}))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"suspected r.io/o/arg:2 Kubefile:4", "suspected r.io/o/given:1 Kubefile:4"}, show(p.Result)); diff != "" {
		t.Error(diff)
	}
	for _, problem := range problems(p.Result) {
		if strings.HasPrefix(problem, "error") {
			t.Error(problem)
		}
	}
}

func TestPlanRefusesABadKubefile(t *testing.T) {
	dir := t.TempDir()
	if _, err := MakePlan(context.Background(), dir, "", Options{}); err == nil {
		t.Error("no Kubefile: no error")
	}
	for _, text := range []string{"FORM scratch\n", "FROM scratch\nLABEL sealos.io.type=x\n"} {
		write(t, dir+"/Kubefile", text)
		_, err := MakePlan(context.Background(), dir, "", Options{})
		var e *kubefile.Error
		if !errors.As(err, &e) {
			t.Errorf("%q: %v", text, err)
		}
	}
}
