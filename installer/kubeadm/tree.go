package kubeadm

// clone copies a decoded value so that no two documents share memory.
func clone(value any) any {
	switch value := value.(type) {
	case object:
		copied := make(object, len(value))
		for key, child := range value {
			copied[key] = clone(child)
		}
		return copied
	case []any:
		copied := make([]any, len(value))
		for i, child := range value {
			copied[i] = clone(child)
		}
		return copied
	}
	return value
}

// get finds the value at a path of map keys.
func get(doc object, path ...string) (any, bool) {
	for _, key := range path[:len(path)-1] {
		doc, _ = doc[key].(object)
	}
	value, ok := doc[path[len(path)-1]]
	return value, ok
}

// textAt is get for a string; anything else is "".
func textAt(doc object, path ...string) string {
	value, _ := get(doc, path...)
	text, _ := value.(string)
	return text
}

// listAt is get for a list of strings; entries of other types are left out.
func listAt(doc object, path ...string) []string {
	value, _ := get(doc, path...)
	entries, _ := value.([]any)
	var list []string
	for _, entry := range entries {
		if text, ok := entry.(string); ok {
			list = append(list, text)
		}
	}
	return list
}

// put sets the value at a path, making maps on the way. What is in the way and not a map is replaced.
func put(doc object, value any, path ...string) {
	for _, key := range path[:len(path)-1] {
		child, ok := doc[key].(object)
		if !ok {
			child = object{}
			doc[key] = child
		}
		doc = child
	}
	doc[path[len(path)-1]] = value
}

// cut removes and returns the value at a path, and the maps that this empties.
func cut(doc object, path ...string) (any, bool) {
	if doc == nil {
		return nil, false
	}
	if len(path) == 1 {
		value, ok := doc[path[0]]
		delete(doc, path[0])
		return value, ok
	}
	child, _ := doc[path[0]].(object)
	value, ok := cut(child, path[1:]...)
	if ok && len(child) == 0 {
		delete(doc, path[0])
	}
	return value, ok
}

// rewrite replaces the value at a path, if there is one.
func rewrite(doc object, path []string, change func(any) (any, error)) error {
	value, ok := get(doc, path...)
	if !ok {
		return nil
	}
	changed, err := change(value)
	if err != nil {
		return err
	}
	put(doc, changed, path...)
	return nil
}

// prune removes nulls and directives from maps, once the last layer is merged.
func prune(value any) any {
	switch value := value.(type) {
	case object:
		for key, child := range value {
			if child == nil || key == patchKey {
				delete(value, key)
				continue
			}
			value[key] = prune(child)
		}
	case []any:
		for i, child := range value {
			value[i] = prune(child)
		}
	}
	return value
}

func toList(texts []string) []any {
	list := make([]any, 0, len(texts))
	for _, text := range texts {
		list = append(list, text)
	}
	return list
}
