package kube

import (
	"context"
	"slices"
)

// Seen is what a cluster tells in one look.
type Seen struct {
	Nodes   []Node
	Unready []Pod // of all namespaces: to run, and not ready

	static    []Pod // that kubelet runs from manifests on its host: the control plane and care
	workloads []workload
}

// seenTemplate prints nodes, workloads, and those pods that are not ready or static, with their labels.
const seenTemplate = `{{range .items}}{{if eq .kind "Node"}}` + nodeLines + `{{else if eq .kind "Pod"}}` + podReady +
	`{{$tier := ""}}{{with .metadata.labels}}{{with .tier}}{{$tier = .}}{{end}}{{end}}` +
	`{{if or (ne $ready "True") (eq $tier "control-plane")}}` + podLine + podLabels + `{{if ne $ready "True"}}` + podWhy + `{{end}}{{end}}` +
	`{{else}}` + workloadLines + `{{end}}{{end}}` + podContainer

// See asks the cluster once, by one program, for all that [Seen.Lacks] judges by.
func (c *Client) See(ctx context.Context) (Seen, error) {
	records, err := c.query(ctx, seenTemplate, "nodes,pods,"+workloadKinds, "--all-namespaces")
	if err != nil {
		return Seen{}, err
	}
	return readSeen(records), nil
}

func readSeen(records []answerLine) Seen {
	of := map[string][]answerLine{} // the lines of each kind of object, by the word that such an object begins with
	head := ""
	for _, rec := range records {
		if rec.kind == "node" || rec.kind == "pod" || rec.kind == "work" {
			head = rec.kind
		}
		of[head] = append(of[head], rec)
	}
	s := Seen{Nodes: readNodes(of["node"]), workloads: readWorkloads(of["work"])}
	pods := readPods(of["pod"])
	for _, p := range pods {
		if p.Namespace == "kube-system" && p.labels["tier"] == "control-plane" {
			s.static = append(s.static, p)
		}
	}
	s.Unready = slices.DeleteFunc(pods, func(p Pod) bool { return p.ready || p.remains() })
	return s
}
