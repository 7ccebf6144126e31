package kubeadm

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// argumentLists gives the paths, per kind, of command-line arguments: lists of {name, value} in v1beta4, maps before.
func argumentLists(kind string) [][]string {
	switch kind {
	case kindCluster:
		return [][]string{
			{"apiServer", "extraArgs"},
			{"controllerManager", "extraArgs"},
			{"scheduler", "extraArgs"},
			{"etcd", "local", "extraArgs"},
		}
	case kindInit, kindJoin:
		return [][]string{{"nodeRegistration", "kubeletExtraArgs"}}
	}
	return nil
}

// onlyV1beta4 gives the paths, per kind, that v1beta3 lacks.
func onlyV1beta4(kind string) [][]string {
	switch kind {
	case kindCluster:
		return [][]string{
			{"apiServer", "extraEnvs"},
			{"controllerManager", "extraEnvs"},
			{"scheduler", "extraEnvs"},
			{"etcd", "local", "extraEnvs"},
			{"etcd", "external", "httpEndpoints"},
			{"dns", "disabled"},
			{"proxy", "disabled"},
			{"encryptionAlgorithm"},
		}
	case kindInit, kindJoin:
		return [][]string{{"dryRun"}, {"nodeRegistration", "imagePullSerial"}, {"timeouts"}}
	}
	return nil
}

const ecdsaGate = "PublicKeysECDSA"

// canonical turns one document into documents with the fields of v1beta4 and without apiVersion and kind. They may be several:
// the time for the control plane, which v1beta3 has in ClusterConfiguration, belongs to the commands in v1beta4.
func canonical(source, kind string, doc object) (layer, error) {
	version, _ := doc["apiVersion"].(string)
	doc = clone(doc).(object)
	delete(doc, "apiVersion")
	delete(doc, "kind")
	result := layer{kind: doc}
	if !strings.HasPrefix(version, groupKubeadm) {
		return result, nil
	}
	for _, path := range argumentLists(kind) {
		if err := rewrite(doc, path, argumentsToList); err != nil {
			return nil, &ConfigError{Source: source, Kind: kind, Field: strings.Join(path, "."), Err: err}
		}
	}
	for _, path := range namedLists(kind) {
		if err := rewrite(doc, path, checkNames); err != nil {
			return nil, &ConfigError{Source: source, Kind: kind, Field: strings.Join(path, "."), Err: err}
		}
	}
	if version == apiV1beta4 {
		return result, nil
	}
	switch kind {
	case kindCluster:
		upgradeCluster(doc, result)
	case kindJoin:
		if timeout, ok := cut(doc, "discovery", "timeout"); ok {
			put(doc, timeout, "timeouts", "discovery")
		}
	}
	return result, nil
}

func upgradeCluster(doc object, result layer) {
	if timeout, ok := cut(doc, "apiServer", "timeoutForControlPlane"); ok {
		for _, command := range []string{kindInit, kindJoin} {
			result[command] = object{}
			put(result[command], timeout, "timeouts", "controlPlaneComponentHealthCheck")
		}
	}
	if gate, ok := cut(doc, "featureGates", ecdsaGate); ok && gate == true {
		put(doc, "ECDSA-P256", "encryptionAlgorithm")
	}
	// v1beta2 had choices where there is one now.
	cut(doc, "dns", "type")
	cut(doc, "useHyperKubeImage")
}

// downgrade turns canonical documents into those of v1beta3, in place. A field that v1beta3 lacks is an error: the image or the
// user asked for it.
func downgrade(docs layer) error {
	switch textAt(docs[kindCluster], "encryptionAlgorithm") {
	case "ECDSA-P256":
		cut(docs[kindCluster], "encryptionAlgorithm")
		put(docs[kindCluster], true, "featureGates", ecdsaGate)
	case "RSA-2048": // the default of v1beta3
		cut(docs[kindCluster], "encryptionAlgorithm")
	}
	// The installer makes the certificates, so nothing is lost.
	cut(docs[kindCluster], "certificateValidityPeriod")
	cut(docs[kindCluster], "caCertificateValidityPeriod")
	if timeout, ok := cut(docs[kindInit], "timeouts", "controlPlaneComponentHealthCheck"); ok && docs[kindCluster] != nil {
		put(docs[kindCluster], timeout, "apiServer", "timeoutForControlPlane")
	}
	// A joining host reads that time from the cluster's own configuration.
	cut(docs[kindJoin], "timeouts", "controlPlaneComponentHealthCheck")
	if timeout, ok := cut(docs[kindJoin], "timeouts", "discovery"); ok {
		put(docs[kindJoin], timeout, "discovery", "timeout")
	}
	for _, kind := range slices.Sorted(maps.Keys(docs)) {
		doc := docs[kind]
		for _, path := range onlyV1beta4(kind) {
			if _, there := get(doc, path...); there {
				return &ConfigError{
					Kind: kind, Field: strings.Join(path, "."),
					Err:    fmt.Errorf("%w in %s, which this Kubernetes version takes", ErrNotExpressible, apiV1beta3),
					Remedy: "remove it or install Kubernetes 1.31 or newer",
				}
			}
		}
		for _, path := range argumentLists(kind) {
			if err := rewrite(doc, path, argumentsToMap); err != nil {
				return &ConfigError{Kind: kind, Field: strings.Join(path, "."), Err: err}
			}
		}
	}
	return nil
}

// argumentsToList takes either form of arguments. Plain numbers and booleans
// become the strings that they would be on a command line.
func argumentsToList(value any) (any, error) {
	switch value := value.(type) {
	case nil:
		return nil, nil
	case object:
		list := []any{}
		for _, name := range slices.Sorted(maps.Keys(value)) {
			text, err := argumentText(name, value[name])
			if err != nil {
				return nil, err
			}
			list = append(list, object{"name": name, "value": text})
		}
		return list, nil
	case []any:
		if _, err := checkNames(value); err != nil {
			return nil, err
		}
		for _, entry := range value {
			argument := entry.(object)
			text, err := argumentText(entryName(entry), argument["value"])
			if err != nil {
				return nil, err
			}
			argument["value"] = text
		}
		return value, nil
	}
	return nil, fmt.Errorf("it is neither a map nor a list of name and value: %w", ErrInvalid)
}

// checkNames refuses a value that cannot be merged by name: no list, or an entry without a name.
func checkNames(value any) (any, error) {
	list, ok := value.([]any)
	if !ok && value != nil {
		return nil, fmt.Errorf("it is not a list: %w", ErrInvalid)
	}
	for i, entry := range list {
		if entryName(entry) == "" && !isReplace(entry) {
			return nil, fmt.Errorf("entry %d has no name: %w", i+1, ErrInvalid)
		}
	}
	return value, nil
}

// argumentText gives the value of an argument as a string; nil, which removes an argument, stays nil.
func argumentText(name string, value any) (any, error) {
	switch value := value.(type) {
	case nil, string:
		return value, nil
	case bool:
		return strconv.FormatBool(value), nil
	case json.Number:
		return value.String(), nil
	}
	return nil, fmt.Errorf("the value of %s is not a scalar: %w", name, ErrInvalid)
}

func argumentsToMap(value any) (any, error) {
	list, ok := value.([]any)
	if !ok {
		return value, nil
	}
	result := object{}
	for _, entry := range list {
		argument, _ := entry.(object)
		name, _ := argument["name"].(string)
		if _, twice := result[name]; twice {
			return nil, fmt.Errorf("argument %s twice: %w in %s", name, ErrNotExpressible, apiV1beta3)
		}
		result[name] = argument["value"]
	}
	return result, nil
}
