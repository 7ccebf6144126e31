package scenario

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDocumentedCommandsGetTheAddressesOfTheSite(t *testing.T) {
	hosts := []string{"10.66.0.11", "10.66.0.12", "10.66.0.13", "10.66.0.15", "10.66.0.16", "10.66.0.14"}
	got := [][]string{withAddresses(addTwoMasters, hosts), withAddresses(deleteDeadNode, hosts), withAddresses(addAnotherMaster, hosts)}
	want := [][]string{
		{"add", "--masters", "10.66.0.12,10.66.0.13"}, {"delete", "--nodes", "10.66.0.16", "--dead"}, {"add", "--masters", "10.66.0.14"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
