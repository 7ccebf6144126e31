// Package cli is what the command lines of both programs have in common: what somebody who mistyped a word may have meant, and
// which build a program is.
package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Near gives those of names that a mistyped word may mean, the nearest first: those that differ in one letter or begin with the
// word; where none does, in two letters. cobra measures, as it does for commands.
func Near(word string, names []string) []string {
	for distance := 1; distance <= 2; distance++ {
		tree := cobra.Command{SuggestionsMinimumDistance: distance}
		for _, n := range names {
			tree.AddCommand(&cobra.Command{Use: n, Run: func(*cobra.Command, []string) {}})
		}
		if found := tree.SuggestionsFor(word); len(found) > 0 {
			slices.SortStableFunc(found, func(a, b string) int { return len(a) - len(b) })
			return found
		}
		if len(word) < 4 {
			break // two letters of three are another word
		}
	}
	return nil
}

// NearFlag is what the operator may have meant by a flag that cmd does not have: an answer of habits, by the flag as it is typed
// ("--ips", "-x"), else the flag of cmd that is spelled nearly so. It is empty where err is no unknown flag, or nothing is near.
func NearFlag(cmd *cobra.Command, err error, habits map[string]string) string {
	unknown, ok := errors.AsType[*pflag.NotExistError](err)
	if !ok {
		return ""
	}
	name := unknown.GetSpecifiedName()
	if unknown.GetSpecifiedShortnames() != "" {
		return habits["-"+name[:1]] // every other letter is as near as this one
	}
	if answer := habits["--"+name]; answer != "" {
		return answer
	}
	var names []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			names = append(names, f.Name)
		}
	})
	return DidYouMean("--", Near(name, names))
}

// FlagError says of a value that is none of its flag's what was expected, where the libraries that read it have other words.
func FlagError(err error) error {
	bad, ok := errors.AsType[*pflag.InvalidValueError](err)
	if !ok {
		return err
	}
	expected := ""
	switch flag := bad.GetFlag(); flag.Value.Type() {
	case "bool":
		expected = "true or false"
	case "duration":
		expected = "a time, as 90s, 10m or 1h30m"
	case "int", "int64", "uint", "uint16", "uint64":
		expected = "a number"
	default:
		return err // it is our own word
	}
	return fmt.Errorf("--%s %q: expected %s", bad.GetFlag().Name, bad.GetValue(), expected)
}

// DidYouMean asks whether one of at most three words, each behind a prefix, was meant. It is empty without words.
func DidYouMean(prefix string, words []string) string {
	if len(words) == 0 {
		return ""
	}
	words = words[:min(3, len(words))]
	return "did you mean " + prefix + strings.Join(words, " or "+prefix) + "?"
}
