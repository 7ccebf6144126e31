package main

import (
	"testing"

	"github.com/sealbuild/sealbuild/test/documents"
	"github.com/sealbuild/sealbuild/test/reference"
)

func TestTheReferenceOfCommandsIsThatOfTheProgram(t *testing.T) {
	reference.Hold(t, "sealinstall.md", reference.Commands(newRoot(), reference.Group{Title: "Flags of commands that go to hosts", By: "ssh-config"}))
}

// What somebody copies from a document is a command line that this program reads.
func TestTheCommandsOfTheDocumentsAreKnown(t *testing.T) {
	checked, problems := documents.CheckAll("sealinstall", newRoot)
	for _, p := range problems {
		t.Error(p)
	}
	if checked < 50 {
		t.Errorf("%d commands found: this test sees nothing", checked)
	}
}
