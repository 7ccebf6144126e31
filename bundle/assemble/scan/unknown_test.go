package scan

import (
	"fmt"
	"testing"
)

// What stands for an image and names none; keys are forms, values what answers them in a list: empty, only .sealignore can.
var unknownImages = map[string]string{
	"${REG}/x:${REF}":        "quay.io/o/x:v1",
	"$(IMG)":                 "",
	"$IMG":                   "",
	"$REG/x:1":               "quay.io/o/x:1",
	"quay.io/o/x:$(REF)":     "quay.io/o/x:v1",
	"nginx:${REF}":           "nginx:1.27",
	"{{ .Values.image }}":    "",
	"{{ .REG }}/x:v1":        "quay.io/o/x:v1",
	"REPLACE_ME":             "",
	"<your-image>":           "",
	"quay.io/O/X:1":          "",
	"quay.io/o/x:":           "",
	"quay.io/o/x@sha256:12":  "",
	"quay.io/o/x:1 # really": "",
	"%IMAGE%":                "",
	"@@REG@@/x:1":            "",
}

func TestAnImageThatNobodyCanNameIsAnError(t *testing.T) {
	forms := map[string]string{
		"pod":          "apiVersion: v1\nkind: Pod\nspec:\n  containers:\n  - name: a\n    image: %q\n",
		"deployment":   "apiVersion: apps/v1\nkind: Deployment\nspec: {template: {spec: {initContainers: [\n\n{name: a, image: %q}]}}}\n",
		"pod template": "apiVersion: example.com/v1\nkind: Thing\nspec: {podTemplate: {spec: {containers: [\n\n\n{name: a, image: %q}]}}}\n",
	}
	for form, text := range forms {
		for image, answer := range unknownImages {
			line := map[string]int{"pod": 6, "deployment": 5, "pod template": 6}[form]
			manifest := "-- manifests/x.yaml --\n" + fmt.Sprintf(text, image)
			t.Run(form+" "+image, func(t *testing.T) {
				r := scanFS(t, contextOf(manifest))
				if len(r.Errors) != 1 || r.Errors[0].Line != line || r.Errors[0].File != "manifests/x.yaml" {
					t.Errorf("errors are %v, want one in line %d", r.Errors, line)
				}
				for _, f := range r.Images {
					if f.Certainty == Certain {
						t.Errorf("certain of %s", f.Ref)
					}
				}
				if answer != "" {
					r := scanFS(t, contextOf(manifest+"-- images/shim/l --\n"+answer+"\n"))
					if len(r.Errors) != 0 {
						t.Errorf("with %s in a list, errors are %v", answer, r.Errors)
					}
				}
				if r := scanFS(t, contextOf(manifest+"-- images/shim/l --\nquay.io/some/other:1\n")); len(r.Errors) != 1 {
					t.Errorf("with another image in a list, errors are %v", r.Errors)
				}
			})
		}
	}
}

func TestSealignoreAnswersForAnImageThatNobodyCanName(t *testing.T) {
	for _, image := range []string{"${REG}/x:${REF}", "$(IMG)", "REPLACE_ME", "quay.io/o/x:$REF", "@@REG@@/x:1"} {
		wants(t, scanFS(t, contextOf("-- manifests/x.yaml --\napiVersion: v1\nkind: Pod\nspec: {containers: [{name: a, image: '"+image+"'}]}\n"+
			"-- .sealignore --\n"+image+"\n-- images/shim/l --\nquay.io/o/x:1\n")), []string{"certain quay.io/o/x:1 images/shim/l:1"}, nil)
	}
}

func TestAnUnknownImageOfAResourceIsAnErrorAndOneOfConfigurationAWarning(t *testing.T) {
	runManifests(t, "manifests/x.yaml", map[string]manifestCase{
		"a resource": {
			text: `
apiVersion: example.com/v1
kind: Thing
spec:
  image: ${REG}/x:1
  proxy: {repository: "${REG}/y", tag: v1}
  sidecarImage: quay.io/o/z:$(REF)
  logo: {image: "${BASE}/logo.png"}
`, images: []string{"suspected quay.io/o/z:latest 6"},
			problems: []string{`warning manifests/x.yaml:7`, `error manifests/x.yaml:4 the image "…/x:1"`, `error manifests/x.yaml:5 the image "…/y:v1"`, `error manifests/x.yaml:6 the image "quay.io/o/z:…"`},
		},
		"a registry further up": {
			text: `
apiVersion: example.com/v1
kind: Thing
spec:
  base: ${REG}/acme
  known: {registry: "${registry}/acme", agent: {image: agent, tag: v1}, sidecar: {image: sidecar:v2}}
  csi: {image: csi, tag: v1}
  more: {image: more:v2}
  third: {base: "$REGISTRY/a", third: {image: third, tag: v3}}
  other: {base: "{{ .X }}/other", node: {image: node, tag: $TAG}}
`, images: []string{
				"suspected reg.example.com/acme/agent:v1 5", "suspected reg.example.com/acme/sidecar:v2 5", "suspected docker.io/library/sidecar:v2 5",
			}, problems: []string{
				`error manifests/x.yaml:6 the image "…/acme/csi:v1"`, `error manifests/x.yaml:7 the image "…/acme/more:v2"`,
				`error manifests/x.yaml:8 the image "…/a/third:v3"`, `error manifests/x.yaml:9 the image "…/other/node:v9"`,
			},
		},
		"a repository of git, and a registry with a default": {text: `
apiVersion: example.com/v1
kind: Thing
spec:
  fourth: {repo: "https://$HOST/git", fourth: {image: fourth, tag: v4}}
  fifth: {registry: "${NONE:-quay.io}/five", x: {image: x, tag: v5}}
`, images: []string{"certain docker.io/library/fourth:v4 4", "suspected quay.io/five/x:v5 5"}},
		"values": {text: "image: ${REG}/x:1\n", problems: []string{`warning manifests/x.yaml:1 the image "…/x:1"`}},
		"the test of a chart, pods for Windows": {text: `
apiVersion: v1
kind: Pod
metadata: {annotations: {helm.sh/hook: test}}
spec: {containers: [{name: a, image: "$(A)"}]}
---
apiVersion: v1
kind: Pod
spec: {nodeSelector: {kubernetes.io/os: windows}, containers: [{name: a, image: "$(B)"}]}
`, problems: []string{"warning manifests/x.yaml:4", "warning manifests/x.yaml:8"}},
	})
}

func TestAnUnknownTagOfARepositoryThatIsNamedElsewhereIsAWarning(t *testing.T) {
	wants(t, scanFS(t, contextOf(`
-- manifests/a.yaml --
apiVersion: example.com/v1
kind: Backup
spec: {image: "quay.io/o/db:$(TAG)", other: {image: "quay.io/o/tool:$(TAG)"}, image2: {image: "$(REG)/o/db:v1"}}
-- manifests/b.yaml --
apiVersion: v1
kind: Pod
spec: {containers: [{image: "quay.io/o/db:v1"}]}
`)), []string{"certain quay.io/o/db:v1 manifests/b.yaml:3", "suspected quay.io/o/tool:latest manifests/a.yaml:3"}, []string{
		`warning manifests/a.yaml:3 the image "quay.io/o/db:…" depends`, `error manifests/a.yaml:3 the image "quay.io/o/tool:…" depends`,
		`error manifests/a.yaml:3 the image "…/o/db:v1" depends`,
	})
}

func TestVariablesOfAContainerAreSetInTheOnesAfterThem(t *testing.T) {
	runManifests(t, "manifests/x.yaml", map[string]manifestCase{
		"of what makes containers": {text: `
apiVersion: example.com/v1
kind: ActionSet
spec:
  env: [{name: IMAGE, value: "quay.io/o/db:v1"}]
  backup: {image: $(IMAGE)}
`, images: []string{"certain quay.io/o/db:v1 4"}},
		"env": {
			text: `
apiVersion: v1
kind: Pod
spec:
  containers:
  - name: a
    env:
    - {name: HOST, value: quay.io}
    - {name: REG, value: $(HOST)/acme}
    - {name: RELATED_IMAGE_AGENT, value: "$(REG)/agent:v1"}
    - {name: CSI_IMAGE, value: "$(REG)/csi:$(NOBODY)"}
    - {name: OTHER, value: "$(REG)/other:v3"}
    - {name: UNKNOWN_IMAGE, value: $(NOBODY)}
    - {name: IMAGE_PULL_SECRET, value: $(NOBODY)}
  - {name: b, env: [{name: RELATED_IMAGE_B, value: $(REG)/b:1}]}
`,
			images: []string{"certain quay.io/acme/agent:v1 9", "suspected quay.io/acme/csi:latest 10", "suspected quay.io/acme/other:v3 11"},
			problems: []string{
				`error manifests/x.yaml:10 the image "quay.io/acme/csi:…" depends`,
				`error manifests/x.yaml:12 the image "…" depends on a value that is not known: give it in the Kubefile's ENV or list the image in images/shim and put $(NOBODY) into .sealignore`,
				`error manifests/x.yaml:14 the image "…/b:1" depends`,
			},
		},
	})
}

func TestAnImageOfKubectlThatIsKnownLaterIsTold(t *testing.T) {
	wants(t, scanFS(t, contextOf("-- manifests/x.sh --\nkubectl run a --image=$IMG\nkubectl debug b --image $REG/x:1\n")), nil,
		[]string{"warning manifests/x.sh:1 ", "warning manifests/x.sh:2 "})
}

func TestAChartWithAnImageThatNobodyCanNameIsAnError(t *testing.T) {
	wants(t, scanFS(t, contextOf(`
-- charts/app/Chart.yaml --
{apiVersion: v2, name: app, version: 1.0.0}
-- charts/app/values.yaml --
{tag: "", image: "", extra: {enabled: false}}
-- charts/app/templates/p.yaml --
apiVersion: v1
kind: Pod
spec:
  containers:
  - name: a
    image: "quay.io/o/a:{{ .Values.tag }}"
  - name: b
    image: {{ .Values.image | quote }}
---
{{- if .Values.extra.enabled }}
apiVersion: v1
kind: Pod
spec:
  containers:
  - name: c
    image: REPLACE_ME
{{- end }}
`)), nil, []string{"warning charts/app/templates/p.yaml:8 containers of container b: its image is empty", "error charts/app/templates/p.yaml:6 containers of container a"})
}
