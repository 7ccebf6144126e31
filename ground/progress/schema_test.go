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
		s.tell(Event{Kind: AskedFor, Asked: &Asked{
			Verb: "run", Args: []string{"--masters", "10.0.0.2"}, Cluster: "default", Program: "1.0", Machine: "here", User: "root",
			Bundle: &Bundle{Digest: "sha256:00", Signer: "ops@example.org", Key: "SHA256:x", Images: []Image{{"a:1", "sha256:01", "rootfs", 3}, {"b:1", "sha256:02", "", 4}}},
		}})
		s.tell(Event{Kind: Checked, Hosts: []string{"10.0.0.2"}, Checks: []string{"disk"}})
		s.tell(Event{Kind: Changed, Host: "10.0.0.2", Changes: 3})
		s.tell(Event{Kind: HostIs, Host: "10.0.0.2", About: &AboutHost{
			"master1", "master", map[string]string{"kubelet": "v1.36.3"}, []Certificate{{"pki/ca.crt", "kubernetes", begin}},
		}})
		s.tell(Event{Kind: Ends, Seconds: 3, Report: "/root/.sealos/default/reports/x.html", Changes: 4, Log: "/root/.sealos/default/logs/x.log"})
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
	if len(seen) != 16 {
		t.Errorf("of 16 kinds of events these were seen: %v", seen)
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
