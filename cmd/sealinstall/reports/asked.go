package reports

import (
	"os"
	"os/user"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/crypto/ssh"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/ground/progress"
	"github.com/sealbuild/sealbuild/installer"
)

// Asked is what a command asks for. signer is who signed the bundle, if anybody demanded that.
func Asked(cmd *cobra.Command, c *installer.Cluster, b *bundle.Reader, version, signer string) progress.Asked {
	out := progress.Asked{Verb: verb(cmd), Args: args(cmd.Flags(), c.SecretNames()), Cluster: c.Name, Program: version}
	out.Machine, _ = os.Hostname() // what is not known is left out
	if u, err := user.Current(); err == nil {
		out.User = u.Username
	}
	out.Bundle = &progress.Bundle{Digest: b.IndexDigest().String(), Signer: signer}
	if key, err := b.SignedBy(); err == nil {
		out.Bundle.Key = ssh.FingerprintSHA256(key)
	}
	for _, i := range b.Images() {
		out.Bundle.Images = append(out.Bundle.Images, progress.Image{Name: i.Name, Digest: i.Digest.String(), Kind: i.ClusterType, Size: i.Size})
	}
	return out
}

// verb is the name of a command; that of `run` where none is given.
func verb(cmd *cobra.Command) string {
	if !cmd.HasParent() {
		return "run"
	}
	return cmd.Name()
}

const masked = "******"

// args are the flags that were given. Secrets are masked by what flags and variables are called; the reporter masks those that are
// known by their value.
func args(flags *pflag.FlagSet, secretNames []string) []string {
	secret := func(name string) bool { return installer.SecretName(name) || slices.Contains(secretNames, name) }
	var out []string
	flags.Visit(func(f *pflag.Flag) {
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, value := range values {
			switch {
			case f.Name == "passwd" || f.Name == "pk-passwd":
				out = append(out, "--"+f.Name, masked)
			case f.Value.Type() == "bool" && value == "true":
				out = append(out, "--"+f.Name)
			default:
				out = append(out, "--"+f.Name, withoutSecrets(value, secret))
			}
		}
	})
	return out
}

// assigned is a name with a value in a longer text, as in a list of settings or a line of a shell.
var assigned = regexp.MustCompile(`[\w./-]+=("[^"]*"|'[^']*'|[^\s,]+)`)

// withoutSecrets masks the values of names that are secret.
func withoutSecrets(text string, secret func(string) bool) string {
	if name, _, ok := strings.Cut(text, "="); ok && secret(name) {
		return name + "=" + masked
	}
	return assigned.ReplaceAllStringFunc(text, func(part string) string {
		name, _, _ := strings.Cut(part, "=")
		if secret(strings.TrimLeft(name, "-")) {
			return name + "=" + masked
		}
		return part
	})
}
