package payload

import (
	"cmp"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/registry/disk"
)

// Access is how the cluster's registry is reached and where it keeps its data.
//
// There are two accounts. The one that images know from their environment
// (registryUsername, registryPassword) is what every host has in its files: it
// can only pull, since a host that falls into somebody's hands must not be able
// to change what the others run. To push and delete takes another, whose
// password lies on masters alone. So what hosts have need not change when a
// cluster of before learns of the second account: the masters' registries know
// the first as one that pulls, from the next run on.
//
// Registry programs that images made for sealos bring know no such difference:
// they have the first account only, and it may do everything.
type Access struct {
	User, Password         string
	PushUser, PushPassword string
	Port, Domain, Data     string
}

// PushUser is the name of the account that pushes and deletes.
const PushUser = "push"

// Access reads from the environment what it says of the registry. The passwords are settled elsewhere.
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
