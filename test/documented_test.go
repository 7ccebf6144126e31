package test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/test/scenario"
)

// shellOf reads the commands of the block of shell that follows a heading, without their remarks.
func shellOf(document, heading string) (commands []string) {
	_, section, _ := strings.Cut(document, "\n### "+heading+"\n")
	_, block, _ := strings.Cut(section, "\n```sh\n")
	block, _, _ = strings.Cut(block, "\n```\n")
	for line := range strings.Lines(block) {
		command, _, _ := strings.Cut(line, "#")
		commands = append(commands, strings.TrimSpace(command))
	}
	return commands
}

// What an operator copies from the document is what the scenarios have run.
func TestTheCommandsThatReplaceHostsAreThoseOfTheScenarios(t *testing.T) {
	raw, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for heading := range scenario.MemberCommands() {
		got[heading] = shellOf(string(raw), heading)
	}
	if diff := cmp.Diff(scenario.MemberCommands(), got); diff != "" {
		t.Errorf("docs/operations.md (-scenarios +document):\n%s", diff)
	}
}
