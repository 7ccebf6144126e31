package kube

import (
	"context"
	"strings"
)

// Runs is a container that a pod has, by its image.
type Runs struct {
	Namespace, Pod, Node string
	Container, Image     string // as the pod names them
}

// Tag is the tag of the image; empty if it has none.
func (r Runs) Tag() string {
	name, _, _ := strings.Cut(r.Image, "@")
	_, tag, _ := strings.Cut(name[strings.LastIndexByte(name, '/')+1:], ":")
	return tag
}

const runsTemplate = `{{range .items}}{{$p := .}}{{range .spec.containers}}runs {{printf "%q %q" $p.metadata.namespace $p.metadata.name}}` +
	` {{with $p.spec.nodeName}}{{printf "%q" .}}{{else}}""{{end}} {{with .name}}{{printf "%q" .}}{{else}}""{{end}} {{with .image}}{{printf "%q" .}}{{else}}""{{end}}
{{end}}{{end}}`

// Images lists the containers of pods; args are those of kubectl get pods.
func (c *Client) Images(ctx context.Context, args ...string) ([]Runs, error) {
	records, err := c.query(ctx, runsTemplate, append([]string{"pods"}, args...)...)
	if err != nil {
		return nil, err
	}
	var out []Runs
	for _, rec := range records {
		out = append(out, Runs{Namespace: rec.value(0), Pod: rec.value(1), Node: rec.value(2), Container: rec.value(3), Image: rec.value(4)})
	}
	return out, nil
}
