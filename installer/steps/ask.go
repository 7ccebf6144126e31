package steps

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/node"
)

// Questions to the cluster go to whichever control plane answers: kubectl on a master, against the API server beside it.
// What is asked for is small whatever the cluster's size: a template that the host runs picks the few words that matter.

// errNoMaster is why the cluster cannot be asked at all.
var errNoMaster = errors.New("no master that is reached is in the cluster")

// askLimit is how long one master may take to answer one question.
const askLimit = 30 * time.Second

// answering remembers the master that answered last, which is asked first.
type answering struct {
	mu   sync.Mutex
	last *Target
}

func (a *answering) prefer(t *Target) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.last = t
}

func (a *answering) first() *Target {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.last
}

// controlPlanes are the masters that can be asked, the likeliest first.
func (r *Run) controlPlanes() []*Target {
	var out []*Target
	last := r.answers.first()
	for _, t := range r.masters() {
		switch {
		case !t.looked || !t.joined():
		case t == last:
			out = slices.Insert(out, 0, t)
		default:
			out = append(out, t)
		}
	}
	return out
}

// ask asks one master after the other until one answers.
func (r *Run) ask(ctx context.Context, question func(context.Context, *Target) error) error {
	masters := r.controlPlanes()
	if len(masters) == 0 {
		return errNoMaster
	}
	var errs []error
	for i, t := range masters {
		limit := askLimit
		if end, ok := ctx.Deadline(); ok && i < len(masters)-1 {
			limit = min(limit, time.Until(end)/2) // one that hangs must leave the others some time
		}
		err := within(ctx, limit, func(ctx context.Context) error { return question(ctx, t) })
		if err == nil {
			r.answers.prefer(t)
			return nil
		}
		errs = append(errs, &installer.HostError{Host: t.IP.String(), Err: err})
		if ctx.Err() != nil {
			break
		}
	}
	return errors.Join(errs...)
}

// within bounds one thing that is done.
func within(ctx context.Context, limit time.Duration, do func(context.Context) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer for %s", limit.Round(time.Second)))
	defer cancel()
	return do(ctx)
}

// kubectl asks the cluster, or changes something in it that may be changed twice. Its output is not logged: it may hold secrets.
func (r *Run) kubectl(ctx context.Context, args ...string) (out []byte, err error) {
	err = r.ask(ctx, func(ctx context.Context, t *Target) error {
		out, err = r.kubectlOn(ctx, t, args...)
		return err
	})
	return out, err
}

// kubectlOn asks the API server of one master, from there.
func (r *Run) kubectlOn(ctx context.Context, t *Target, args ...string) ([]byte, error) {
	argv := slices.Concat([]string{
		"kubectl", "--kubeconfig", adminConf, "--server=https://" + apiServer(t),
		// Its cache goes where reset removes it, not into root's home.
		"--cache-dir", r.kubectlCache(), "--request-timeout=10s",
	}, args)
	res, err := t.Agent.Exec(ctx, node.ExecRequest{Argv: argv, TimeoutSeconds: int(askLimit / time.Second)}, nil)
	if err != nil {
		return nil, err
	}
	if res.Code != 0 {
		return nil, &CommandError{Host: t.IP.String(), Command: shortKubectl(args), Code: res.Code, Tail: installer.Tail(string(res.Stderr), 5)}
	}
	out, err := res.Whole()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", shortKubectl(args), err)
	}
	return out, nil
}

// shortKubectl is the question without what says how the answer is to look.
func shortKubectl(args []string) string {
	words := []string{"kubectl"}
	for i := 0; i < len(args); i++ {
		if args[i] == "-o" {
			i++
			continue
		}
		words = append(words, args[i])
	}
	return strings.Join(words, " ")
}

// query asks for objects by a template that prints records: a word, then values as Go quotes them.
func (r *Run) query(ctx context.Context, template string, args ...string) ([]answerLine, error) {
	raw, err := r.kubectl(ctx, slices.Concat([]string{"get"}, args, []string{"-o", "go-template=" + template})...)
	if err != nil {
		return nil, err
	}
	return readRecords(string(raw))
}

// answerLine is one line of an answer.
type answerLine struct {
	kind   string
	values []string
}

// value gives a value, empty if the line has not so many.
func (r answerLine) value(i int) string {
	if i >= len(r.values) {
		return ""
	}
	return r.values[i]
}

func (r answerLine) number(i int) int {
	f, err := strconv.ParseFloat(r.value(i), 64)
	if err != nil {
		return 0
	}
	return int(f)
}

// readRecords reads lines of a word and quoted values.
func readRecords(text string) ([]answerLine, error) {
	var out []answerLine
	for line := range strings.Lines(text) {
		kind, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		if kind == "" {
			continue
		}
		r := answerLine{kind: kind}
		for rest = strings.TrimSpace(rest); rest != ""; rest = strings.TrimSpace(rest) {
			quoted, err := strconv.QuotedPrefix(rest)
			if err != nil {
				return nil, fmt.Errorf("read what kubectl told: the line %.100q is not as asked for", line)
			}
			v, err := strconv.Unquote(quoted)
			if err != nil {
				return nil, fmt.Errorf("read what kubectl told: %.100q: %w", quoted, err)
			}
			r.values, rest = append(r.values, v), rest[len(quoted):]
		}
		out = append(out, r)
	}
	return out, nil
}
