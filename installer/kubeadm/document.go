package kubeadm

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

// Names of the documents' kinds.
const (
	kindInit      = "InitConfiguration"
	kindCluster   = "ClusterConfiguration"
	kindJoin      = "JoinConfiguration"
	kindKubelet   = "KubeletConfiguration"
	kindKubeProxy = "KubeProxyConfiguration"
)

const (
	groupKubeadm   = "kubeadm.k8s.io"
	apiV1beta3     = groupKubeadm + "/v1beta3"
	apiV1beta4     = groupKubeadm + "/v1beta4"
	apiKubelet     = "kubelet.config.k8s.io/v1beta1"
	apiKubeProxy   = "kubeproxy.config.k8s.io/v1alpha1"
	apiV1beta2     = groupKubeadm + "/v1beta2"
	maxStreamBytes = 1 << 20
	maxDocuments   = 64
	maxDepth       = 32
)

// accepted lists, per kind, the API versions that are read.
func accepted(kind string) []string {
	switch kind {
	case kindInit, kindCluster, kindJoin:
		return []string{apiV1beta4, apiV1beta3, apiV1beta2}
	case kindKubelet:
		return []string{apiKubelet}
	case kindKubeProxy:
		return []string{apiKubeProxy}
	}
	return nil
}

func kinds() []string {
	return []string{kindInit, kindCluster, kindJoin, kindKubelet, kindKubeProxy}
}

// object is a decoded document or part of one: maps, slices, strings, bools, json.Number and nil.
type object = map[string]any

// layer holds at most one document of each kind, in the canonical form: fields of v1beta4, without apiVersion and kind.
type layer map[string]object

// parseLayer reads YAML streams into one layer; of two documents of a kind the
// later one is merged over the earlier. source names the origin in errors.
func parseLayer(source string, streams [][]byte) (layer, error) {
	result := layer{}
	number := 0
	for _, stream := range streams {
		if len(stream) > maxStreamBytes {
			return nil, &ConfigError{Source: source, Err: fmt.Errorf("%d bytes of documents, more than %d: %w", len(stream), maxStreamBytes, ErrInvalid)}
		}
		for _, text := range splitStream(stream) {
			number++
			name := fmt.Sprintf("%s document %d", source, number)
			if number > maxDocuments {
				return nil, &ConfigError{Source: name, Err: fmt.Errorf("more than %d documents: %w", maxDocuments, ErrInvalid)}
			}
			kind, doc, err := parseDocument(name, text)
			if err != nil {
				return nil, err
			}
			if doc == nil {
				continue
			}
			next, err := canonical(name, kind, doc)
			if err != nil {
				return nil, err
			}
			for _, kind := range slices.Sorted(maps.Keys(next)) {
				result[kind] = merge(kind, result[kind], next[kind])
			}
		}
	}
	return result, nil
}

// splitStream cuts a YAML stream at its document markers. A line that starts with three dashes is a marker wherever it stands:
// YAML forbids it inside any scalar.
func splitStream(stream []byte) []string {
	var docs []string
	var current strings.Builder
	for line := range strings.Lines(string(stream)) {
		marker := strings.TrimRight(line, " \t\r\n")
		switch {
		case marker == "---" || marker == "...":
			docs = append(docs, current.String())
			current.Reset()
		case strings.HasPrefix(line, "--- "):
			docs = append(docs, current.String())
			current.Reset()
			current.WriteString(line[len("--- "):])
		default:
			current.WriteString(line)
		}
	}
	docs = append(docs, current.String())
	return slices.DeleteFunc(docs, func(doc string) bool { return strings.TrimSpace(doc) == "" })
}

// parseDocument decodes one document as kubeadm would. A document of comments alone gives nil.
func parseDocument(source, text string) (kind string, doc object, err error) {
	fail := func(err error, remedy string) (string, object, error) {
		return "", nil, &ConfigError{Source: source, Kind: kind, Err: err, Remedy: remedy}
	}
	data, err := yaml.YAMLToJSONStrict([]byte(text))
	if err != nil {
		return fail(fmt.Errorf("%w: %w", ErrInvalid, err), "")
	}
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return fail(fmt.Errorf("%w: %w", ErrInvalid, err), "")
	}
	if value == nil {
		return "", nil, nil
	}
	doc, ok := value.(object)
	if !ok {
		return fail(fmt.Errorf("it is not a map: %w", ErrInvalid), "")
	}
	if depth(doc) > maxDepth {
		return fail(fmt.Errorf("nested deeper than %d: %w", maxDepth, ErrInvalid), "")
	}
	kind, _ = doc["kind"].(string)
	versions := accepted(kind)
	if versions == nil {
		return fail(fmt.Errorf("%w %q", ErrUnknownKind, kind), "known are "+strings.Join(kinds(), ", "))
	}
	version, _ := doc["apiVersion"].(string)
	if !slices.Contains(versions, version) {
		return fail(fmt.Errorf("apiVersion %q: %w", version, ErrVersion), "use one of "+strings.Join(versions, ", "))
	}
	return kind, doc, nil
}

func depth(value any) int {
	deepest := 0
	switch value := value.(type) {
	case object:
		for _, child := range value {
			deepest = max(deepest, depth(child))
		}
	case []any:
		for _, child := range value {
			deepest = max(deepest, depth(child))
		}
	default:
		return 0
	}
	return deepest + 1
}
