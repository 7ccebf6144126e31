package redact

import (
	"slices"
	"strings"

	"github.com/sealbuild/sealbuild/installer"
)

// kind says what a name tells of the value behind it.
type kind int

const (
	plain  kind = iota
	weak        // the value may be a secret: a key, a token
	strong      // it is one
)

var (
	// strongWords make a name that of a secret wherever they stand in it.
	strongWords = []string{"password", "passwd", "passphrase", "secret", "credential", "dockerconfigjson", "dockercfg", "keydata", "identitytoken", "registrytoken"}
	// about are names in objects of Kubernetes that say where a secret is, and not what it is.
	about = []string{
		"secretname", "secretnamespace", "secretref", "secretrefs", "secretkeyref", "secrets", "imagepullsecrets", "imagepullsecret", "nodepublishsecretref",
		"automountserviceaccounttoken", "serviceaccounttoken", "existingsecret", "secretkey", "passwordkey", "secretproviderclass",
		"discovery-token-ca-cert-hash", "public-key", "publickey", "topologykey", "topology-key",
	}
	// switches are values that say what is to be done.
	switches = []string{"true", "false", "yes", "no", "on", "off", "none", "null", "nil", "auto", "enabled", "disabled", "default", "<nil>", "-", "~"}
)

// kindOf judges a name. It remembers: there are few names, and each stands in many lines.
func (r *Redactor) kindOf(name string) kind {
	if k, ok := r.names.Load(name); ok {
		return k.(kind)
	}
	k := judged(name)
	r.names.Store(strings.Clone(name), k)
	return k
}

func judged(name string) kind {
	lower := strings.ToLower(strings.Trim(name, "-_."))
	if slices.Contains(about, lower) || strings.HasPrefix(lower, "kernel.keys.") || strings.HasSuffix(name, ".Secret") { // *v1.Secret in a log
		return plain
	}
	bare := strings.NewReplacer("-", "", "_", "", ".", "").Replace(lower)
	switch has := slices.ContainsFunc(strongWords, func(w string) bool { return strings.Contains(bare, w) }); {
	case installer.SecretName(name) && has:
		return strong
	case installer.SecretName(name), has && !strings.HasSuffix(bare, "file") && !strings.HasSuffix(bare, "path"):
		if has {
			return strong
		}
		return weak
	}
	return plain
}

// tells says whether a value behind a name is a secret. clear tells that the text leaves no doubt that it is the name's value.
func (r *Redactor) tells(name, value string, clear bool) bool {
	k := r.kindOf(name)
	value = strings.Trim(value, `"'`)
	if k == plain || value == "" || value == Masked || slices.Contains(switches, strings.ToLower(value)) {
		return false
	}
	if strings.HasPrefix(value, "$") && !strings.HasPrefix(value, "$2") || strings.HasPrefix(value, "{{") || value[0] == '<' && strings.HasSuffix(value, ">") {
		return false // it leads to a value; $2 begins a hash of a password
	}
	lower := strings.ToLower(name)
	switch {
	case k == strong:
		return clear || !strings.HasSuffix(value, ":")
	case len(value) < 4 && strings.Trim(value, "0123456789") == "":
		return false // a number of the kernel's
	case value[0] == '/' || strings.HasPrefix(value, "./"):
		return false // where a key lies, or a key of etcd
	case lower == "key" || lower == "keys" || !clear:
		return looksRandom(value)
	}
	return true
}

// looksRandom tells whether a word looks as nobody would write it: it has digits and letters, or is long.
func looksRandom(word string) bool {
	if len(word) < 8 || strings.ContainsAny(word, "/ ") {
		return false
	}
	digits, letters := strings.ContainsAny(word, "0123456789"), strings.ContainsAny(strings.ToLower(word), "abcdefghijklmnopqrstuvwxyz")
	return digits && letters || len(word) >= 24 && letters && !strings.ContainsAny(word, ".:-")
}
