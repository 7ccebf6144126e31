package verbs

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/sealbuild/sealbuild/installer/agent"
)

func FuzzDecodeRequest(f *testing.F) {
	f.Add([]byte(`{"protocol":2,"verb":"script","request":{"line":"true","env":{"A":"b"}}}`))
	f.Add([]byte(`{"protocol":2,"verb":"script","request":{"line":"x"}}{}`))
	f.Add([]byte(`{"protocol":2,"verb":"script","request":null}`))
	f.Add([]byte(`[[[[`))
	f.Fuzz(func(t *testing.T, line []byte) {
		var q agent.ScriptRequest
		err := decodeRequest(line, agent.VerbScript, &q)
		var e *agent.Error
		if err != nil {
			if !errors.As(err, &e) || e.Code != agent.CodeProtocol {
				t.Fatalf("%v", err)
			}
			return
		}
		body, _ := json.Marshal(q)
		again, _ := json.Marshal(agent.Request{Protocol: agent.Protocol, Verb: agent.VerbScript, Request: body})
		var q2 agent.ScriptRequest
		if err := decodeRequest(again, agent.VerbScript, &q2); err != nil {
			t.Fatal(err)
		}
		if body2, _ := json.Marshal(q2); !bytes.Equal(body, body2) {
			t.Fatalf("%s, then %s", body, body2)
		}
	})
}
