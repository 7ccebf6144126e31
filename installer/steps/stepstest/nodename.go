package stepstest

import (
	"fmt"
	"regexp"
	"strings"
)

// node is the name of the machine's Node: kubelet takes the host name in lower case, and no other.
func (m *Machine) node() string { return strings.ToLower(m.Name) }

var nodeNameForm = regexp.MustCompile(`(?m)^nodeRegistration:\n(?:  .*\n)*?  name: (\S+)$`)

// checkNodeName refuses a name that kubeadm refuses, and one for which its kubelet would wait in vain.
func (m *Machine) checkNodeName(config string) error {
	found := nodeNameForm.FindStringSubmatch(config)
	switch {
	case found == nil:
		return nil
	case found[1] != strings.ToLower(found[1]) || len(found[1]) > 63:
		return fmt.Errorf("nodeRegistration.name: Invalid value: %q: a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.'", found[1])
	case found[1] != m.node():
		return fmt.Errorf("nodes %q not found: kubelet registered %s", found[1], m.node())
	}
	return nil
}
