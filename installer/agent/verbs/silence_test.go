package verbs_test

import (
	"archive/tar"
	"context"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opencontainers/go-digest"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/installer/agent/files/filestest"
)

func TestStubToWhichNothingComesEnds(t *testing.T) {
	var layer strings.Builder
	archive := tar.NewWriter(&layer)
	if err := archive.WriteHeader(&tar.Header{Name: "a", Mode: 0o644, Size: 4096}); err != nil {
		t.Fatal(err)
	}
	io.WriteString(archive, strings.Repeat("x", 4096))
	root := filestest.Root(t)
	line := func(verb string, req any) string {
		body, _ := json.Marshal(req)
		text, _ := json.Marshal(agent.Request{Protocol: agent.Protocol, Verb: verb, Request: body})
		return string(text) + "\n"
	}
	for name, c := range map[string]struct {
		verb, in string
		told     bool
	}{
		"before the request": {agent.VerbUnpack, "", true},
		"in a layer":         {agent.VerbUnpack, line(agent.VerbUnpack, agent.UnpackRequest{Dir: "/data/a", Digest: digest.FromString(layer.String()), Format: "tar"}) + "\x00\x00\x10\x00" + layer.String()[:600], true},
		"in a registry":      {agent.VerbRegistry, line(agent.VerbRegistry, agent.ReceiveRequest{Root: "/data/registry"}), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r, w := io.Pipe()
				go io.WriteString(w, c.in)
				var out strings.Builder
				began := time.Now()
				err := (&agenttest.Machine{Root: root}).Serve(t.Context(), c.verb, r, &out)
				if err == nil || !strings.Contains(err.Error(), "nothing came from the installer for 3m0s") {
					t.Errorf("the error is %v", err)
				}
				if c.told && !strings.Contains(out.String(), "nothing came from the installer") {
					t.Errorf("answer %q", out.String())
				}
				if took := time.Since(began); took != 3*time.Minute {
					t.Errorf("it took %s", took)
				}
				w.Close()
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // a program may run for hours, and nothing comes meanwhile
		r, w := io.Pipe()
		go io.WriteString(w, line(agent.VerbScript, agent.ScriptRequest{Line: "long"}))
		sim := &agenttest.Machine{Root: root, Script: func(ctx context.Context, _ agent.ScriptRequest, _ func(string) error) (int, error) {
			select {
			case <-ctx.Done():
				return 1, context.Cause(ctx)
			case <-time.After(5 * time.Hour):
				return 0, nil
			}
		}}
		if err := sim.Serve(t.Context(), agent.VerbScript, r, io.Discard); err != nil {
			t.Error(err)
		}
		w.Close()
	})
}
