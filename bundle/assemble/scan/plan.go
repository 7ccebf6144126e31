package scan

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/sealbuild/sealbuild/kubefile"
)

// Plan is what a build of a context would do: the parsed Kubefile and every
// image found. Nothing is pulled to make it.
type Plan struct {
	Kubefile     string            `json:"kubefile"` // the file read
	Instructions []PlanInstruction `json:"instructions"`
	Type         kubefile.Type     `json:"type"`
	Labels       map[string]string `json:"labels"`
	Env          map[string]string `json:"env"`
	Entrypoint   []string          `json:"entrypoint"`
	Cmd          []string          `json:"cmd"`
	*Result
}

// PlanInstruction is one instruction of the Kubefile, as written.
type PlanInstruction struct {
	Name  string   `json:"name"`
	Args  []string `json:"args"`
	Flags []string `json:"flags,omitempty"`
	Line  int      `json:"line"`
}

// MakePlan parses the context's Kubefile and scans the context. name is the
// Kubefile's path, taken as it is and else inside dir; empty means the first
// of kubefile.DefaultNames in dir. A mistake in the Kubefile is a
// *kubefile.Error.
func MakePlan(ctx context.Context, dir, name string, args ...kubefile.Option) (*Plan, error) {
	k, err := ParseKubefile(dir, name, args...)
	if err != nil {
		return nil, err
	}
	typ, err := k.Type()
	if err != nil {
		return nil, err
	}
	result, err := Dir(ctx, dir, k)
	if err != nil {
		return nil, err
	}
	p := &Plan{
		Kubefile: k.Name, Type: typ, Labels: k.Labels(), Env: k.Env(),
		Entrypoint: orEmpty(k.Entrypoint()), Cmd: orEmpty(k.Cmd()), Result: result,
	}
	for _, in := range k.Instructions {
		p.Instructions = append(p.Instructions, PlanInstruction{Name: in.Name, Args: orEmpty(in.Args), Flags: in.Flags, Line: in.Line})
	}
	return p, nil
}

// ParseKubefile reads the Kubefile that MakePlan would.
func ParseKubefile(dir, name string, args ...kubefile.Option) (*kubefile.File, error) {
	path := name
	if name == "" {
		found, err := kubefile.Find(os.DirFS(dir))
		if err != nil {
			return nil, fmt.Errorf("build context %s: %w", dir, err)
		}
		path = filepath.Join(dir, found)
	} else if _, err := os.Stat(name); err != nil && !filepath.IsAbs(name) {
		path = filepath.Join(dir, name)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open Kubefile: %w", err)
	}
	defer f.Close()
	return kubefile.Parse(f, path, args...)
}

// orEmpty keeps null out of JSON.
func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
