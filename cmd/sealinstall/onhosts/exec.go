package onhosts

import (
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/ground/count"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/remote"
)

// maxStdin bounds what is passed to the programs of all hosts, in bytes: it is kept in memory.
const maxStdin = 64 << 20

func (c *commands) newExec() *cobra.Command {
	var line string
	var stream, stdin bool
	var env []string
	cmd := &cobra.Command{
		Use: "exec [flags] -- PROGRAM [ARGUMENT]...", Short: "Run a program on hosts of the cluster",
		Long: `Run a program on hosts of the cluster, on all at once, as root.

The arguments reach the program as they are: no shell reads them, unless --shell
gives a line for one. Nothing is brought to the hosts, and no lock is needed.

The output of one host is passed on as it is; that of several is grouped by host
in their order, or comes line by line with --stream. Where a host fails, a table
on stderr says how.

Exit status: 0 if it was 0 on every host, else 1. With one host it is that of the
program there; 1 if the host could not be asked.` + selection,
		Example: `  ./sealinstall exec -- uptime
  ./sealinstall exec --roles node --stream -- journalctl -u kubelet -n 5
  ./sealinstall exec --hosts 10.0.0.4 --shell 'df -h | grep /var'
  TOKEN=… ./sealinstall exec --env TOKEN -- ./register   # the value is in no list of processes`,
		RunE: func(cmd *cobra.Command, args []string) error {
			p := remote.Program{Argv: args}
			switch {
			case line != "" && len(args) > 0:
				return usage.Errorf("--shell and the program %q: give one of them", args[0])
			case line != "":
				p.Argv = []string{"/bin/sh", "-c", line}
			case len(args) == 0:
				return usage.Errorf("no program: sealinstall exec -- PROGRAM [ARGUMENT]..., or --shell 'LINE'")
			case len(args) == 1 && strings.ContainsAny(args[0], " \t\n") && cmd.ArgsLenAtDash() < 0:
				return usage.Errorf("no shell reads %q: give its words one by one, or --shell %q; behind -- it is the name of one program", args[0], args[0])
			}
			if stream && isJSON(cmd) {
				return usage.Errorf("--stream and --output json: an object has the whole output of a host; give one of them")
			}
			var err error
			if p.Env, err = givenEnv(env); err != nil {
				return usage.Error{Err: err}
			}
			if err := p.Check(); err != nil {
				return usage.Error{Err: err}
			}
			if stdin {
				if p.Stdin, err = c.readStdin(); err != nil {
					return err
				}
			}
			return c.run(cmd, p, stream)
		},
	}
	c.flags(cmd, "longest time for one host")
	f := cmd.Flags()
	f.SetInterspersed(false)
	f.StringVar(&line, "shell", "", "LINE that /bin/sh reads, in place of a program")
	f.StringArrayVarP(&env, "env", "e", nil, "KEY=VALUE for the program, or KEY alone with the value that it has here (repeatable); it stands in no list of processes on the hosts")
	f.BoolVar(&stream, "stream", false, "show each line as it comes, behind the address of its host")
	f.BoolVar(&stdin, "stdin", false, "pass the standard input of this command, up to 64 MiB, to the program on every host")
	return cmd
}

// givenEnv reads KEY=VALUE, and KEY with the value that it has here.
func givenEnv(given []string) (map[string]string, error) {
	out := map[string]string{}
	for _, text := range given {
		key, value, ok := strings.Cut(text, "=")
		if !ok {
			if value, ok = os.LookupEnv(key); !ok {
				return nil, fmt.Errorf("--env %s: the variable is not set here; give KEY=VALUE", key)
			}
		}
		out[key] = value
	}
	return out, nil
}

func (c *commands) readStdin() ([]byte, error) {
	if term.IsTerminal(int(os.Stdin.Fd())) {
		return nil, usage.Errorf("--stdin: the standard input is a terminal; pass a file or a pipe")
	}
	data, err := io.ReadAll(io.LimitReader(os.Stdin, maxStdin+1))
	if err == nil && len(data) > maxStdin {
		err = usage.Errorf("--stdin: more than 64 MiB; copy the file to the hosts with sealinstall scp")
	}
	return data, err
}

func (c *commands) run(cmd *cobra.Command, p remote.Program, stream bool) error {
	site, err := c.open(cmd, "exec")
	if err != nil {
		return err
	}
	defer site.close()
	p.Timeout = site.Timeout
	names := site.names()
	var out remote.Output
	switch {
	case isJSON(cmd):
		out = remote.Kept(len(names))
	case stream:
		out = remote.Lines(names, cmd.OutOrStdout(), cmd.ErrOrStderr())
	case len(names) == 1:
		out = remote.Plain(cmd.OutOrStdout(), cmd.ErrOrStderr())
	default:
		out = remote.Grouped(names, cmd.OutOrStdout(), cmd.ErrOrStderr())
	}
	results, err := remote.Exec(cmd.Context(), site.Fleet, p, out)
	if err != nil {
		return fmt.Errorf("pass the output on: %w", err)
	}
	if isJSON(cmd) {
		if err := remote.WriteJSON(cmd.OutOrStdout(), results); err != nil {
			return err
		}
	}
	failed := remote.Failed(results)
	if len(failed) == 0 {
		return nil
	}
	if len(results) == 1 && failed[0].Exit != nil {
		return &ExitStatus{Code: *failed[0].Exit} // as if the program had run here
	}
	printExits(cmd.ErrOrStderr(), failed)
	return fmt.Errorf("%d of %s failed", len(failed), count.Of(len(results), "host"))
}

func printExits(w io.Writer, failed []remote.Result) {
	tw := tabwriter.NewWriter(w, 0, 4, 2, ' ', 0)
	fmt.Fprintln(tw, "HOST\tEXIT\tSECONDS\tERROR")
	for _, r := range failed {
		exit := "-"
		if r.Exit != nil {
			exit = fmt.Sprint(*r.Exit)
		}
		fmt.Fprintf(tw, "%s\t%s\t%.1f\t%s\n", r.Host, exit, r.Seconds, strings.ReplaceAll(installer.Plain(r.Error), "\n", "; "))
	}
	_ = tw.Flush() // stderr: the exit status tells it, too
}
