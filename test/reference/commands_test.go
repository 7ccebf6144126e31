package reference

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func TestAPageOfCommandsTellsOfEachOnceWhatHelpTells(t *testing.T) {
	run := func(*cobra.Command, []string) {}
	root := &cobra.Command{Use: "tool", Short: "Do things", Long: "Do <things>.\n\n  a  list\n  of two\n\nEnd.", Run: run}
	root.PersistentFlags().Bool("loud", false, "tell more")
	grow := &cobra.Command{Use: "grow THING", Short: "Make a thing | larger", Example: "  tool grow x\n    # more\n", Run: run}
	shrink := &cobra.Command{Use: "shrink", Short: "Make a thing smaller", Run: run}
	secret := &cobra.Command{Use: "secret", Hidden: true, Run: run}
	for _, c := range []*cobra.Command{grow, shrink} {
		c.Flags().StringP("where", "w", "here", "the `PLACE` of it")
		c.Flags().StringSlice("what", nil, "names")
	}
	grow.Flags().Int("by", 2, "how much")
	grow.Flags().Bool("old", false, "nobody uses this")
	grow.Flags().Lookup("old").Hidden = true
	shrink.Flags().Bool("at-once", false, "do not wait")
	root.AddCommand(grow, shrink, secret)
	page, ok := strings.CutPrefix(Commands(root, Group{Title: "Flags of places", By: "where"}), made)
	if !ok {
		t.Error("nobody would know that the page is made")
	}
	want := "# tool\n\nDo &lt;things>.\n\n```text\n  a  list\n  of two\n\n```\nEnd.\n\n" +
		"| command | does |\n|---|---|\n| [`tool grow`](#tool-grow) | Make a thing \\| larger |\n| [`tool shrink`](#tool-shrink) | Make a thing smaller |\n" +
		"\n## Flags of every command\n\n| flag | means | default |\n|---|---|---|\n| `--loud` | tell more |  |\n" +
		"\n## Flags of places\n\n| flag | means | default |\n|---|---|---|\n| `--what VALUE,…` | names |  |\n| `-w`, `--where PLACE` | the PLACE of it | `here` |\n" +
		"\n## tool without a command\n\n```text\ntool [flags]\n```\n" +
		"\n## tool grow\n\nMake a thing | larger.\n\n```text\ntool grow THING [flags]\n```\n\n```sh\ntool grow x\n  # more\n```\n" +
		"\nIt takes the [flags of places](#flags-of-places), too.\n\n| flag | means | default |\n|---|---|---|\n| `--by N` | how much | `2` |\n" +
		"\n## tool shrink\n\nMake a thing smaller.\n\n```text\ntool shrink [flags]\n```\n" +
		"\nIt takes the [flags of places](#flags-of-places), too.\n\n| flag | means | default |\n|---|---|---|\n| `--at-once` | do not wait |  |\n"
	if diff := cmp.Diff(want, page); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
