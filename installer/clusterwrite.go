package installer

import (
	"bytes"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// Clusterfile writes the cluster and, unless its phase is empty, the status. created is when the cluster was made, unless c
// knows an earlier time; the zero time is not written. Passwords, passphrases and the values of secret variables are left out;
// the names of those variables are written.
func (c *Cluster) Clusterfile(created time.Time, status Status) ([]byte, error) {
	var d clusterDoc
	d.APIVersion, d.Kind = APIVersion, "Cluster"
	d.Metadata.Name = c.Name
	if !c.Created.IsZero() {
		created = c.Created
	}
	if !created.IsZero() {
		d.Metadata.CreationTimestamp = created.UTC().Format(time.RFC3339)
	}
	d.Metadata.Labels, d.Metadata.Annotations = c.Labels, maps.Clone(c.Annotations)
	if secrets := c.secretEnv(); len(secrets) > 0 {
		if d.Metadata.Annotations == nil {
			d.Metadata.Annotations = map[string]string{}
		}
		d.Metadata.Annotations[annotationSecrets] = strings.Join(secrets, ",")
	} else {
		delete(d.Metadata.Annotations, annotationSecrets)
	}
	d.Spec.Image = c.Images
	d.Spec.SSH = c.SSH.document()
	d.Spec.Env = c.envList(c.Env)
	d.Spec.Command = c.Command
	for _, h := range c.Hosts {
		address := netip.AddrPortFrom(h.IP, uint16(h.SSH.Port)).String()
		if h.IP.IsLoopback() && !h.Tunnel {
			address = h.IP.String() // with a port it would be read as the end of a tunnel
		}
		hd := hostDoc{IPs: []string{address}, Roles: []string{role(h.Master)}, Env: c.envList(h.Env)}
		if own, all := h.SSH.document(), c.SSH.document(); own.User != all.User || own.PK != all.PK || own.Jump != all.Jump {
			own.Port = 0
			hd.SSH = &own
		}
		d.Spec.Hosts = append(d.Spec.Hosts, hd)
	}
	if status.Phase != "" {
		d.Status = &status
	}
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
	return sshDoc{User: s.User, PK: s.KeyFile, Port: s.Port, Jump: s.Jump}
}

func (c *Cluster) envList(env map[string]string) []string {
	var out []string
	for k, v := range env {
		if !c.SecretEnv(k, v) {
			out = append(out, k+"="+v)
		}
	}
	slices.Sort(out)
	return out
}
