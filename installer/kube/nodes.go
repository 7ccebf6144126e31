package kube

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/sealbuild/sealbuild/installer"
)

// Node is what the API tells of a node.
type Node struct {
	Name, IP string
	Ready    string // True, False, or Unknown if its kubelet is silent
	Message  string // why it is not Ready
	Pressure []string
	Version  string // of its kubelet; empty if that has not told it
	Leaving  bool   // a run of ours has cordoned it, see [Client.Cordon]
	Cordoned bool   // somebody else had cordoned it before that
	TakenOut bool   // a run of ours took its host for dead, see [Client.OutOfService]
	Runtime  string // its container runtime and the version, as containerd://2.1.4; empty if not told
}

// nodeLines prints the fields of [Node].
const nodeLines = `node {{printf "%q" .metadata.name}}
{{range $k, $v := .metadata.annotations}}{{if eq $k "` + Leaving + `"}}leaves {{printf "%q" $v}}
{{end}}{{end}}{{with .spec}}{{range .taints}}{{if and (eq .key "` + outOfService + `") (eq (or .value "") "` + takenOut + `")}}taken
{{end}}{{end}}{{end}}{{with .status.nodeInfo}}{{with .kubeletVersion}}runs {{printf "%q" .}}
{{end}}{{with .containerRuntimeVersion}}by {{printf "%q" .}}
{{end}}{{end}}{{range .status.addresses}}{{if eq .type "InternalIP"}}at {{printf "%q" .address}}
{{end}}{{end}}{{range .status.conditions}}{{if eq .type "Ready"}}ready {{printf "%q" .status}}{{if ne .status "True"}} {{printf "%q" (or .message .reason "")}}{{end}}
{{else if eq .status "True"}}has {{printf "%q" .type}}
{{end}}{{end}}`

const nodesTemplate = `{{range .items}}` + nodeLines + `{{end}}`

// Nodes lists the nodes of the cluster.
func (c *Client) Nodes(ctx context.Context) ([]Node, error) {
	records, err := c.query(ctx, nodesTemplate, "nodes")
	if err != nil {
		return nil, err
	}
	return readNodes(records), nil
}

func readNodes(records []answerLine) []Node {
	nodes := []Node{}
	for _, rec := range records {
		if rec.kind == "node" {
			nodes = append(nodes, Node{Name: rec.value(0), Ready: "Unknown", Message: "its kubelet has never been heard of"})
			continue
		}
		if len(nodes) == 0 {
			continue
		}
		n := &nodes[len(nodes)-1]
		switch rec.kind {
		case "at":
			if n.IP == "" {
				n.IP = rec.value(0)
			}
		case "ready":
			n.Ready, n.Message = rec.value(0), rec.value(1)
		case "runs":
			n.Version = rec.value(0)
		case "leaves":
			n.Leaving, n.Cordoned = true, rec.value(0) == wasCordoned
		case "taken":
			n.TakenOut = true
		case "by":
			n.Runtime = rec.value(0)
		case "has":
			n.Pressure = append(n.Pressure, rec.value(0))
		}
	}
	return nodes
}

// NodeOf finds the node of a host, by its name or, if the host was not looked at, by its address.
func NodeOf(nodes []Node, h Host) (Node, bool) {
	i := slices.IndexFunc(nodes, func(n Node) bool {
		if h.Node == "" {
			return n.IP == h.IP.String()
		}
		return n.Name == h.Node
	})
	if i < 0 {
		return Node{}, false
	}
	return nodes[i], true
}

// Strangers are nodes of the cluster that are none of the hosts.
func Strangers(nodes []Node, hosts []Host) []Node {
	own := map[string]bool{}
	for _, h := range hosts {
		if n, ok := NodeOf(nodes, h); ok {
			own[n.Name] = true
		}
	}
	return slices.DeleteFunc(slices.Clone(nodes), func(n Node) bool { return own[n.Name] })
}

// Title names a node with its address.
func (n Node) Title() string {
	if _, err := netip.ParseAddr(n.IP); err != nil {
		return n.Name
	}
	return n.Name + " (" + n.IP + ")"
}

// nodesWaiting has lines for nodes that are not there or not Ready.
func nodesWaiting(nodes []Node, hosts []Host) []string {
	var out []string
	var unready []Node
	for _, h := range hosts {
		n, ok := NodeOf(nodes, h)
		switch {
		case !ok && h.Node == "":
			out = append(out, fmt.Sprintf("host %s has no node in the cluster", h.IP))
		case !ok:
			out = append(out, fmt.Sprintf("node %s is not in the cluster", h.Node))
		case n.Ready != "True":
			unready = append(unready, n)
		}
	}
	return append(out, NotReady(unready)...)
}

// NotReady has a line for nodes that are not Ready, one for all that give the same reason.
func NotReady(nodes []Node) []string {
	var all []saying
	for _, n := range nodes {
		all = said(all, n.Message, n.Title())
	}
	var out []string
	for _, s := range all {
		text := "node " + s.of[0] + " is not Ready"
		if len(s.of) > 1 {
			text = "nodes " + installer.NameSome(s.of) + " are not Ready"
		}
		if s.text != "" {
			text += ": " + s.text
		}
		out = append(out, text)
	}
	return out
}

// Heartbeat gives when kubelet has last renewed the lease of a node, as the API writes the time. Two that are equal are the same
// heartbeat; they are not to be compared with a clock.
func (c *Client) Heartbeat(ctx context.Context, node string) (string, error) {
	const template = `{{with .spec}}{{with .renewTime}}{{.}}{{end}}{{end}}`
	raw, err := c.Kubectl(ctx, "get", "lease", "-n", "kube-node-lease", node, "-o", "go-template="+template)
	return string(raw), err
}
