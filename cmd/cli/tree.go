package cli

import (
	"encoding/json"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Command is a command as --help shows it, for what makes pages of it outside of the program: hack/release.
type Command struct {
	Use      string    `json:"use"` // the name, and what follows it
	Aliases  []string  `json:"aliases,omitempty"`
	Short    string    `json:"short,omitempty"`
	Long     string    `json:"long,omitempty"`
	Example  string    `json:"example,omitempty"`
	Runnable bool      `json:"runnable,omitempty"` // it does something itself
	Flags    []Flag    `json:"flags,omitempty"`
	Commands []Command `json:"commands,omitempty"`
}

// Flag is a flag of a command.
type Flag struct {
	Name        string `json:"name"`
	Shorthand   string `json:"shorthand,omitempty"`
	Usage       string `json:"usage"`
	Type        string `json:"type"` // as pflag names it
	Default     string `json:"default,omitempty"`
	WithoutText string `json:"withoutText,omitempty"` // what it means without a value
	Persistent  bool   `json:"persistent,omitempty"`  // commands below have it, too
}

// TreeCommand prints all commands that --help shows as one object of JSON. It is hidden: it is for our own tools.
func TreeCommand() *cobra.Command {
	return &cobra.Command{
		Use: "__commands", Short: "Print the commands as JSON", Hidden: true, Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return json.NewEncoder(c.OutOrStdout()).Encode(treeOf(c.Root()))
		},
	}
}

func treeOf(c *cobra.Command) Command {
	c.InitDefaultHelpFlag()
	c.InitDefaultVersionFlag()
	t := Command{Use: c.Use, Aliases: c.Aliases, Short: c.Short, Long: c.Long, Example: c.Example, Runnable: c.Runnable()}
	c.LocalFlags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden && f.Deprecated == "" {
			t.Flags = append(t.Flags, Flag{
				Name: f.Name, Shorthand: f.Shorthand, Usage: f.Usage, Type: f.Value.Type(), Default: f.DefValue, WithoutText: f.NoOptDefVal,
				Persistent: c.PersistentFlags().Lookup(f.Name) != nil,
			})
		}
	})
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			t.Commands = append(t.Commands, treeOf(sub))
		}
	}
	return t
}
