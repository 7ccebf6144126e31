package installer

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
)

func TestAddressesThatNoClusterCanHaveAreRefusedInOneSentence(t *testing.T) {
	subnet := func(name, value string) [][]byte {
		return [][]byte{[]byte("\n\napiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\nnetworking:\n  " + name + ": " + value + "\n")}
	}
	for name, c := range map[string]struct {
		hosts   string
		vip     string
		kubeadm [][]byte
		says    string // empty: taken
	}{
		"IPv4":                   {hosts: "10.0.0.1,10.0.0.2"},
		"a tunnel":               {hosts: "127.0.0.1:2222"},
		"IPv6":                   {hosts: "fd00::1", says: "IPv6 is not supported yet, alone or beside IPv4: give IPv4 addresses instead of fd00::1"},
		"mixed":                  {hosts: "10.0.0.1,fd00::1,fd00::2", says: "instead of fd00::1, fd00::2"},
		"many":                   {hosts: "fd00::1-fd00::ff", says: "instead of fd00::1, fd00::2, fd00::3, fd00::4 and 251 more"},
		"with a zone":            {hosts: "fe80::1%eth0", says: "instead of fe80::1%eth0"},
		"IPv4 written as IPv6":   {hosts: "::ffff:10.0.0.1"},
		"any":                    {hosts: "0.0.0.0", says: "0.0.0.0 means this host, or any address"},
		"this network":           {hosts: "0.1.2.3", says: "0.1.2.3 means this host"},
		"multicast":              {hosts: "10.0.0.1,224.0.0.1", says: "224.0.0.1 is a multicast address"},
		"broadcast":              {hosts: "255.255.255.255", says: "is the broadcast address"},
		"reserved":               {hosts: "240.0.0.1", says: "is of a reserved range"},
		"virtual address":        {hosts: "10.0.0.1,10.0.0.9", vip: "10.0.0.9", says: "host 10.0.0.9 has the virtual address"},
		"IPv6 virtual address":   {hosts: "10.0.0.1", vip: "fd00::9", says: "instead of defaultVIP fd00::9"},
		"virtual any":            {hosts: "10.0.0.1", vip: "0.0.0.0", says: "the virtual address 0.0.0.0 means"},
		"virtual multicast":      {hosts: "10.0.0.1", vip: "239.1.1.1", says: "-e defaultVIP=ADDRESS"},
		"virtual loopback":       {hosts: "10.0.0.1", vip: "127.0.0.1", says: "on the loopback"},
		"virtual nonsense":       {hosts: "10.0.0.1", vip: "vip.example", says: `defaultVIP "vip.example" is not an IP address`},
		"virtual mapped":         {hosts: "10.0.0.1", vip: "::ffff:10.103.97.2"},
		"a Service's address":    {hosts: "10.0.0.1,10.55.0.7", kubeadm: subnet("serviceSubnet", "10.55.0.0/16"), says: "host 10.55.0.7 lies in serviceSubnet 10.55.0.0/16"},
		"a pod's address":        {hosts: "10.55.0.7", kubeadm: subnet("podSubnet", "10.55.0.0/16"), says: "networking.podSubnet"},
		"virtual in Services":    {hosts: "10.0.0.1", vip: "10.55.0.9", kubeadm: subnet("serviceSubnet", "10.55.0.0/16"), says: "the virtual address 10.55.0.9 lies in serviceSubnet"},
		"IPv6 Services":          {hosts: "10.0.0.1", kubeadm: subnet("serviceSubnet", "fd01::/108"), says: "instead of serviceSubnet fd01::/108"},
		"pods of two families":   {hosts: "10.0.0.1", kubeadm: subnet("podSubnet", `"10.9.0.0/16,fd02::/64"`), says: "instead of podSubnet fd02::/64"},
		"networks that are good": {hosts: "10.0.0.1", vip: "10.7.7.7", kubeadm: subnet("podSubnet", "10.9.0.0/16")},
	} {
		t.Run(name, func(t *testing.T) {
			addresses, err := ParseAddresses(c.hosts)
			if err != nil {
				t.Fatal(err)
			}
			cluster := &Cluster{Env: map[string]string{"defaultVIP": c.vip}, Kubeadm: c.kubeadm}
			for _, a := range addresses {
				cluster.Hosts = append(cluster.Hosts, Host{IP: a.IP, Master: true, SSH: SSH{Port: a.Port}})
			}
			err = cluster.Complete()
			if c.says == "" {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			var refused *NetworkError
			if !errors.As(err, &refused) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("%v; want one sentence that says %q", err, c.says)
			}
		})
	}
}

func TestHostsOfAClusterfileAreJudgedAlike(t *testing.T) {
	for _, address := range []string{"fd00::1", "0.0.0.0", "224.0.0.1"} {
		c, err := ParseClusterfile("Clusterfile", []byte("apiVersion: apps.sealos.io/v1beta1\nkind: Cluster\nspec:\n  hosts:\n  - ips: ['"+address+"']\n    roles: [master]\n"))
		if err != nil {
			t.Fatal(err)
		}
		var refused *NetworkError
		if err := c.Complete(); !errors.As(err, &refused) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestNetworksOfTheImagesAreJudgedWithTheHosts(t *testing.T) {
	c := &Cluster{Hosts: []Host{{IP: netip.MustParseAddr("10.96.0.1"), Master: true}, {IP: netip.MustParseAddr("10.103.97.2")}}}
	err := c.CheckNetworks(Networks{VIP: netip.MustParseAddr("10.103.97.2"), Services: []netip.Prefix{netip.MustParsePrefix("10.96.0.0/22")}})
	for _, want := range []string{"host 10.96.0.1 lies in serviceSubnet", "host 10.103.97.2 has the virtual address"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v lacks %q", err, want)
		}
	}
}

func TestAddressesOfJumpHostsAndOfTheRegistryAreJudged(t *testing.T) {
	for name, c := range map[string]struct{ jump, registry, says string }{
		"none":            {"none", "sealos.hub", ""},
		"a jump host":     {"ops@10.0.0.1:2222,bastion", "10.0.0.7", ""},
		"one of IPv6":     {"ops@[fd00::1]:22", "", ""},
		"any":             {"bastion,root@0.0.0.0:22", "", "jump host 0.0.0.0 means this host"},
		"multicast":       {"224.0.0.5", "", "is a multicast address"},
		"registry, IPv6":  {"", "fd00::7", "instead of registryDomain fd00::7"},
		"registry at any": {"", "0.0.0.0", "registryDomain 0.0.0.0 means"},
	} {
		cluster := &Cluster{SSH: SSH{Jump: c.jump}, Env: map[string]string{"registryDomain": c.registry}, Hosts: []Host{{IP: netip.MustParseAddr("10.0.0.2"), Master: true}}}
		err := cluster.Complete()
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%s: %v; want %q", name, err, c.says)
		}
	}
}
