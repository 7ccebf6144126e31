package support

import (
	_ "embed"
	"time"

	"github.com/sealbuild/sealbuild/ground/page"
)

//go:embed index.html
var indexBody string

var index = page.New(indexBody)

// page is index.html: what a person sees first.
func (b *bundle) page(findings []finding) ([]byte, error) {
	data := struct {
		Cluster, Version, Kubernetes string
		Made, Since                  time.Time
		Files                        int
		Findings                     []finding
		Hosts                        []hostFacts
		Missing                      []Missing
		Known, Ready                 bool
	}{Cluster: b.Cluster.Name, Version: b.Version, Made: b.made, Since: b.Since, Files: b.files, Findings: findings, Hosts: b.hosts, Missing: b.missing}
	if b.status != nil {
		data.Known, data.Ready, data.Kubernetes = true, b.status.Ready, b.status.Kubernetes
	}
	return index.Page("Support bundle of cluster "+b.Cluster.Name, page.Masked(data, b.Redact.Text))
}
