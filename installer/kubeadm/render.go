package kubeadm

import (
	"bytes"
	"encoding/json"
	"fmt"

	"sigs.k8s.io/yaml"
)

// Documents is the result of rendering: what kubeadm reads, and what the installer must know of it.
type Documents struct {
	list     []document
	settings Settings
}

type document struct {
	apiVersion, kind string
	fields           object
}

// Render merges the layers and returns the documents for one host. Errors are *ConfigError, possibly several joined.
func Render(in Input) (Documents, error) {
	c, err := check(in)
	if err != nil {
		return Documents{}, err
	}
	docs, err := c.mergeLayers()
	if err != nil {
		return Documents{}, err
	}
	settings, err := c.settingsOf(docs)
	if err != nil {
		return Documents{}, err
	}
	wanted := []string{kindJoin}
	if c.Kind == Init {
		wanted = []string{kindInit, kindCluster, kindKubelet, kindKubeProxy}
	}
	result, err := c.write(docs, wanted)
	result.settings = settings
	return result, err
}

// write gives the documents of the wanted kinds, in the form that the version of Kubernetes takes.
func (c checked) write(docs layer, wanted []string) (Documents, error) {
	selected := layer{}
	for _, kind := range wanted {
		selected[kind] = docs[kind]
	}
	kubeadmVersion := apiV1beta4
	if !c.v1beta4 {
		kubeadmVersion = apiV1beta3
		if err := downgrade(selected); err != nil {
			return Documents{}, err
		}
	}
	var result Documents
	for _, kind := range wanted {
		version := kubeadmVersion
		switch kind {
		case kindKubelet:
			version = apiKubelet
		case kindKubeProxy:
			version = apiKubeProxy
		}
		result.list = append(result.list, document{apiVersion: version, kind: kind, fields: selected[kind]})
	}
	return result, nil
}

// mergeLayers merges all layers and sets what no layer may decide.
func (c checked) mergeLayers() (layer, error) {
	docs, err := c.layersOver(c.defaults())
	if err == nil {
		c.impose(docs)
	}
	return docs, err
}

// layersOver lays the image's and the user's documents over base.
func (c checked) layersOver(base layer) (layer, error) {
	image, err := parseLayer("image", c.ImageDocs)
	if err != nil {
		return nil, err
	}
	c.forgetResolvConf(image)
	user, err := parseLayer("user", c.UserDocs)
	if err != nil {
		return nil, err
	}
	docs := layer{}
	for _, kind := range kinds() {
		docs[kind] = settle(kind, merge(kind, merge(kind, base[kind], image[kind]), user[kind]))
	}
	return docs, nil
}

// Settings is what the documents decided that other parts of the installer depend on.
func (d Documents) Settings() Settings { return d.settings }

// YAML is the stream for `kubeadm --config`. It may hold a token: write it to a file that only root can read.
func (d Documents) YAML() ([]byte, error) {
	var out bytes.Buffer
	for i, doc := range d.list {
		if i > 0 {
			out.WriteString("---\n")
		}
		fields, err := toYAML(doc.fields)
		if err != nil {
			return nil, fmt.Errorf("write %s: %w", doc.kind, err)
		}
		fmt.Fprintf(&out, "apiVersion: %s\nkind: %s\n%s", doc.apiVersion, doc.kind, fields)
	}
	return out.Bytes(), nil
}

func toYAML(fields object) ([]byte, error) {
	if len(fields) == 0 {
		return nil, nil
	}
	data, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	return yaml.JSONToYAML(data)
}
