package scan

import (
	"path"

	"go.yaml.in/yaml/v3"
	chart "helm.sh/helm/v4/pkg/chart/v2"
)

// imageAnnotations hold, as YAML text, the list of images that a chart uses:
// Artifact Hub's, and the one that chart repositories used before it.
var imageAnnotations = []string{"artifacthub.io/images", "images", "helm.sh/images"} // read-only after start

// annotated takes the images that Chart.yaml lists. A list outlives what it
// was written for: its images are suspected, and those of subcharts too.
func (r *chartRun) annotated(ch *chart.Chart, dir string, known knownImages) {
	for _, f := range ch.Raw {
		if f.Name == "Chart.yaml" {
			r.annotationsIn(path.Join(dir, f.Name), f.Data, known)
		}
	}
	for _, sub := range ch.Dependencies() {
		r.annotated(sub, path.Join(dir, "charts", sub.Name()), known)
	}
}

func (r *chartRun) annotationsIn(file string, content []byte, known knownImages) {
	root, err := parseYAML(string(content))
	if err != nil {
		return // the loader said so
	}
	annotations := get(root, "annotations")
	for _, key := range imageAnnotations {
		list := get(annotations, key)
		inner, err := parseYAML(text(list))
		if err != nil || inner == nil || inner.Kind != yaml.SequenceNode {
			continue
		}
		for _, item := range inner.Content {
			image := resolve(item)
			if image.Kind == yaml.MappingNode {
				image = get(item, "image")
			}
			f := finding{text: text(image), certainty: Suspected, reason: "annotation " + key + " of the chart"}
			if s, ok := shapeOf(f.text); !ok || !s.pinned() || known.has(f) {
				continue
			}
			f.line = scalarLine(list, image.Line)
			r.add(file, f)
		}
	}
}
