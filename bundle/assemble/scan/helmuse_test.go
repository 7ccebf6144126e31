package scan

import "testing"

const optionChart = `
-- charts/app/Chart.yaml --
{apiVersion: v2, name: app, version: 1.2.3}
-- charts/app/values.yaml --
image: {repository: quay.io/o/app, tag: v1}
agent: {enabled: false, image: "quay.io/o/agent:1"}
list: []
side: ""
-- charts/app/templates/p.yaml --
apiVersion: v1
kind: Pod
spec:
  containers:
  - image: "{{ .Values.image.repository }}:{{ .Values.image.tag }}"
  {{- if .Values.agent.enabled }}
  - {name: agent, image: {{ .Values.agent.image }}}
  {{- end }}
  {{- range .Values.list }}
  - {name: listed, image: {{ . }}}
  {{- end }}
  {{- if .Values.side }}
  - {name: side, image: {{ .Values.side }}}
  {{- end }}
`

func TestHelmOptionsOfCommandsAreHonoured(t *testing.T) {
	const at = " charts/app/templates/p.yaml:"
	for name, tc := range map[string]struct {
		text     string
		images   []string
		problems []string
	}{
		"CMD as an array, continued ENV, variables for run time": {text: `
-- Kubefile --
FROM scratch
ENV NAME=${NAME:-"app"} CHARTS="./charts/app"
ENV HELM_OPTS=${HELM_OPTS:-" \
  --set agent.enabled=true \
  --set-string image.tag=2 \
"}
CMD ["cp -a opt/helm /usr/bin/", "helm upgrade -i $(NAME) $(CHARTS) -n $(NAMESPACE) --create-namespace $(HELM_OPTS)"]
`, images: []string{"certain quay.io/o/agent:1" + at + "7", "certain quay.io/o/app:2" + at + "5"}, problems: []string{
			"Kubefile:7 --set-string image.tag=2 follows from HELM_OPTS of the image's ENV",
		}},
		"shell form with several commands": {text: `
-- Kubefile --
FROM scratch
CMD cp -f ./opt/helm /usr/bin/helm && \
  helm upgrade --install app charts/app --namespace=a --set 'list={a:1,b:2}' --set-json='side="c:3"' --wait
`, images: []string{
			"certain docker.io/library/a:1" + at + "10", "certain docker.io/library/b:2" + at + "10", "certain docker.io/library/c:3" + at + "13",
			"certain quay.io/o/app:v1" + at + "5", "suspected quay.io/o/agent:1" + at + "7",
		}},
		"a script with values files": {text: `
-- Kubefile --
FROM scratch
CMD ["bash entrypoint.sh"]
-- entrypoint.sh --
#!/bin/bash
# helm upgrade -i app charts/app --set image.tag=comment
VERSION=v7
opts="--set agent.enabled=false"
helm upgrade -i app ./charts/app $opts \
  -f charts/app/values.yaml --values values/site.yaml \
  --set image.tag="${VERSION}"
-- values/site.yaml --
side: quay.io/site/s:1
`, images: []string{"certain quay.io/o/app:v7" + at + "5", "certain quay.io/site/s:1" + at + "13"}},
		"what is known at run time only": {text: `
-- Kubefile --
FROM scratch
CMD ["helm install app charts/app --set side=$(SIDE),image.tag=v3 -f $(POLICY).yaml -f gone.yaml --set-file list=x"]
`, images: []string{"certain quay.io/o/app:v3" + at + "5", "suspected quay.io/o/agent:1" + at + "7"}, problems: []string{
			"Kubefile:2 the values file $….yaml is known at run time only",
			"Kubefile:2 the Helm option --set-file list=x is not followed",
			"Kubefile:2 Helm options known at run time only, charts are rendered without them: side",
			"Kubefile:2 the values file gone.yaml is not in the context",
			"charts/app/templates/p.yaml:13 the image \"…\" depends on a value",
		}},
		"two releases": {text: `
-- Kubefile --
FROM scratch
ENTRYPOINT ["helm install a charts/app --set image.tag=a"]
CMD ["helm install b charts/app --set image.tag=b"]
`, images: []string{
			"certain quay.io/o/app:a" + at + "5", "certain quay.io/o/app:b" + at + "5", "suspected quay.io/o/agent:1" + at + "7",
		}},
		"the order of kinds is Helm's, whatever that of the words": {text: `
-- Kubefile --
FROM scratch
CMD ["helm install a charts/app --set-literal image.tag=l --set-string image.tag=s --set image.tag=v --set-json image.tag='\"j\"'"]
`, images: []string{"certain quay.io/o/app:l" + at + "5", "suspected quay.io/o/agent:1" + at + "7"}},
		"an option that Helm refuses": {text: `
-- Kubefile --
FROM scratch
CMD ["helm install a charts/app --set image"]
`, images: []string{"certain quay.io/o/app:v1" + at + "5", "suspected quay.io/o/agent:1" + at + "7"}, problems: []string{
			"error charts/app:0 Helm option --set image",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			wants(t, scanFS(t, contextOf(optionChart+tc.text)), tc.images, tc.problems)
		})
	}
}
