package stepstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
)

// policy is a ValidatingAdmissionPolicy that refuses a Node of one name.
type policy struct {
	name, refuses, message string
	bound                  bool
}

const policyKinds = "validatingadmissionpolicybindings.admissionregistration.k8s.io,validatingadmissionpolicies.admissionregistration.k8s.io"

var errNoPolicies = errors.New(`error: the server doesn't have a resource type "validatingadmissionpolicies"`)

// refused tells whether a policy refuses a Node of a name.
func (k *kube) refused(node string) bool {
	return slices.ContainsFunc(k.policies, func(p policy) bool { return p.bound && p.refuses == node })
}

// apply takes the documents that refuse a Node, as kubectl apply does.
func (s workloads) apply(stdin []byte) error {
	var list struct {
		Items []struct {
			APIVersion, Kind string
			Metadata         struct{ Name string }
			Spec             struct {
				PolicyName        string
				ValidationActions []string
				MatchConstraints  struct {
					ResourceRules []struct{ APIGroups, APIVersions, Operations, Resources []string }
				}
				Validations []struct{ Expression, Message string }
			}
		}
	}
	if err := json.Unmarshal(stdin, &list); err != nil {
		return err
	}
	if s.NoPolicies {
		return errors.New(`error: resource mapping not found for name: "x" namespace: "" from "STDIN": no matches for kind "ValidatingAdmissionPolicy" in version "admissionregistration.k8s.io/v1"`)
	}
	s.kube.policies = slices.Clone(s.kube.policies)
	for _, o := range list.Items {
		if o.APIVersion != "admissionregistration.k8s.io/v1" {
			return fmt.Errorf("not simulated: apply %s", o.APIVersion)
		}
		of := func(name string) int {
			return slices.IndexFunc(s.kube.policies, func(p policy) bool { return p.name == name })
		}
		switch o.Kind {
		case "ValidatingAdmissionPolicy":
			quoted, ok := strings.CutPrefix(o.Spec.Validations[0].Expression, "object.metadata.name != ")
			node, err := strconv.Unquote(quoted)
			rule := o.Spec.MatchConstraints.ResourceRules[0]
			if !ok || err != nil || fmt.Sprint(rule) != "{[] [v1] [CREATE] [nodes]}" {
				return fmt.Errorf("not simulated: %s, %v", o.Spec.Validations[0].Expression, rule)
			}
			if of(o.Metadata.Name) < 0 {
				s.kube.policies = append(s.kube.policies, policy{name: o.Metadata.Name, refuses: node, message: o.Spec.Validations[0].Message})
			}
		case "ValidatingAdmissionPolicyBinding":
			if i := of(o.Spec.PolicyName); i >= 0 && slices.Equal(o.Spec.ValidationActions, []string{"Deny"}) {
				s.kube.policies[i].bound = true
			}
		default:
			return fmt.Errorf("not simulated: apply a %s", o.Kind)
		}
	}
	return nil
}

// policyList lists the policies.
func (s workloads) policyList() []object {
	items := []object{}
	for _, p := range s.kube.policies {
		items = append(items, object{"kind": "ValidatingAdmissionPolicy", "metadata": object{"name": p.name}})
	}
	return items
}

// unapply deletes policies with their bindings.
func (s workloads) unapply(names []string) {
	s.kube.policies = slices.DeleteFunc(slices.Clone(s.kube.policies), func(p policy) bool { return slices.Contains(names, p.name) })
}

// takesConnections tells whether something takes connections at an endpoint: a kubelet that runs does at its port.
func takesConnections(s *Site) func(agent.Endpoint) bool {
	return func(e agent.Endpoint) bool {
		defer s.locked()()
		m := s.machine(e.IP)
		return e.Port == installer.KubeletPort && m != nil && m.kubelet()
	}
}
