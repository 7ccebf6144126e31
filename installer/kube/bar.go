package kube

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
)

// A host that was taken out while it was dead keeps its certificate, which Kubernetes has no way to revoke: when it boots from its
// old disk its kubelet would make its Node anew, and pods would be placed there. So the cluster refuses a Node of that name, until
// a host of the name is taken in again. It does so by a ValidatingAdmissionPolicy, which Kubernetes has from 1.30 on.

// barSuffix ends the names of the policies. What is before it is the name of a node.
const barSuffix = ".taken-out.sealbuild.io"

// policies and bindings are how kubectl names the kinds.
const (
	policies = "validatingadmissionpolicies.admissionregistration.k8s.io"
	bindings = "validatingadmissionpolicybindings.admissionregistration.k8s.io"
)

// ErrNoBar says that the cluster cannot refuse a Node: its Kubernetes is older than 1.30.
var ErrNoBar = errors.New("its Kubernetes is older than 1.30, and refuses no Node by its name")

// Bar makes the cluster refuse a Node of a name. Where it cannot, the error is [ErrNoBar].
func (c *Client) Bar(ctx context.Context, node string) error {
	meta := map[string]string{"name": node + barSuffix}
	const group = "admissionregistration.k8s.io/v1"
	list, err := json.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": []any{
		map[string]any{"apiVersion": group, "kind": "ValidatingAdmissionPolicy", "metadata": meta, "spec": map[string]any{
			"failurePolicy": "Ignore", // it must never keep another host out
			"matchConstraints": map[string]any{"resourceRules": []any{map[string]any{
				"apiGroups": []string{""}, "apiVersions": []string{"v1"}, "operations": []string{"CREATE"}, "resources": []string{"nodes"},
			}}},
			"validations": []any{map[string]string{
				"expression": "object.metadata.name != " + strconv.Quote(node),
				"message":    "host " + node + " was taken out of this cluster while it was dead, and is back with its old disk: `sealinstall add` takes it in again",
			}},
		}},
		map[string]any{"apiVersion": group, "kind": "ValidatingAdmissionPolicyBinding", "metadata": meta, "spec": map[string]any{
			"policyName": meta["name"], "validationActions": []string{"Deny"},
		}},
	}})
	if err != nil {
		return err
	}
	return c.Ask(ctx, func(ctx context.Context, p ControlPlane) error {
		_, err := c.kubectlOn(ctx, p, list, "apply", "-f", "-")
		return noBar(err)
	})
}

// noBar is [ErrNoBar] for the error with which kubectl tells that the API has no such kind; else it is the error.
func noBar(err error) error {
	refused, ok := errors.AsType[*installer.CommandError](err)
	if ok && (strings.Contains(refused.Tail, "no matches for kind") || strings.Contains(refused.Tail, "doesn't have a resource type")) {
		return ErrNoBar
	}
	return err
}

// Unbar lets Nodes of these names be made again.
func (c *Client) Unbar(ctx context.Context, nodes ...string) error {
	barred, err := c.barred(ctx)
	for _, b := range barred {
		if err == nil && slices.Contains(nodes, b) {
			_, err = c.Kubectl(ctx, "delete", bindings+","+policies, b+barSuffix, "--ignore-not-found")
		}
	}
	return err
}

// barred lists the nodes that the cluster refuses.
func (c *Client) barred(ctx context.Context) (out []string, err error) {
	const template = `{{range .items}}is {{printf "%q" .metadata.name}}
{{end}}`
	err = c.Ask(ctx, func(ctx context.Context, p ControlPlane) error {
		raw, err := c.KubectlOn(ctx, p, "get", policies, "-o", "go-template="+template)
		if err = noBar(err); err != nil {
			return err
		}
		out = nil
		records, err := readRecords(string(raw))
		for _, rec := range records {
			if node, ours := strings.CutSuffix(rec.value(0), barSuffix); ours {
				out = append(out, node)
			}
		}
		return err
	})
	if errors.Is(err, ErrNoBar) {
		return nil, nil
	}
	return out, err
}
