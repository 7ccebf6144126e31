package status

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The schema and the types name the same fields, and the same of them as ones that are always there. That real answers conform is
// tested where a site is simulated: see TestEveryStatusOfTheSimulatedSiteConformsToItsSchema.
func TestTheSchemaNamesTheFieldsOfEveryType(t *testing.T) {
	type object struct {
		Required   []string                   `json:"required"`
		Properties map[string]json.RawMessage `json:"properties"`
	}
	var schema struct {
		object
		Defs map[string]object `json:"$defs"`
	}
	text, err := os.ReadFile("../../docs/schemas/status.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var compare func(of reflect.Type, with object)
	compare = func(of reflect.Type, with object) {
		var fields, always, described []string
		for i := range of.NumField() {
			f := of.Field(i)
			name, option, _ := strings.Cut(f.Tag.Get("json"), ",")
			fields = append(fields, name)
			if option == "" {
				always = append(always, name)
			}
			below := f.Type
			for below.Kind() == reflect.Slice || below.Kind() == reflect.Pointer {
				below = below.Elem()
			}
			if def, ok := schema.Defs[strings.ToLower(below.Name())]; ok && !seen[below.Name()] {
				seen[below.Name()] = true
				compare(below, def)
			}
		}
		for name := range with.Properties {
			described = append(described, name)
		}
		for _, list := range [][]string{fields, always, described, with.Required} {
			slices.Sort(list)
		}
		if diff := cmp.Diff(described, fields); diff != "" {
			t.Errorf("%s: fields (-schema +type):\n%s", of.Name(), diff)
		}
		if diff := cmp.Diff(append([]string{}, with.Required...), append([]string{}, always...)); diff != "" {
			t.Errorf("%s: fields that are always there (-schema +type):\n%s", of.Name(), diff)
		}
	}
	compare(reflect.TypeFor[Status](), schema.object)
	if len(seen) != len(schema.Defs) {
		t.Errorf("of %d definitions %d are of types: %v", len(schema.Defs), len(seen), seen)
	}
}
