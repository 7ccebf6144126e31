package cli

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func TestTheTreeShowsWhatHelpShowsAndNothingElse(t *testing.T) {
	root := &cobra.Command{Use: "x", Short: "does", Version: "1"}
	root.CompletionOptions.DisableDefaultCmd = true
	root.SetHelpCommand(&cobra.Command{Hidden: true})
	root.PersistentFlags().StringP("root", "r", "/r", "where")
	sub := &cobra.Command{Use: "sub FILE", Aliases: []string{"s"}, Long: "long", Example: "x sub f", Run: func(*cobra.Command, []string) {}}
	sub.Flags().String("sbom", "", "print it")
	sub.Flags().Lookup("sbom").NoOptDefVal = "cyclonedx"
	sub.Flags().Bool("secret", false, "")
	sub.Flags().Lookup("secret").Hidden = true
	root.AddCommand(sub, TreeCommand(), &cobra.Command{Use: "node", Hidden: true, Run: sub.Run})

	var text strings.Builder
	root.SetOut(&text)
	root.SetArgs([]string{"__commands"})
	var got Command
	if err := errors.Join(root.Execute(), json.Unmarshal([]byte(text.String()), &got)); err != nil {
		t.Fatal(err)
	}
	help := func(of string) Flag {
		return Flag{Name: "help", Shorthand: "h", Usage: "help for " + of, Type: "bool", Default: "false", WithoutText: "true"}
	}
	want := Command{
		Use: "x", Short: "does",
		Flags: []Flag{
			help("x"),
			{Name: "root", Shorthand: "r", Usage: "where", Type: "string", Default: "/r", Persistent: true},
			{Name: "version", Shorthand: "v", Usage: "version for x", Type: "bool", Default: "false", WithoutText: "true"},
		},
		Commands: []Command{{
			Use: "sub FILE", Aliases: []string{"s"}, Long: "long", Example: "x sub f", Runnable: true,
			Flags: []Flag{help("sub"), {Name: "sbom", Usage: "print it", Type: "string", WithoutText: "cyclonedx"}},
		}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
