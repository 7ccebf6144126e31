package payload

import (
	"cmp"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/registry/disk"
)

// Access says how the cluster's registry is reached, and where it keeps its data.
//
// The registry knows two accounts. Every host has the first in its files; images know it from their environment
// (registryUsername, registryPassword). It can only pull: somebody who takes over a host must not be able to change what
// other hosts run. The second account can push and delete, and its password lies on masters alone. In a cluster that was
// made before there was the second, hosts keep what they have: with the next run the registries of the masters take the
// first account for one that only pulls.
//
// Registry programs that come with images made for sealos know the first account alone, and let it do everything.
type Access struct {
	User, Password         string
	PushUser, PushPassword string
	Port, Domain, Data     string
}

// PushUser is the name of the account that pushes and deletes.
const PushUser = "push"

// Access reads from the environment what it says of the registry. The passwords are left empty.
func (p *Payload) Access(c *installer.Cluster) Access {
	env := p.clusterEnv(c)
	a := Access{
		User: cmp.Or(env["registryUsername"], "admin"), PushUser: PushUser,
		Port: cmp.Or(env["registryPort"], "5000"), Domain: cmp.Or(env["registryDomain"], "sealos.hub"), Data: cmp.Or(env["registryData"], disk.DefaultRoot),
	}
	if a.User == a.PushUser {
		a.PushUser += "er"
	}
	return a
}
