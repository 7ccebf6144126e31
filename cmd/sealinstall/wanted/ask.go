package wanted

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/term"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/host"
)

// agentVariable names the socket of the operator's ssh agent.
const agentVariable = "SSH_AUTH_SOCK" //docs:env both: the ssh agent, for logins, `--ssh` and `--sign`

// Confirmed writes the text to out, and tells whether the standard input gives the answer to it that lets a command go on.
func Confirmed(out io.Writer, text, answer string) bool {
	fmt.Fprint(out, text)
	got, err := bufio.NewReader(os.Stdin).ReadString('\n')
	return err == nil && strings.TrimSpace(got) == answer
}

func ask(question string) (string, error) {
	fmt.Fprint(os.Stderr, question)
	data, err := term.ReadPassword(int(os.Stdin.Fd()))
	fmt.Fprintln(os.Stderr)
	if err != nil {
		return "", fmt.Errorf("read from the terminal: %w", err)
	}
	return string(data), nil
}

// askPassphrases asks for what encrypted keys need that nobody gave, where somebody can answer and no agent may have
// the keys open. Each key is asked for once.
func askPassphrases(c *installer.Cluster) error {
	if os.Getenv(agentVariable) != "" || !term.IsTerminal(int(os.Stdin.Fd())) {
		return nil
	}
	answers := map[string]string{}
	var logins []*installer.SSH
	for _, hosts := range [][]installer.Host{c.Hosts, c.Leaving} {
		for i := range hosts {
			logins = append(logins, &hosts[i].SSH)
		}
	}
	for _, s := range logins {
		if s.KeyFile == "" || s.KeyPassphrase != "" || !host.Encrypted(s.KeyFile) {
			continue
		}
		if _, asked := answers[s.KeyFile]; !asked {
			answer, err := ask("passphrase of " + s.KeyFile + ": ")
			if err != nil {
				return err
			}
			answers[s.KeyFile] = answer
		}
		s.KeyPassphrase = answers[s.KeyFile]
	}
	return nil
}
