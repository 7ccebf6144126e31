package main

import (
	"io"
	"testing"

	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/test/documents"
	"github.com/sealbuild/sealbuild/test/reference"
)

func tree() *cobra.Command {
	root := (&app{out: io.Discard, err: io.Discard}).command()
	root.InitDefaultCompletionCmd()
	return root
}

func TestTheReferenceOfCommandsIsThatOfTheProgram(t *testing.T) {
	reference.Hold(t, "sealbuild.md", reference.Commands(tree(), reference.Group{Title: "Flags of commands that ask registries", By: "tls-verify"}))
}

// What somebody copies from a document is a command line that this program reads.
func TestTheCommandsOfTheDocumentsAreKnown(t *testing.T) {
	checked, problems := documents.CheckAll("sealbuild", tree)
	for _, p := range problems {
		t.Error(p)
	}
	if checked < 20 {
		t.Errorf("%d commands found: this test sees nothing", checked)
	}
}
