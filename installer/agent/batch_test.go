package agent_test

import (
	"bytes"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/agent/agenttest"
	"github.com/sealbuild/sealbuild/test/detector"
)

func TestManyLargeFilesTravelInSeveralCalls(t *testing.T) {
	if detector.On {
		t.Skip("25 MiB of JSON are sent without it (make unit)")
	}
	a := agenttest.Local(t)
	dir := t.TempDir()
	var files []agent.File
	for i := range 5 {
		files = append(files, agent.File{Path: filepath.Join(dir, fmt.Sprint(i)), Content: bytes.Repeat([]byte{byte(i)}, 5<<20)})
	}
	changed, err := a.WriteFiles(t.Context(), files)
	if err != nil || len(changed) != 5 {
		t.Errorf("%v, %v", changed, err)
	}
	if _, err := a.WriteFiles(t.Context(), []agent.File{{Path: filepath.Join(dir, "x"), Content: make([]byte, 20<<20)}}); err == nil {
		t.Error("a request beyond the limit was sent")
	}
}
