package scenario

import "strings"

// The commands of docs/operations.md that replace hosts, as they stand there: 10.0.0.2 to 10.0.0.4 are masters, 10.0.0.5 and
// 10.0.0.6 nodes, 10.0.0.7 is a host that was in no cluster. The scenarios run each of them, with the addresses of their hosts.
const (
	addTwoMasters     = "./sealinstall add --masters 10.0.0.3,10.0.0.4"
	deleteNode        = "./sealinstall delete --nodes 10.0.0.6"
	deleteDeadNode    = "./sealinstall delete --nodes 10.0.0.6 --dead"
	addNode           = "./sealinstall add --nodes 10.0.0.6"
	deleteMaster      = "./sealinstall delete --masters 10.0.0.3"
	deleteDeadMaster  = "./sealinstall delete --masters 10.0.0.3 --dead"
	addMaster         = "./sealinstall add --masters 10.0.0.3"
	deleteDeadFirst   = "./sealinstall delete --masters 10.0.0.2 --dead"
	addFirst          = "./sealinstall add --masters 10.0.0.2"
	addAnotherMaster  = "./sealinstall add --masters 10.0.0.7"
	askStatus         = "./sealinstall status"
	listCertificates  = "./sealinstall cert"
	documentedNetwork = "10.0.0."
)

// MemberCommands are the sections of docs/operations.md with the commands that each shows, in their order.
func MemberCommands() map[string][]string {
	return map[string][]string{
		"Move from 1 to 3 masters": {addTwoMasters, askStatus},
		"Replace a node":           {deleteNode, deleteDeadNode, addNode, askStatus},
		"Replace a master":         {deleteMaster, deleteDeadMaster, addMaster, askStatus},
		"Replace the first master": {deleteDeadFirst, addFirst, addAnotherMaster, askStatus},
	}
}

// withAddresses is a documented command with the addresses of a site's hosts: the n-th is 10.0.0.(n+1) in the document.
func withAddresses(command string, hosts []string) []string {
	return strings.Fields(withHosts(command, hosts))[1:]
}

// withHosts puts the addresses of a site's hosts in the place of those of a document.
func withHosts(text string, hosts []string) string {
	var pairs []string
	for i, h := range hosts {
		pairs = append(pairs, documentedNetwork+string(rune('2'+i)), h)
	}
	return strings.NewReplacer(pairs...).Replace(text)
}
