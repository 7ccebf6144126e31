package installer

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Step is one named part of a pipeline over an environment of type E.
type Step[E any] struct {
	Name  string // one word, as it stands in output, errors and the log
	Title string // what it does, for the operator
	// Run has the shape of a method expression, (*Env).method, so that a list of steps reads as a list of names.
	Run func(E, context.Context) (Result, error)
	// Skip tells, once the steps before have run, that the step has nothing to do in this run; nil: it always has.
	Skip func(E) bool
}

// Result is what a step that succeeded did.
type Result struct {
	Changes int    // things changed on hosts; 0 = all was as it should be
	Note    string // a few words for the operator: "2 hosts, 214 MB sent"
}

// Timing is how long one step took.
type Timing struct {
	Step     string        `json:"step"`
	Duration time.Duration `json:"duration"`
	Changes  int           `json:"changes"`
}

// StepError tells in which step a run failed.
type StepError struct {
	Step string
	Err  error
}

func (e *StepError) Error() string { return fmt.Sprintf("step %s: %v", e.Step, e.Err) }
func (e *StepError) Unwrap() error { return e.Err }

// HostError tells on which host something failed.
type HostError struct {
	Host string
	Err  error
}

func (e *HostError) Error() string { return fmt.Sprintf("%s: %v", e.Host, e.Err) }
func (e *HostError) Unwrap() error { return e.Err }

// RunSteps runs the steps in order until one fails. It returns the time of each step that ran, the failed one included. An
// environment that has something to clean up after a failure has a method CleanUp, whatever step it was and also if the context
// ended between two. One that wants to know where the run is has a method StepBegins.
func RunSteps[E any](ctx context.Context, steps []Step[E], env E, rep *Reporter) ([]Timing, error) {
	var timings []Timing
	for i, s := range steps {
		if err := ctx.Err(); err != nil {
			return timings, &StepError{Step: s.Name, Err: cleanedUp(ctx, env, fmt.Errorf("not begun: %w", context.Cause(ctx)))}
		}
		if s.Skip != nil && s.Skip(env) {
			continue
		}
		rep.begin(i+1, len(steps), s.Name, s.Title)
		if told, ok := any(env).(interface{ StepBegins(step string) }); ok {
			told.StepBegins(s.Name)
		}
		start := time.Now()
		res, err := s.Run(env, ctx)
		t := Timing{Step: s.Name, Duration: time.Since(start), Changes: res.Changes}
		timings = append(timings, t)
		rep.end(i+1, len(steps), s.Name, t, res, err)
		if err != nil {
			err = cleanedUp(ctx, env, err)
			if ctx.Err() != nil && errors.Is(context.Cause(ctx), ErrInterrupted) {
				err = errors.Join(ErrInterrupted, err)
			}
			return timings, &StepError{Step: s.Name, Err: err}
		}
	}
	return timings, nil
}

// cleanedUp cleans up after a step that failed, and joins what goes wrong meanwhile to the error of the step.
func cleanedUp[E any](ctx context.Context, env E, err error) error {
	if c, ok := any(env).(interface{ CleanUp(context.Context) error }); ok {
		return errors.Join(err, c.CleanUp(ctx))
	}
	return err
}

// ErrInterrupted is the cause of a context that ended because the operator pressed Ctrl-C.
var ErrInterrupted = errors.New("interrupted by the operator")

// Changes is the sum of what the steps changed.
func Changes(timings []Timing) int {
	n := 0
	for _, t := range timings {
		n += t.Changes
	}
	return n
}
