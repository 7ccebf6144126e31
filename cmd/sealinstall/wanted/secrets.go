package wanted

import (
	"os"
	"strings"
	"sync"
)

// Environment variables that secrets are read from, so that they need not stand on the command line, which other users can see.
const (
	PasswordVariable   = "SEALINSTALL_PASSWORD"       //docs:env sealinstall: password of the login, and of sudo where it asks
	passphraseVariable = "SEALINSTALL_KEY_PASSPHRASE" //docs:env sealinstall: passphrase of the private key
)

// EnvironmentPassword and environmentPassphrase take a secret out of the environment, since what runs on this machine inherits
// that.
var (
	EnvironmentPassword   = taken(PasswordVariable)
	environmentPassphrase = taken(passphraseVariable)
)

func taken(variable string) func() string {
	return sync.OnceValue(func() string {
		secret := os.Getenv(variable)
		_ = os.Unsetenv(variable) // fails for names that cannot be
		return secret
	})
}

// TakeSecrets takes all secrets out of the environment: nothing that is started after it inherits them.
func TakeSecrets() {
	EnvironmentPassword()
	environmentPassphrase()
}

// secret takes the first that is there of a flag's value, a file and an environment variable.
func secret(value, file string, environment func() string) (string, error) {
	switch {
	case value != "":
		return value, nil
	case file != "":
		data, err := readBounded(file, maxSecretFile)
		return strings.TrimRight(string(data), "\r\n"), err
	}
	return environment(), nil
}

func (o *Options) password() (string, error) {
	if o.askPassword && o.ssh.Password == "" && o.passwordFile == "" {
		answer, err := ask("password: ")
		o.ssh.Password = answer // nobody is asked twice
		return answer, err
	}
	return secret(o.ssh.Password, o.passwordFile, EnvironmentPassword)
}
