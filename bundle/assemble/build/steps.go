package build

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"strconv"
	"strings"
	"sync"
)

// steps passes buildah's output on and notes which step it has come to: its errors do not say where in the Kubefile they are.
type steps struct {
	io.Writer

	mu              sync.Mutex
	stage, step, of int // the step counts from 1, which is FROM; of is how many there are
}

var stepLine = regexp.MustCompile(`^(?:\[(\d+)/\d+\] )?STEP (\d+)/(\d+): `)

var stepText = regexp.MustCompile(`building at STEP "(.*?)": `)

// Write takes a line of buildah's in one piece: that is how it writes them.
func (s *steps) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := stepLine.FindSubmatch(p); m != nil {
		s.stage = 0
		if n, err := strconv.Atoi(string(m[1])); err == nil {
			s.stage = n - 1
		}
		s.step, _ = strconv.Atoi(string(m[2]))
		s.of, _ = strconv.Atoi(string(m[3]))
	}
	return s.Writer.Write(p)
}

// locate gives an error of buildah's the place of the instruction that failed.
func (s *steps) locate(r Request, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.File == nil || s.step == 0 || s.stage >= len(r.File.Stages) {
		return fmt.Errorf("build %s: %w", r.Kubefile, err)
	}
	stage := r.File.Stages[s.stage]
	in, own := r.File.Instructions[stage.First], stage.Last-stage.First-1
	// Behind the stage's own instructions stands a LABEL of what --label gives; before them what the base has done by ONBUILD, and
	// an ENV of what --env gives.
	after := 0
	if len(r.Labels) > 0 && s.stage == r.File.Target() {
		after = 1
	}
	at := s.step - 1 - (s.of - 1 - after - own)
	var what string
	switch {
	case s.step == 1:
		what = "FROM " + stage.Base
	case at < 1:
		what = "ONBUILD of the base image " + stage.Base
	case at <= own:
		in = r.File.Instructions[stage.First+at]
		what = in.Name
	default:
		return fmt.Errorf("build %s: %w", r.Kubefile, err)
	}
	if m := stepText.FindStringSubmatch(err.Error()); m != nil && at < 1 {
		what += ", " + m[1] + "," // the line does not say what it runs
	}
	for {
		text, inner := err.Error(), errors.Unwrap(err)
		if inner == nil || !strings.HasPrefix(text, "building at STEP ") && !strings.HasPrefix(text, "while running runtime: ") {
			break
		}
		err = inner
	}
	return r.File.ErrorAt(in, "", "", fmt.Errorf("%s failed: %w", what, err))
}
