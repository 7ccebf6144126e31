package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
	"github.com/spf13/pflag"
)

// completions are where shells look, below a prefix; %s is the program.
var completions = map[string]string{
	"bash": "share/bash-completion/completions/%s",
	"zsh":  "share/zsh/site-functions/_%s",
	"fish": "share/fish/vendor_completions.d/%s.fish",
}

// pages asks the programs for their completions and commands, and makes manual pages of the latter.
func (r release) pages(ctx context.Context, to string) error {
	for _, program := range programs {
		for shell, path := range completions {
			text, err := output(exec.CommandContext(ctx, r.here(program), "completion", shell))
			if err == nil {
				err = put(filepath.Join(to, fmt.Sprintf(path, program)), []byte(text), 0o644)
			}
			if err != nil {
				return fmt.Errorf("completion of %s: %w", program, err)
			}
		}
		text, err := output(exec.CommandContext(ctx, r.here(program), "__commands"))
		if err != nil {
			return err
		}
		var c command
		man := filepath.Join(to, "share", "man", "man1")
		if err := errors.Join(json.Unmarshal([]byte(text), &c), os.MkdirAll(man, 0o755)); err != nil {
			return fmt.Errorf("commands of %s: %w", program, err)
		}
		header := &doc.GenManHeader{Section: "1", Date: &r.made, Source: "sealbuild " + r.version, Manual: "Clusters without a network"}
		if err := doc.GenManTree(c.cobra(), header, man); err != nil {
			return fmt.Errorf("pages of %s: %w", program, err)
		}
	}
	return nil
}

// command is what a program tells of itself: see cmd/cli/tree.go.
type command struct {
	Use      string
	Aliases  []string
	Short    string
	Long     string
	Example  string
	Runnable bool
	Flags    []struct {
		Name        string
		Shorthand   string
		Usage       string
		Type        string
		Default     string
		WithoutText string
		Persistent  bool
	}
	Commands []command
}

func (c command) cobra() *cobra.Command {
	made := &cobra.Command{
		Use: plain(c.Use), Aliases: c.Aliases, Short: plain(c.Short), Long: plain(c.Long), Example: c.Example,
		DisableAutoGenTag: true, DisableFlagsInUseLine: strings.Contains(c.Use, "[flags]"),
	}
	made.CompletionOptions.DisableDefaultCmd = true
	made.SetHelpCommand(&cobra.Command{Use: "no-help", Hidden: true})
	if c.Runnable {
		made.Run = func(*cobra.Command, []string) {}
	}
	for _, f := range c.Flags {
		set := made.Flags()
		if f.Persistent {
			set = made.PersistentFlags()
		}
		set.AddFlag(&pflag.Flag{
			Name: f.Name, Shorthand: f.Shorthand, Usage: plain(f.Usage), DefValue: f.Default, NoOptDefVal: f.WithoutText, Value: told(f.Type),
		})
	}
	for _, sub := range c.Commands {
		made.AddCommand(sub.cobra())
	}
	return made
}

// told is the type of a flag that has no value here.
type told string

func (t told) String() string   { return "" }
func (t told) Set(string) error { return nil }
func (t told) Type() string     { return string(t) }

// plain keeps what is Markdown by accident from being read as such: pages are made by way of it.
func plain(text string) string {
	return strings.NewReplacer("\\", "\\\\", "<", "\\<", ">", "\\>", "*", "\\*", "_", "\\_", "[", "\\[", "]", "\\]", "`", "\\`").Replace(text)
}
