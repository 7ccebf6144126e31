package redact

import (
	"bytes"
	"encoding/json"
	"strings"
)

// JSON gives a value, as encoding/json decodes it, without the secrets in it. It may be changed in place. Of a Secret of Kubernetes
// all data goes.
func (r *Redactor) JSON(value any) any { return r.under("", value) }

// under redacts what stands under a name.
func (r *Redactor) under(name string, value any) any {
	switch v := value.(type) {
	case string:
		return r.string(name, v)
	case []any:
		for i := range v {
			if word, ok := v[i].(string); ok && i > 0 {
				if flag, ok := v[i-1].(string); ok && strings.HasPrefix(flag, "--") && !strings.Contains(flag, "=") && r.tells(strings.TrimLeft(flag, "-"), word, true) {
					v[i] = Masked
					continue
				}
			}
			if word, ok := v[i].(string); ok && !r.tells(name, word, false) {
				v[i] = r.string("", word) // a list of names more often than of secrets
				continue
			}
			v[i] = r.under(name, v[i])
		}
	case map[string]any:
		if v["kind"] == "Secret" {
			delete(v, "data")
			delete(v, "stringData")
		}
		variable, _ := v["name"].(string)
		if text, ok := v["value"].(string); ok && r.tells(variable, text, true) {
			v["value"] = Masked
		}
		for key := range v {
			v[key] = r.under(key, v[key])
		}
	}
	return value
}

// string redacts a text that stands under a name.
func (r *Redactor) string(name, text string) string {
	if name != "key" && name != "keys" && r.tells(name, text, true) { // key names an entry of a Secret, a label or a taint
		return Masked
	}
	if head := strings.TrimLeft(text, " \t\r\n"); len(head) > 1 && (head[0] == '{' || head[0] == '[') {
		decoder := json.NewDecoder(strings.NewReader(text))
		decoder.UseNumber()
		var inner any
		if decoder.Decode(&inner) == nil && !decoder.More() {
			before, _ := json.Marshal(inner) // of what was decoded neither fails
			after, _ := json.Marshal(r.JSON(inner))
			if !bytes.Equal(before, after) { // else it keeps the form that it has
				text = string(after)
			}
		}
	}
	return r.Text(text)
}
