package settings

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/kubeadm"
)

const (
	mapNamespace = "kube-system"
	// annotation of a ConfigMap says of its content what a [mark] says of files.
	annotation = "sealbuild.io/settings"
	// proxyKey is the key of kube-proxy's configuration in its ConfigMap.
	proxyKey = "config.conf"
)

// configMap is one in which kubeadm keeps settings for hosts that join, and kube-proxy finds its own.
type configMap struct {
	name, key, kind string
	now             []byte
	note            note
	noted           bool
	of              string // digest of the documents of now
	wanted          []byte
	fields          []kubeadm.Difference
}

// note is what the annotation says.
type note struct {
	Of string `json:"of,omitempty"` // digest of the documents that the content was made by; empty if that is not known
	Is string `json:"is"`           // digest of the content's meaning
	// Rolling says that kube-proxy is to be started anew with the content.
	Rolling bool `json:"rolling,omitempty"`
	// IPVS says that kube-proxy has that mode where no document says one: what the hosts' kernels allowed when the cluster was
	// made stays, whichever hosts join later.
	IPVS bool `json:"ipvs,omitempty"`
}

// gone tells whether the cluster has no kube-proxy: there are others that do its work.
func (m *configMap) gone() bool { return m.kind == kubeadm.KubeProxy && len(m.now) == 0 }

func (m *configMap) unsettled() bool { return !m.gone() && (m.note.Of != m.of || m.note.Rolling) }

// drifted tells whether somebody has changed the content.
func (m *configMap) drifted() bool { return m.noted && m.note.Is != kubeadm.Meaning(m.now) }

// ipvs tells whether kube-proxy has that mode where no document says one.
func (m *configMap) ipvs() bool {
	if m.kind != kubeadm.KubeProxy || m.noted {
		return m.note.IPVS
	}
	return kubeadm.ModeOf(m.now) == "ipvs"
}

// readMaps reads the three ConfigMaps. One that is not there has no content.
func (s *Settings) readMaps(ctx context.Context) ([]*configMap, error) {
	all := []*configMap{
		{name: "kubeadm-config", key: "ClusterConfiguration", kind: kubeadm.Cluster},
		{name: "kubelet-config", key: "kubelet", kind: kubeadm.Kubelet},
		{name: "kube-proxy", key: proxyKey, kind: kubeadm.KubeProxy},
	}
	for _, m := range all {
		err := installer.Insist(ctx, s.APIPatience(), func(ctx context.Context) error {
			raw, err := s.Kube.Kubectl(ctx, "get", "configmap", "-n", mapNamespace, m.name, "-o", "json", "--ignore-not-found")
			if err != nil || len(bytes.TrimSpace(raw)) == 0 {
				return err
			}
			var stored struct {
				Metadata struct {
					Annotations map[string]string `json:"annotations"`
				} `json:"metadata"`
				Data map[string]string `json:"data"`
			}
			if err := json.Unmarshal(raw, &stored); err != nil {
				return fmt.Errorf("decode ConfigMap %s: %w", m.name, err)
			}
			m.now = []byte(stored.Data[m.key])
			m.noted = json.Unmarshal([]byte(stored.Metadata.Annotations[annotation]), &m.note) == nil
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// compareMaps finds the differences of kubelet's and kube-proxy's; that of kubeadm is compared with the documents themselves.
func (st *State) compareMaps(files map[string][]byte) (err error) {
	for i, rendered := range map[int][]byte{1: files[kubeletConfig], 2: files[proxyKey]} {
		m := st.maps[i]
		if m.gone() {
			continue
		}
		if m.wanted = rendered; m.kind == kubeadm.Kubelet {
			if m.wanted, err = kubeadm.KubeletConfigFor(nil, rendered); err != nil {
				return err
			}
		}
		if m.fields, err = kubeadm.CompareConfig(m.kind, m.now, m.wanted); err != nil {
			return fmt.Errorf("ConfigMap %s: %w", m.name, err)
		}
		m.fields = shown(m.fields)
	}
	return nil
}

// writeMap writes the wanted content of a ConfigMap and the note on it, in one request.
func (s *Settings) writeMap(ctx context.Context, m *configMap, n note) error {
	n.Is, n.IPVS = kubeadm.Meaning(m.now), m.ipvs()
	patch := map[string]any{}
	if !bytes.Equal(m.now, m.wanted) && len(m.fields) > 0 {
		n.Is = kubeadm.Meaning(m.wanted)
		patch["data"] = map[string]string{m.key: string(m.wanted)}
	}
	if m.noted && n == m.note && len(patch) == 0 {
		return nil
	}
	text, err := json.Marshal(n)
	if err != nil {
		return err
	}
	patch["metadata"] = map[string]any{"annotations": map[string]string{annotation: string(text)}}
	data, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	err = installer.Insist(ctx, s.APIPatience(), func(ctx context.Context) error {
		return s.Kube.PatchMap(ctx, m.name, data)
	})
	if err != nil {
		return fmt.Errorf("write ConfigMap %s: %w", m.name, err)
	}
	if _, wrote := patch["data"]; wrote {
		m.now, m.fields = slices.Clone(m.wanted), nil
	}
	m.note, m.noted = n, true
	return nil
}
