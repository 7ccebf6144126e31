package kube

import (
	"context"
	"fmt"
	"strings"
)

// Budget is a PodDisruptionBudget that lets no pod go now.
type Budget struct {
	Namespace, Name          string
	Healthy, Needed, Covered int      // of its pods: those that are healthy, those that must be, all
	Pods                     []Seated // that it covers
}

// Title names the budget as kubectl users do: NAMESPACE/NAME.
func (b Budget) Title() string { return b.Namespace + "/" + b.Name }

// Seated is a pod and where it runs.
type Seated struct {
	Namespace, Name, Node string
	Going                 bool     // it is being deleted
	Finalizers            []string // what has to be done before it is gone
}

// Title names the pod as kubectl users do: NAMESPACE/NAME.
func (s Seated) Title() string { return s.Namespace + "/" + s.Name }

// budgetsTemplate prints the budgets that allow nothing. The line of one ends with the text of its selector, since an empty one
// covers all pods of the namespace and none covers none.
const budgetsTemplate = `{{range .items}}{{if .status}}{{if .status.disruptionsAllowed}}{{else}}budget {{printf "%q %q" .metadata.namespace .metadata.name}}` +
	` {{with .status.currentHealthy}}"{{.}}"{{else}}"0"{{end}} {{with .status.desiredHealthy}}"{{.}}"{{else}}"0"{{end}} {{with .status.expectedPods}}"{{.}}"{{else}}"0"{{end}}` +
	` {{printf "%q" (printf "%v" .spec.selector)}}
{{with .spec.selector}}{{range $k, $v := .matchLabels}}label {{printf "%q %q" $k $v}}
{{end}}{{range .matchExpressions}}where {{printf "%q %q" .key .operator}}{{range .values}} {{printf "%q" .}}{{end}}
{{end}}{{end}}{{end}}{{end}}{{end}}`

// seatedTemplate prints pods that are not over.
const seatedTemplate = `{{range .items}}{{if and (ne .status.phase "Succeeded") (ne .status.phase "Failed")}}` +
	`pod {{printf "%q %q" .metadata.namespace .metadata.name}} {{with .spec.nodeName}}{{printf "%q" .}}{{else}}""{{end}} {{if .metadata.deletionTimestamp}}"going"{{else}}""{{end}}
{{range .metadata.finalizers}}held {{printf "%q" .}}
{{end}}{{end}}{{end}}`

// heldTemplate prints those of them that have finalizers, whether they are over or not.
const heldTemplate = `{{range .items}}{{if .metadata.finalizers}}` +
	`pod {{printf "%q %q" .metadata.namespace .metadata.name}} {{with .spec.nodeName}}{{printf "%q" .}}{{else}}""{{end}} {{if .metadata.deletionTimestamp}}"going"{{else}}""{{end}}
{{range .metadata.finalizers}}held {{printf "%q" .}}
{{end}}{{end}}{{end}}`

// TightBudgets lists the PodDisruptionBudgets that let no pod go now, with their pods.
func (c *Client) TightBudgets(ctx context.Context) ([]Budget, error) {
	records, err := c.query(ctx, budgetsTemplate, "poddisruptionbudgets.policy", "--all-namespaces")
	if err != nil {
		return nil, err
	}
	budgets, selectors := readBudgets(records)
	for i, b := range budgets {
		args := []string{"pods", "--namespace", b.Namespace}
		switch selectors[i] {
		case selectsNone:
			continue
		case "":
		default:
			args = append(args, "--selector", selectors[i])
		}
		if records, err = c.query(ctx, seatedTemplate, args...); err != nil {
			return nil, err
		}
		budgets[i].Pods = readSeated(records)
	}
	return budgets, nil
}

// selectsNone stands for the selector of a budget that has none.
const selectsNone = "-"

// readBudgets reads budgets, and for each the selector of its pods as kubectl takes it.
func readBudgets(records []answerLine) (out []Budget, selectors []string) {
	for _, rec := range records {
		if rec.kind == "budget" {
			out = append(out, Budget{Namespace: rec.value(0), Name: rec.value(1), Healthy: rec.number(2), Needed: rec.number(3), Covered: rec.number(4)})
			selector := ""
			if !strings.HasPrefix(rec.value(5), "map[") {
				selector = selectsNone
			}
			selectors = append(selectors, selector)
			continue
		}
		if len(out) == 0 {
			continue
		}
		term := ""
		switch key := rec.value(0); {
		case rec.kind == "label":
			term = key + "=" + rec.value(1)
		case rec.value(1) == "In":
			term = fmt.Sprintf("%s in (%s)", key, strings.Join(rec.values[2:], ","))
		case rec.value(1) == "NotIn":
			term = fmt.Sprintf("%s notin (%s)", key, strings.Join(rec.values[2:], ","))
		case rec.value(1) == "DoesNotExist":
			term = "!" + key
		default:
			term = key
		}
		if last := &selectors[len(out)-1]; *last != "" {
			*last += "," + term
		} else {
			*last = term
		}
	}
	return out, selectors
}

func readSeated(records []answerLine) (out []Seated) {
	for _, rec := range records {
		switch {
		case rec.kind == "pod":
			out = append(out, Seated{Namespace: rec.value(0), Name: rec.value(1), Node: rec.value(2), Going: rec.value(3) != ""})
		case rec.kind == "held" && len(out) > 0:
			p := &out[len(out)-1]
			p.Finalizers = append(p.Finalizers, rec.value(0))
		}
	}
	return out
}

// Held lists the pods that have finalizers.
func (c *Client) Held(ctx context.Context) ([]Seated, error) {
	records, err := c.query(ctx, heldTemplate, "pods", "--all-namespaces")
	return readSeated(records), err
}
