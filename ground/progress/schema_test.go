package progress

import (
	"bytes"
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

const schemaFile = "../../docs/schemas/progress.schema.json"

func TestEveryEventOfARunConformsToTheSchema(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[Kind]bool{}
	for name, tell := range stories {
		var out bytes.Buffer
		v := Open("json", &out)
		s := &story{now: begin, shows: v.shows, look: func(string) {}}
		tell(s)
		s.tell(Event{Kind: Output, Host: "10.0.0.2", Text: "a line"})
		s.tell(Event{Kind: Problem, Host: "10.0.0.2", Check: "disk", Text: "full", Remedy: "make room", Stops: true})
		s.tell(Event{Kind: Ends, Seconds: 3, Changes: 4, Log: "/root/.sealos/default/logs/x.log"})
		for line := range strings.Lines(out.String()) {
			event, err := jsonschema.UnmarshalJSON(strings.NewReader(line))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(event); err != nil {
				t.Errorf("%s: %s%v", name, line, err)
			}
			var e Event
			if err := json.Unmarshal([]byte(line), &e); err != nil {
				t.Error(err)
			}
			seen[e.Kind] = true
		}
	}
	if len(seen) != 12 {
		t.Errorf("of 12 kinds of events these were seen: %v", seen)
	}
	for _, wrong := range []string{`{"event":"info","text":"no time"}`, `{"time":"2026-11-30T08:00:00Z","event":"other"}`, `{"time":"2026-11-30T08:00:00Z","event":"work-moves","done":3}`} {
		event, err := jsonschema.UnmarshalJSON(strings.NewReader(wrong))
		if err == nil && schema.Validate(event) == nil {
			t.Errorf("the schema takes %s", wrong)
		}
	}
}

func TestTheSchemaNamesEveryFieldOfAnEvent(t *testing.T) {
	schema, err := jsonschema.NewCompiler().Compile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	var described, fields []string
	for name := range schema.Properties {
		described = append(described, name)
	}
	of := reflect.TypeFor[Event]()
	for i := range of.NumField() {
		name, _, _ := strings.Cut(of.Field(i).Tag.Get("json"), ",")
		fields = append(fields, name)
	}
	slices.Sort(described)
	slices.Sort(fields)
	if diff := cmp.Diff(described, fields); diff != "" {
		t.Errorf("(-schema +type):\n%s", diff)
	}
}
