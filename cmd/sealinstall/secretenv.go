package main

import (
	"github.com/sealbuild/sealbuild/installer"
	"github.com/spf13/pflag"
)

// secretEnv are names of variables whose values are secret though their names do not say so.
type secretEnv []string

func (s *secretEnv) flags(f *pflag.FlagSet) {
	f.StringArrayVar((*[]string)(s), "secret-env", nil, "NAME of a variable of the environment whose value is secret, like those of names with PASSWORD, KEY or TOKEN: not recorded, not shown (repeatable)")
}

func (s secretEnv) lay(c *installer.Cluster) { c.Secret = append(c.Secret, s...) }
