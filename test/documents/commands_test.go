package documents

import (
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

func TestACommandOfADocumentIsReadAsTheProgramReadsIt(t *testing.T) {
	tree := func() *cobra.Command {
		root := &cobra.Command{Use: "tool", Version: "1", Args: cobra.NoArgs, Run: func(*cobra.Command, []string) { t.Error("it ran") }}
		root.Flags().String("hosts", "", "")
		grow := &cobra.Command{Use: "grow THING", Args: cobra.ExactArgs(1), Run: root.Run}
		grow.Flags().Int("by", 1, "")
		root.AddCommand(grow)
		return root
	}
	for line, want := range map[string]string{
		"":                        "",
		"--hosts a":               "",
		"--hosts a …":             "",
		"--version":               "",
		"grow x --by 2":           "",
		"grow --help":             "",
		"shrink":                  `unknown command "shrink"`,
		"grow":                    "accepts 1 arg(s), received 0",
		"grow x --by much":        "invalid argument",
		"grow x --bye 2":          "unknown flag: --bye",
		"--hosts":                 "flag needs an argument",
		"grow a b":                "received 2",
		"inline grow --by":        "",
		"inline grow":             "",
		"inline --hosts":          "",
		"inline shrink":           `unknown command "shrink"`,
		"inline grow --nothing":   "unknown flag: --nothing",
		"inline --by=3":           "unknown flag: --by",
		"inline grow x --by much": "invalid argument",
	} {
		rest, inline := strings.CutPrefix(line, "inline ")
		err := Check(tree(), Command{Place: "x.md:1", Program: "tool", Args: strings.Fields(rest), Inline: inline})
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", line, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "x.md:1: ")):
			t.Errorf("%q: %v, want %q", line, err, want)
		}
	}
}
