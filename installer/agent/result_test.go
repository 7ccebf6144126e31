package agent

import (
	"bytes"
	"testing"
)

func TestAPieceOfAnOutputIsNotTakenForAllOfIt(t *testing.T) {
	whole := ExecResult{Stdout: []byte("all")}
	if out, err := whole.Whole(); err != nil || !bytes.Equal(out, whole.Stdout) {
		t.Errorf("%q, %v", out, err)
	}
	cut := ExecResult{Stdout: []byte("the end"), Truncated: true}
	if out, err := cut.Whole(); err == nil {
		t.Errorf("a piece is given as all: %q", out)
	}
}
