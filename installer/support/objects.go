package support

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// objectFiles writes objects of a kind, one file after the other. A page is in memory, and the file that is being written.
type objectFiles struct {
	p             *part
	r             resource
	kind, version string
	seen          map[string]int // namespaces, and how many files each has
	open          bool
	namespace     string
	text          bytes.Buffer
}

// mostOfObjects bounds a file of objects that is held in memory, in bytes: what is more goes to another file beside it.
const mostOfObjects = 8 << 20

func (f *objectFiles) add(item map[string]any) error {
	namespace := ""
	if f.r.namespaced {
		namespace = text(item, "metadata", "namespace")
	}
	if f.open && (namespace != f.namespace || f.text.Len() > mostOfObjects) {
		if err := f.end(); err != nil {
			return err
		}
	}
	if !f.open {
		f.begin(namespace)
	} else {
		f.text.WriteString(",")
	}
	if meta, ok := item["metadata"].(map[string]any); ok {
		delete(meta, "managedFields") // as kubectl does; they are half of most objects
	}
	out, err := json.Marshal(f.p.red.JSON(item))
	if err != nil {
		return err
	}
	f.text.WriteString("\n")
	f.text.Write(out)
	return nil
}

func (f *objectFiles) begin(namespace string) {
	f.open, f.namespace = true, namespace
	fmt.Fprintf(&f.text, `{"kind":%q,"apiVersion":%q,"metadata":{},"items":[`, f.kind, f.version)
}

// end keeps the file that is open.
func (f *objectFiles) end() error {
	if !f.open {
		return nil
	}
	f.text.WriteString("]}\n")
	f.seen[f.namespace]++
	name := dir + f.r.name
	if f.r.namespaced {
		name += "/" + f.namespace
	}
	if n := f.seen[f.namespace]; n > 1 {
		name += fmt.Sprintf("-%d", n)
	}
	err := f.p.safe(name+".json", f.text.Bytes())
	f.open = false
	f.text.Reset()
	return err
}

// fill keeps an empty list for every namespace without such objects: readers take a file that is missing for an error.
func (f *objectFiles) fill(names []string) error {
	if !f.r.namespaced {
		names = []string{""}
	}
	for _, namespace := range names {
		if f.seen[namespace] > 0 {
			continue
		}
		f.begin(namespace)
		if err := f.end(); err != nil {
			return err
		}
	}
	return nil
}

// text is a text in an object; empty if there is none.
func text(v any, path ...string) string {
	for _, name := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return ""
		}
		v = m[name]
	}
	s, _ := v.(string)
	return s
}
