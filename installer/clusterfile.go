package installer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// APIVersion is the group and version of Clusterfile documents, as sealos has it.
const APIVersion = "apps.sealos.io/v1beta1"

// Phases of status.phase.
const (
	PhaseInProcess = "ClusterInProcess"
	PhaseSuccess   = "ClusterSuccess"
	PhaseFailed    = "ClusterFailed"
)

// maxClusterfile bounds a Clusterfile in bytes.
const maxClusterfile = 4 << 20

// Config lays data over one file of the cluster images before templates are rendered.
type Config struct {
	Name     string
	Match    string // exact image name; empty = every image that has the path
	Path     string // relative to the image's root
	Strategy string // merge | insert | append | override (default)
	Data     string
}

type meta struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string `yaml:"kind"`
}

type sshDoc struct {
	User     string `yaml:"user,omitempty"`
	Passwd   string `yaml:"passwd,omitempty"`
	PK       string `yaml:"pk,omitempty"`
	PKName   string `yaml:"pkName,omitempty"`
	PKData   string `yaml:"pkData,omitempty"`
	PKPasswd string `yaml:"pkPasswd,omitempty"`
	Port     int    `yaml:"port,omitempty"`
}

type hostDoc struct {
	IPs   []string `yaml:"ips"`
	Roles []string `yaml:"roles"`
	Env   []string `yaml:"env,omitempty"`
	SSH   *sshDoc  `yaml:"ssh,omitempty"`
}

type metadataDoc struct {
	Name              string            `yaml:"name"`
	CreationTimestamp string            `yaml:"creationTimestamp,omitempty"`
	Annotations       map[string]string `yaml:"annotations,omitempty"`
	Labels            map[string]string `yaml:"labels,omitempty"`
}

type clusterDoc struct {
	meta     `yaml:",inline"`
	Metadata metadataDoc `yaml:"metadata"`
	Spec     struct {
		Image   []string  `yaml:"image,omitempty"`
		SSH     sshDoc    `yaml:"ssh,omitempty"`
		Hosts   []hostDoc `yaml:"hosts"`
		Env     []string  `yaml:"env,omitempty"`
		Command []string  `yaml:"command,omitempty"`
	} `yaml:"spec"`
	Status *Status `yaml:"status,omitempty"`
}

type configDoc struct {
	meta     `yaml:",inline"`
	Metadata metadataDoc `yaml:"metadata"`
	Spec     struct {
		Match    string `yaml:"match,omitempty"`
		Path     string `yaml:"path"`
		Strategy string `yaml:"strategy,omitempty"`
		Data     string `yaml:"data"`
	} `yaml:"spec"`
}

// Status is what the last run found, written into the Clusterfile.
type Status struct {
	Phase             string      `yaml:"phase,omitempty"`
	Mounts            []Mount     `yaml:"mounts,omitempty"`
	Conditions        []Condition `yaml:"conditions,omitempty"`
	CommandConditions []Condition `yaml:"commandCondition,omitempty"`
}

// Mount tells which cluster image lies where.
type Mount struct {
	Name       string            `yaml:"name"`
	Type       string            `yaml:"type"`
	ImageName  string            `yaml:"imageName"`
	MountPoint string            `yaml:"mountPoint"`
	Env        map[string]string `yaml:"env,omitempty"`
	Labels     map[string]string `yaml:"labels,omitempty"`
	Cmd        []string          `yaml:"cmd,omitempty"`
	Entrypoint []string          `yaml:"entrypoint,omitempty"`
}

// Condition is one truth about the cluster.
type Condition struct {
	Type              string   `yaml:"type"`
	Status            string   `yaml:"status"`
	Reason            string   `yaml:"reason,omitempty"`
	Message           string   `yaml:"message,omitempty"`
	LastHeartbeatTime string   `yaml:"lastHeartbeatTime,omitempty"`
	Images            []string `yaml:"images,omitempty"`
	SealCmd           string   `yaml:"sealCmd,omitempty"`
}

// ParseClusterfile reads the documents of a Clusterfile in any order: at most
// one Cluster, any number of Config and of kubeadm, kubelet and kube-proxy
// documents. Unknown fields are errors that name their line. The Cluster that
// comes back is not yet completed; with no Cluster document it has no hosts.
func ParseClusterfile(name string, data []byte) (*Cluster, error) {
	if len(data) > maxClusterfile {
		return nil, fmt.Errorf("%s: larger than %d bytes", name, maxClusterfile)
	}
	c := &Cluster{Env: map[string]string{}}
	haveCluster := false
	line := 1
	var errs []error
	for _, doc := range splitDocuments(data) {
		start := line
		line += bytes.Count(doc, []byte("\n"))
		if blank(doc) {
			continue
		}
		// Leading line breaks keep the numbers of error messages those of the file.
		padded := append(bytes.Repeat([]byte("\n"), start-1), doc...)
		if err := c.addDocument(padded, doc, &haveCluster); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return c, errors.Join(errs...)
}

func (c *Cluster) addDocument(padded, doc []byte, haveCluster *bool) error {
	var m meta
	if err := yaml.Unmarshal(padded, &m); err != nil {
		return err
	}
	group, _, _ := strings.Cut(m.APIVersion, "/")
	switch {
	case m.APIVersion == APIVersion && m.Kind == "Cluster":
		if *haveCluster {
			return errors.New("a second Cluster document")
		}
		*haveCluster = true
		var d clusterDoc
		if err := strict(padded, &d); err != nil {
			return err
		}
		return c.fromDocument(&d)
	case m.APIVersion == APIVersion && m.Kind == "Config":
		var d configDoc
		if err := strict(padded, &d); err != nil {
			return err
		}
		switch d.Spec.Strategy {
		case "", "merge", "insert", "append", "override":
		default:
			return fmt.Errorf("Config %q: strategy %q: expected merge, insert, append or override", d.Metadata.Name, d.Spec.Strategy)
		}
		if d.Spec.Path == "" {
			return fmt.Errorf("Config %q: spec.path is empty", d.Metadata.Name)
		}
		c.Configs = append(c.Configs, Config{Name: d.Metadata.Name, Match: d.Spec.Match, Path: d.Spec.Path, Strategy: d.Spec.Strategy, Data: d.Spec.Data})
	case group == "kubeadm.k8s.io" || group == "kubelet.config.k8s.io" || group == "kubeproxy.config.k8s.io":
		c.Kubeadm = append(c.Kubeadm, bytes.Clone(doc))
	default:
		return fmt.Errorf("unknown document apiVersion %q kind %q: expected %s Cluster or Config, or a kubeadm, kubelet or kube-proxy configuration", m.APIVersion, m.Kind, APIVersion)
	}
	return nil
}

func strict(doc []byte, into any) error {
	dec := yaml.NewDecoder(bytes.NewReader(doc))
	dec.KnownFields(true)
	if err := dec.Decode(into); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// splitDocuments cuts at lines that begin with "---". Every line of the input
// is in exactly one piece, so that line numbers can be counted.
func splitDocuments(data []byte) [][]byte {
	var docs [][]byte
	var cur []byte
	for line := range bytes.SplitAfterSeq(data, []byte("\n")) {
		if bytes.HasPrefix(line, []byte("---")) {
			docs = append(docs, cur)
			// The separator itself would end the padded document before it begins.
			cur = []byte("\n")
			continue
		}
		cur = append(cur, line...)
	}
	return append(docs, cur)
}

func blank(doc []byte) bool {
	for line := range bytes.SplitSeq(doc, []byte("\n")) {
		t := bytes.TrimSpace(line)
		if len(t) > 0 && t[0] != '#' {
			return false
		}
	}
	return true
}

func (c *Cluster) fromDocument(d *clusterDoc) error {
	c.Name = d.Metadata.Name
	c.Images = d.Spec.Image
	c.Command = d.Spec.Command
	var errs []error
	var err error
	if c.SSH, err = d.Spec.SSH.value(); err != nil {
		errs = append(errs, err)
	}
	if c.Env, err = ParseEnv(d.Spec.Env); err != nil {
		errs = append(errs, err)
	}
	for i, h := range d.Spec.Hosts {
		hosts, err := h.hosts()
		if err != nil {
			errs = append(errs, fmt.Errorf("spec.hosts[%d]: %w", i, err))
		}
		c.Hosts = append(c.Hosts, hosts...)
	}
	return errors.Join(errs...)
}

func (s sshDoc) value() (SSH, error) {
	if s.PKData != "" {
		return SSH{}, errors.New("ssh.pkData: a private key inside a Clusterfile is not read; put it into a file and name it in ssh.pk")
	}
	return SSH{User: s.User, Password: s.Passwd, KeyFile: s.PK, KeyPassphrase: s.PKPasswd, Port: s.Port}, nil
}

func (h hostDoc) hosts() ([]Host, error) {
	master := slices.Contains(h.Roles, "master")
	if !master && !slices.Contains(h.Roles, "node") {
		return nil, fmt.Errorf("roles %v: expected master or node", h.Roles)
	}
	env, err := ParseEnv(h.Env)
	if err != nil {
		return nil, err
	}
	var own SSH
	if h.SSH != nil {
		if own, err = h.SSH.value(); err != nil {
			return nil, err
		}
	}
	addrs, err := ParseAddresses(strings.Join(h.IPs, ","))
	if err != nil {
		return nil, err
	}
	var out []Host
	for _, a := range addrs {
		s := own
		if a.Port != 0 {
			s.Port = a.Port
		}
		out = append(out, Host{IP: a.IP, Master: master, SSH: s, Env: env})
	}
	return out, nil
}

// ParseEnv reads KEY=VALUE items. Keys that begin with SEALOS_SYS are the
// installer's own and refused.
func ParseEnv(items []string) (map[string]string, error) {
	env := map[string]string{}
	var errs []error
	for _, item := range items {
		k, v, ok := strings.Cut(item, "=")
		switch {
		case !ok || k == "":
			errs = append(errs, fmt.Errorf("env %q: expected KEY=VALUE", k))
		case strings.HasPrefix(k, "SEALOS_SYS"):
			errs = append(errs, fmt.Errorf("env %s: names beginning with SEALOS_SYS are set by the installer", k))
		default:
			env[k] = v
		}
	}
	return env, errors.Join(errs...)
}

// Clusterfile writes the cluster and its status. Passwords and passphrases are left out.
func (c *Cluster) Clusterfile(created time.Time, status Status) ([]byte, error) {
	var d clusterDoc
	d.APIVersion, d.Kind = APIVersion, "Cluster"
	d.Metadata.Name = c.Name
	d.Metadata.CreationTimestamp = created.UTC().Format(time.RFC3339)
	d.Spec.Image = c.Images
	d.Spec.SSH = c.SSH.document()
	d.Spec.Env = envList(c.Env)
	d.Spec.Command = c.Command
	for _, h := range c.Hosts {
		role := "node"
		if h.Master {
			role = "master"
		}
		hd := hostDoc{IPs: []string{netip.AddrPortFrom(h.IP, uint16(h.SSH.Port)).String()}, Roles: []string{role}, Env: envList(h.Env)}
		if own, all := h.SSH.document(), c.SSH.document(); own.User != all.User || own.PK != all.PK {
			own.Port = 0
			hd.SSH = &own
		}
		d.Spec.Hosts = append(d.Spec.Hosts, hd)
	}
	d.Status = &status
	var buf bytes.Buffer
	enc := yaml.NewEncoder(&buf)
	enc.SetIndent(2)
	if err := enc.Encode(d); err != nil {
		return nil, fmt.Errorf("encode the Cluster document: %w", err)
	}
	for _, cfg := range c.Configs {
		var cd configDoc
		cd.APIVersion, cd.Kind, cd.Metadata.Name = APIVersion, "Config", cfg.Name
		cd.Spec.Match, cd.Spec.Path, cd.Spec.Strategy, cd.Spec.Data = cfg.Match, cfg.Path, cfg.Strategy, cfg.Data
		if err := enc.Encode(cd); err != nil {
			return nil, fmt.Errorf("encode Config %q: %w", cfg.Name, err)
		}
	}
	if err := enc.Close(); err != nil {
		return nil, err
	}
	for _, doc := range c.Kubeadm {
		fmt.Fprintf(&buf, "---\n%s\n", bytes.TrimSpace(doc))
	}
	return buf.Bytes(), nil
}

func (s SSH) document() sshDoc {
	return sshDoc{User: s.User, PK: s.KeyFile, Port: s.Port}
}

// SecretEnv tells keys whose values are not written to disk or shown in clear.
func SecretEnv(key string) bool {
	k := strings.ToLower(key)
	return strings.Contains(k, "password") || strings.Contains(k, "passwd") || strings.Contains(k, "secret") || strings.Contains(k, "token")
}

func envList(env map[string]string) []string {
	var out []string
	for k, v := range env {
		if !SecretEnv(k) {
			out = append(out, k+"="+v)
		}
	}
	slices.Sort(out)
	return out
}
