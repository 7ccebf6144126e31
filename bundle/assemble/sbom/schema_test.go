package sbom

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// The schemas as the files of testdata lie, by the names they have for each other.
var schemaFiles = map[string]string{
	"http://cyclonedx.org/schema/bom-1.6.schema.json":  "testdata/bom-1.6.schema.json",
	"http://cyclonedx.org/schema/spdx.schema.json":     "schema/cyclonedx-licenses.json",
	"http://cyclonedx.org/schema/jsf-0.82.schema.json": "testdata/jsf-0.82.schema.json",
	"http://spdx.org/rdf/terms/2.3":                    "testdata/spdx-schema-2.3.json",
}

const (
	cyclonedxSchema = "http://cyclonedx.org/schema/bom-1.6.schema.json"
	spdxSchema      = "http://spdx.org/rdf/terms/2.3"
)

// schema compiles one of them, which checks formats (dates, links), too.
func schema(t testing.TB, id string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	for name, file := range schemaFiles {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		if err := c.AddResource(name, doc); err != nil {
			t.Fatal(err)
		}
	}
	s, err := c.Compile(id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// conform holds a document against a schema.
func conform(t testing.TB, s *jsonschema.Schema, text []byte) {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(doc); err != nil {
		t.Errorf("it does not conform: %#v", err)
	}
}

func TestSchemasTellRightFromWrong(t *testing.T) {
	text, err := bill().CycloneDX()
	if err != nil {
		t.Fatal(err)
	}
	spdx, err := bill().SPDX()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		schema string
		text   []byte
		change func(map[string]any)
	}{
		"CycloneDX, a licence that is none": {cyclonedxSchema, text, func(d map[string]any) {
			d["components"].([]any)[0].(map[string]any)["licenses"] = []any{map[string]any{"license": map[string]any{"id": "GPL"}}}
		}},
		"CycloneDX, a time that is none": {cyclonedxSchema, text, func(d map[string]any) { d["metadata"].(map[string]any)["timestamp"] = "now" }},
		"SPDX, a purpose that is none": {spdxSchema, spdx, func(d map[string]any) {
			d["packages"].([]any)[0].(map[string]any)["primaryPackagePurpose"] = "OURS"
		}},
		"SPDX without a namespace": {spdxSchema, spdx, func(d map[string]any) { delete(d, "documentNamespace") }},
	} {
		var doc map[string]any
		if err := json.Unmarshal(c.text, &doc); err != nil {
			t.Fatal(err)
		}
		s := schema(t, c.schema)
		if err := s.Validate(doc); err != nil {
			t.Errorf("%s: before the change it does not conform: %v", name, err)
		}
		if c.change(doc); s.Validate(doc) == nil {
			t.Errorf("%s conforms", name)
		}
	}
}

func TestBothFormatsConformToTheirSchemas(t *testing.T) {
	cyclonedx, spdx := schema(t, cyclonedxSchema), schema(t, spdxSchema)
	for name, b := range map[string]Bill{"full": bill(), "empty": {Name: "bundle"}, "with places": func() Bill { b := bill(); b.Places = true; return b }()} {
		t.Run(name, func(t *testing.T) {
			text, err := b.CycloneDX()
			if err != nil {
				t.Fatal(err)
			}
			conform(t, cyclonedx, text)
			if text, err = b.SPDX(); err != nil {
				t.Fatal(err)
			}
			conform(t, spdx, text)
		})
	}
}
