package kubeadm

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"github.com/Masterminds/semver/v3"
)

// Kind says which command the documents are for.
type Kind string

// The commands that read documents.
const (
	Init       Kind = "init"        // kubeadm init on the first master
	JoinMaster Kind = "join-master" // kubeadm join of a further master
	JoinNode   Kind = "join-node"   // kubeadm join of a worker
)

// Node is the host that the documents are for.
type Node struct {
	IP       string
	Hostname string
	Master   bool
}

// Input is everything the documents depend on.
type Input struct {
	Kind              Kind
	KubernetesVersion string   // v1.36.3
	Name              string   // of the cluster; empty leaves kubeadm's own
	VIP               string   // virtual address under which nodes reach the masters
	Masters           []string // addresses; the first is the one that masters join through
	Through           string   // master that masters join through; empty: the first
	Node              Node
	APIEndpoint       string // apiserver.cluster.local:6443
	CRISocket         string // path or unix:// URL; empty lets kubeadm look
	ImageSocket       string // of the service that kubelet asks for images; empty or CRISocket: the runtime itself
	ImageRepository   string // REGISTRY/PATH of Kubernetes' own images, unless a document says another; empty leaves kubeadm's own
	CertSANs          []string
	Discovery         string   // path of what DiscoveryFile gives; required to join
	ImageDocs         [][]byte // YAML streams of the cluster image
	UserDocs          [][]byte // YAML streams of the Clusterfile
	ResolvConf        string   // resolv.conf that every kubelet of the cluster gives to pods, unless the user names another; empty leaves kubeadm's guess
	SingleNode        bool     // the master takes workloads
	IPVS              bool     // every host's kernel has ip_vs, so kube-proxy may use it
	LocalTime         bool     // every master has /etc/localtime: controllers follow its time zone
	EtcdDataDir       string   // for etcd's data, unless a document says otherwise; empty: DefaultEtcdDataDir
	IgnorePreflight   []string // checks of kubeadm that say nothing about this host, beside those of the documents
}

// checked holds the parsed parts of an Input.
type checked struct {
	Input
	version  *semver.Version
	v1beta4  bool
	vip      netip.Addr
	nodeIP   netip.Addr
	masters  []netip.Addr
	through  netip.Addr
	endpoint struct {
		host string
		port int
	}
}

// The oldest version whose kubeadm reads v1beta3, and the first for v1beta4.
var (
	oldest       = semver.MustParse("1.22.0")
	firstV1beta4 = semver.MustParse("1.31.0-0")
)

// check parses the Input and reports everything that is wrong with it at once.
func check(in Input) (checked, error) {
	c := checked{Input: in}
	var problems []error
	fail := func(field string, kind error, format string, args ...any) {
		problems = append(problems, &ConfigError{Field: field, Err: fmt.Errorf(format+": %w", append(args, kind)...)})
	}
	address := func(field, value string) netip.Addr {
		addr, err := netip.ParseAddr(value)
		if err != nil || addr.Zone() != "" {
			fail(field, ErrInvalid, "%q is not an IP address", value)
		}
		return addr.Unmap()
	}
	version, err := semver.NewVersion(in.KubernetesVersion)
	switch {
	case err != nil:
		fail("Kubernetes version", ErrVersion, "%q", in.KubernetesVersion)
	case version.LessThan(oldest):
		fail("Kubernetes version", ErrVersion, "%s is older than v%s", in.KubernetesVersion, oldest)
	default:
		c.version, c.v1beta4 = version, !version.LessThan(firstV1beta4)
	}
	c.vip = address("virtual address", in.VIP)
	c.nodeIP = address("node address", in.Node.IP)
	for _, master := range in.Masters {
		c.masters = append(c.masters, address("master address", master))
	}
	if len(in.Masters) == 0 {
		fail("masters", ErrInvalid, "there is none")
	} else {
		c.through = c.masters[0]
	}
	if in.Through != "" {
		c.through = address("address of the master to join through", in.Through)
	}
	if in.Node.Hostname == "" {
		fail("host name of "+in.Node.IP, ErrInvalid, "it is empty")
	}
	if c.endpoint.host, c.endpoint.port, err = splitEndpoint(in.APIEndpoint); err != nil {
		fail("API endpoint", ErrInvalid, "%v", err)
	}
	switch in.Kind {
	case Init:
	case JoinMaster, JoinNode:
		if in.Discovery == "" {
			fail("discovery", ErrInvalid, "joining needs a discovery file")
		}
	default:
		fail("kind", ErrInvalid, "%q is neither init, join-master nor join-node", in.Kind)
	}
	return c, errors.Join(problems...)
}

func splitEndpoint(endpoint string) (host string, port int, err error) {
	host, portText, err := net.SplitHostPort(endpoint)
	if err != nil {
		return "", 0, err
	}
	port, err = strconv.Atoi(portText)
	if err != nil || port < 1 || port > 65535 || host == "" {
		return "", 0, fmt.Errorf("%q is not HOST:PORT", endpoint)
	}
	return host, port, nil
}

// joinEndpoint is where a joining host finds the API: a master goes to the first master, because the VIP balances only for
// nodes; a node goes through the VIP, so that joining proves the path it will live on.
func (c checked) joinEndpoint() string {
	host := c.vip
	if c.Kind == JoinMaster {
		host = c.through
	}
	return netip.AddrPortFrom(host, uint16(c.endpoint.port)).String()
}
