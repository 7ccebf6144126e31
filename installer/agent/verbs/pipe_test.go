package verbs

import (
	"io"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/sealbuild/sealbuild/installer/agent"
)

func TestStdinThatIsAPipeHoldsMuch(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if err := w.Close(); err != nil { // no request comes: all that counts is what was done before
		t.Fatal(err)
	}
	if err := Main(t.Context(), agent.VerbFacts, r, io.Discard); err == nil {
		t.Error("a call without a request succeeded")
	}
	size, err := unix.FcntlInt(r.Fd(), unix.F_GETPIPE_SZ, 0)
	if err != nil || size < 1<<20 {
		t.Errorf("the pipe holds %d bytes, %v", size, err)
	}
}

func TestStdinThatIsNoPipeIsTaken(t *testing.T) {
	f, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	growPipe(f)
	if _, err := f.Stat(); err != nil {
		t.Error(err)
	}
}
