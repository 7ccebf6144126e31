package scenario

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/test/documents"
)

// A command that is added to the page below another heading would be run by nobody.
func TestEveryCommandOfTheFirstInstallIsFollowed(t *testing.T) {
	root, err := documents.Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := FollowedCommands(root)
	if err != nil {
		t.Fatal(err)
	}
	for heading := range page {
		if heading != onConnected && !strings.Contains(strings.Join(onTheSite, "\n"), heading) {
			t.Errorf("nobody follows what stands below %q", heading)
		}
	}
	if !strings.Contains(page[onConnected], "fetch.sh --version") || !strings.Contains(page[onConnected], "-o "+siteRun) {
		t.Errorf("the scenario does not know these commands:\n%s", page[onConnected])
	}
}

func TestTheFirstInstallIsFollowedWordForWord(t *testing.T) {
	page := "./site.run plan --masters 10.0.0.2 --nodes 10.0.0.3\n./site.run --masters 10.0.0.2 --nodes 10.0.0.3\n./site.run status\n"
	want := "./site.run plan --masters 10.66.0.11 --nodes 10.66.0.12 -e a=b\n./site.run --masters 10.66.0.11 --nodes 10.66.0.12 -e a=b\n./site.run status\n"
	if diff := cmp.Diff(want, WithSite(page, []string{"10.66.0.11", "10.66.0.12"}, []string{"-e", "a=b"})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
