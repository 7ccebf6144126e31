package installer

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// What is secret in the environment of scripts and templates. Values of secret variables are not recorded, not shown, and files
// that they are rendered into are readable by root alone.

// annotationSecrets names the variables of spec.env and of hosts whose values are secret and therefore not in the file.
const annotationSecrets = "sealbuild.io/env-not-recorded"

// Words that make a name the name of a secret. A strong one does so wherever it
// stands in a part of the name, a weak one only as a whole part.
var (
	strongWords = []string{"password", "passwd", "passphrase", "secret", "credential"}
	weakWords   = []string{"pass", "pwd", "pw", "passcode", "key", "keys", "token", "tokens", "cred", "creds", "dsn", "auth", "private", "pin"}
	// What people write before a weak word without anything between: apikey, dbpass.
	compounds = []string{
		"access", "account", "admin", "api", "app", "auth", "aws", "bot", "client", "crypt", "db", "deploy", "enc", "encrypt", "encryption", "gpg", "host",
		"jwt", "license", "login", "master", "my", "mysql", "pgp", "pg", "postgres", "priv", "private", "redis", "refresh", "registry", "root", "rsa", "service",
		"session", "sign", "signing", "smtp", "sql", "ssh", "ssl", "tls", "user", "vault",
	}
	// Last parts of names that speak about a secret: where it lies.
	aboutSecrets = []string{"file", "path", "dir", "directory", "files", "paths", "mount"}
	// The same beside a weak word, which may mean something else.
	notSecret = []string{
		"alg", "algorithm", "bits", "cidr", "enabled", "endpoint", "expiry", "host", "id", "interface", "ip", "issuer", "length", "method", "mode", "name",
		"network", "port", "rotation", "server", "size", "subnet", "ttl", "type", "url", "user", "username", "zone",
	}
	// Values of a variable with a weak word that say what is to be done.
	switches = []string{"true", "false", "yes", "no", "on", "off", "none", "null", "auto", "enabled", "disabled", "default"}
)

// SecretName tells whether a variable of this name is secret: its value is neither recorded nor shown. It judges the parts of
// the name: DB_PASS, apiKey and mysql.root-password are secret, KEYBOARD and COMPASS are not.
func SecretName(name string) bool {
	strong, weak := secretWords(name)
	return strong || weak
}

func secretWords(name string) (strong, weak bool) {
	parts := partsOf(name)
	if len(parts) == 0 || slices.Contains(aboutSecrets, parts[len(parts)-1]) {
		return false, false
	}
	for _, p := range parts {
		for _, word := range strongWords {
			strong = strong || strings.Contains(p, word)
		}
		weak = weak || isWeak(p)
	}
	return strong, weak && !slices.Contains(notSecret, parts[len(parts)-1])
}

func isWeak(part string) bool {
	for _, word := range weakWords {
		before, ok := strings.CutSuffix(part, word)
		if ok && (before == "" || slices.Contains(compounds, before)) {
			return true
		}
	}
	return false
}

// partsOf cuts a name at what is no letter and where capitals begin, in lower case.
func partsOf(name string) []string {
	var out []string
	runes := []rune(name)
	start := 0
	cut := func(end int) {
		if end > start {
			out = append(out, strings.ToLower(string(runes[start:end])))
		}
	}
	for i, r := range runes {
		switch {
		case !unicode.IsLetter(r):
			cut(i)
			start = i + 1
		case i > start && unicode.IsUpper(r) && (unicode.IsLower(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])):
			cut(i)
			start = i
		}
	}
	cut(len(runes))
	return out
}

// SecretEnv tells whether a variable is secret: by its name, or because its value is a URL with a password. The working
// directory (PWD) is not secret, nor is AUTH=true.
func SecretEnv(key, value string) bool {
	if (key == "PWD" || key == "OLDPWD") && (value == "" || strings.HasPrefix(value, "/")) {
		return false
	}
	strong, weak := secretWords(key)
	return strong || weak && !slices.Contains(switches, strings.ToLower(value)) || urlPassword(value) != ""
}

// urlPassword is the password in a URL: postgres://user:password@host/db.
func urlPassword(value string) string {
	if !strings.Contains(value, "://") || !strings.Contains(value, "@") {
		return ""
	}
	u, err := url.Parse(value)
	if err != nil {
		// The parser does not take it for a URL, and a reader does.
		_, rest, _ := strings.Cut(value, "://")
		rest = rest[:strings.LastIndexByte(rest, '@')+1]
		_, password, _ := strings.Cut(strings.TrimSuffix(rest, "@"), ":")
		return password
	}
	password, _ := u.User.Password()
	return password
}

// SecretEnv tells whether a variable is secret: by its name, its value, or
// because the operator says so or said so of an earlier run.
func (c *Cluster) SecretEnv(key, value string) bool {
	return SecretEnv(key, value) || slices.Contains(c.SecretNames(), key)
}

// Secrets lists the values of an environment that must not be shown, and the passwords in those that are URLs.
func (c *Cluster) Secrets(env map[string]string) []string {
	var out []string
	for k, v := range env {
		if c.SecretEnv(k, v) {
			out = append(out, v)
			if p := urlPassword(v); p != "" {
				out = append(out, p)
			}
		}
	}
	return out
}

// SecretNames are the variables that the operator says are secret, or said so of an earlier run.
func (c *Cluster) SecretNames() []string {
	out := slices.Clone(c.Secret)
	for _, name := range c.recordedSecrets() {
		out = append(out, path.Base(name))
	}
	return out
}

// recordedSecrets are the names that the Clusterfile of an earlier run tells: of all hosts, or ADDRESS/NAME.
func (c *Cluster) recordedSecrets() []string {
	return strings.FieldsFunc(c.Annotations[annotationSecrets], func(r rune) bool { return r == ',' || unicode.IsSpace(r) })
}

// secretEnv lists the variables that are left out of a written Clusterfile: of all hosts by name, of one host as ADDRESS/NAME.
// Those that an earlier run left out stay in the list until they are given an empty value: they are as secret as before when
// somebody gives them again.
func (c *Cluster) secretEnv() []string {
	out := c.recordedSecrets()
	add := func(prefix string, env map[string]string) {
		for k, v := range env {
			at := slices.Index(out, prefix+k)
			switch {
			case at >= 0 && v == "":
				out = slices.Delete(out, at, at+1)
			case at < 0 && v != "" && c.SecretEnv(k, v) && k != "registryPassword": // that one is kept in the state
				out = append(out, prefix+k)
			}
		}
	}
	add("", c.Env)
	for _, h := range c.Hosts {
		add(h.IP.String()+"/", h.Env)
	}
	for _, name := range c.Secret {
		if !slices.ContainsFunc(out, func(n string) bool { return path.Base(n) == name }) && c.Env[name] == "" && name != "registryPassword" {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// forgottenSecrets names the secret variables that an earlier run had, and that this run was not given.
func (c *Cluster) forgottenSecrets() []string {
	var out []string
	for _, name := range c.recordedSecrets() {
		_, has := c.Env[name]
		for _, h := range c.Hosts {
			if address, key := path.Split(name); strings.TrimSuffix(address, "/") == h.IP.String() {
				_, has = h.Env[key]
			}
		}
		if !has {
			out = append(out, name)
		}
	}
	return out
}

// maxRegistryPassword is what bcrypt takes, in bytes.
const maxRegistryPassword = 72

// checkSecrets refuses secrets that the registry or a Clusterfile could not keep as they are given.
func (c *Cluster) checkSecrets() error {
	var errs []error
	for _, name := range c.Secret {
		if name == "" || strings.ContainsAny(name, "=,/ \t\r\n") {
			only, _, _ := strings.Cut(name, "=") // what follows may be the secret
			errs = append(errs, fmt.Errorf("secret variable %q: expected a name, without a value", only))
		}
	}
	unfit := func(r rune) bool { return r == ':' || unicode.IsSpace(r) || unicode.IsControl(r) }
	if user, given := c.Env["registryUsername"]; given && (user == "" || strings.ContainsFunc(user, unfit)) {
		errs = append(errs, fmt.Errorf("registryUsername %q: expected a name without ':' and blanks", user))
	}
	if password, given := c.Env["registryPassword"]; given {
		switch {
		case password == "":
			errs = append(errs, errors.New("registryPassword is empty: the registry is never served without a password; give one, or leave the variable out to have one made"))
		case len(password) > maxRegistryPassword:
			errs = append(errs, fmt.Errorf("registryPassword has %d bytes: the registry takes at most %d", len(password), maxRegistryPassword))
		case !utf8.ValidString(password) || strings.ContainsFunc(password, unicode.IsControl):
			errs = append(errs, errors.New("registryPassword holds the end of a line or other characters that no client can send: give one of printable characters"))
		}
	}
	for _, h := range c.Hosts {
		if _, given := h.Env["registryPassword"]; given {
			errs = append(errs, fmt.Errorf("host %s has a registryPassword of its own: the registries of a cluster have one; set it in spec.env", h.IP))
		}
	}
	return errors.Join(errs...)
}

// PublicEnv leaves secrets out of env, also the default password that an image makes public: no cluster uses it, and a reader
// of the file would believe the opposite.
func (c *Cluster) PublicEnv(env map[string]string) map[string]string {
	out := MergeEnv(env)
	maps.DeleteFunc(out, c.SecretEnv)
	return out
}
