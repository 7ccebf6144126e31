package kubeadm

import "slices"

// namedLists are the paths, per kind, of lists whose entries have a name that tells them apart.
func namedLists(kind string) [][]string {
	paths := argumentLists(kind)
	if kind == kindCluster {
		for _, component := range []string{"apiServer", "controllerManager", "scheduler"} {
			paths = append(paths, []string{component, "extraVolumes"}, []string{component, "extraEnvs"})
		}
		paths = append(paths, []string{"etcd", "local", "extraEnvs"})
	}
	return paths
}

// merge lays the document over of a kind upon base and returns the result;
// neither is changed. Nulls of over stay in the result, so that they still act when the result is laid upon another layer.
func merge(kind string, base, over object) object {
	merged := mergeMaps(base, over, nil, namedLists(kind))
	if kind == kindCluster {
		keepOneEtcd(merged, over)
	}
	return merged
}

// patchKey is the directive of Kubernetes' own strategic merge patches: in a map or in an entry of a list merged by name,
// "delete" removes it and "replace" takes it as it is, with nothing of the lower layers.
const patchKey = "$patch"

func mergeMaps(base, over object, path []string, named [][]string) object {
	if over[patchKey] == "replace" {
		base = nil
	}
	result := object{}
	for key, value := range base {
		result[key] = clone(value)
	}
	for key, value := range over {
		here := append(slices.Clone(path), key)
		switch value := value.(type) {
		case object:
			if value[patchKey] == "delete" {
				result[key] = nil
				continue
			}
			below, _ := result[key].(object)
			result[key] = mergeMaps(below, value, here, named)
		case []any:
			below, _ := result[key].([]any)
			isNamed := slices.ContainsFunc(named, func(p []string) bool { return slices.Equal(p, here) })
			if isNamed {
				result[key] = mergeNamed(below, value)
			} else {
				result[key] = clone(value)
			}
		default:
			result[key] = value
		}
	}
	return result
}

// mergeNamed replaces entries in their place and adds what is new at the end, in over's order. A name that over holds several
// times (an argument may be repeated) replaces all of base's, and stands together. An entry that removes replaces too; settle
// drops it when no layer is left for it to act on.
func mergeNamed(base, over []any) []any {
	if i := slices.IndexFunc(over, isReplace); i >= 0 {
		// The directive stays, so that it still acts on the layer below base.
		return append([]any{clone(over[i])}, mergeNamed(nil, slices.DeleteFunc(slices.Clone(over), isReplace))...)
	}
	result := []any{}
	placed := map[string]bool{}
	place := func(name string) {
		if placed[name] {
			return
		}
		placed[name] = true
		for _, entry := range over {
			if entryName(entry) == name {
				result = append(result, clone(entry))
			}
		}
	}
	for _, entry := range base {
		name := entryName(entry)
		if slices.ContainsFunc(over, func(o any) bool { return entryName(o) == name }) {
			place(name)
		} else {
			result = append(result, clone(entry))
		}
	}
	for _, entry := range over {
		place(entryName(entry))
	}
	return result
}

func entryName(entry any) string {
	fields, _ := entry.(object)
	name, _ := fields["name"].(string)
	return name
}

// isReplace tells whether an entry is the directive that drops the lists of lower layers.
func isReplace(entry any) bool {
	fields, _ := entry.(object)
	return fields[patchKey] == "replace" && entryName(entry) == ""
}

// removes tells whether an entry removes another: it has nothing but a name, or is a directive.
func removes(entry any) bool {
	fields, ok := entry.(object)
	if !ok || entryName(entry) == "" {
		return isReplace(entry)
	}
	if fields[patchKey] == "delete" {
		return true
	}
	for key, value := range fields {
		if key != "name" && value != nil {
			return false
		}
	}
	return true
}

// settle removes what has acted once all layers are merged: entries that remove, directives and nulls.
func settle(kind string, doc object) object {
	for _, path := range namedLists(kind) {
		value, _ := get(doc, path...)
		if list, ok := value.([]any); ok {
			put(doc, slices.DeleteFunc(list, removes), path...)
		}
	}
	return prune(doc).(object)
}

// keepOneEtcd drops the kind of etcd that the upper layer did not choose: kubeadm takes a local or an external one, never both.
func keepOneEtcd(merged, over object) {
	_, local := get(over, "etcd", "local")
	_, external := get(over, "etcd", "external")
	etcd, ok := merged["etcd"].(object)
	switch {
	case !ok || local == external:
	case external:
		delete(etcd, "local")
	case local:
		delete(etcd, "external")
	}
}
