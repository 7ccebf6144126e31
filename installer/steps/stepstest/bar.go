package stepstest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// policy is a ValidatingAdmissionPolicy that refuses a Node of one name.
type policy struct {
	name, refuses, message string
	bound                  bool
	made                   time.Time
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
				s.kube.policies = append(s.kube.policies, policy{name: o.Metadata.Name, refuses: node, message: o.Spec.Validations[0].Message, made: time.Now()})
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
		items = append(items, object{"kind": "ValidatingAdmissionPolicy", "metadata": object{"name": p.name, "creationTimestamp": p.made.UTC().Format(time.RFC3339)}})
	}
	return items
}

// unapply deletes policies with their bindings.
func (s workloads) unapply(names []string) {
	s.kube.policies = slices.DeleteFunc(slices.Clone(s.kube.policies), func(p policy) bool { return slices.Contains(names, p.name) })
}

// refuse has a kubelet told that its Node is refused. It goes on asking, and tells of that in Events.
func (s *Site) refuse(node string) {
	of := func(o object) bool {
		source, _ := o["source"].(object)
		return source["host"] == node
	}
	if slices.ContainsFunc(s.kube.objects["events"], of) {
		return
	}
	if s.kube.objects == nil {
		s.kube.objects = map[string][]object{}
	}
	s.kube.objects["events"] = append(slices.Clone(s.kube.objects["events"]), object{
		"kind": "Event", "metadata": object{"namespace": "default", "name": node + ".1", "creationTimestamp": time.Now().UTC().Add(time.Second).Format(time.RFC3339)},
		"source": object{"component": "kubelet", "host": node}, "involvedObject": object{"kind": "Node", "name": node}, "type": "Normal", "reason": "Starting",
		"message": "Starting kubelet.",
	})
}

// Refused tells whether the cluster refuses a Node of a name.
func (s *Site) Refused(node string) bool {
	defer s.locked()()
	return s.kube.refused(node)
}
