package kubefile

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Type of a cluster image.
type Type string

const (
	// Rootfs is Kubernetes itself: one per cluster.
	Rootfs Type = "rootfs"
	// Patch is files laid over the rootfs.
	Patch Type = "patch"
	// Application is everything else, and the default.
	Application Type = "application"
)

// Config is what a Kubefile leaves in its image's configuration, and what a base image hands on.
type Config struct {
	Labels, Env     map[string]string
	Cmd, Entrypoint []string // one shell line an element
	OnBuild         []string // instructions that are done by who builds on the image
}

// Labels of the last stage's image, variables expanded as a build expands
// them. Labels of a base image are known as far as WithBase tells them.
func (f *File) Labels() map[string]string { return maps.Clone(f.config.Labels) }

// Env of the last stage's image, variables expanded.
func (f *File) Env() map[string]string { return maps.Clone(f.config.Env) }

// Cmd of the last stage: one shell line an element. The shell form is one line. $(NAME), ${NAME} and $NAME are left for run time.
func (f *File) Cmd() []string { return slices.Clone(f.config.Cmd) }

// Entrypoint of the last stage, as Cmd.
func (f *File) Entrypoint() []string { return slices.Clone(f.config.Entrypoint) }

// Type tells what kind of cluster image the file makes; a value nobody knows is an error that names the ones there are.
func (f *File) Type() (Type, error) {
	t, err := TypeOf(f.config.Labels)
	if err == nil {
		return t, nil
	}
	line, column := 1, 1
	for _, in := range f.Instructions {
		if in.Name == "LABEL" && strings.Contains(in.Original, "sealos.io") {
			line, column = f.src.find("sealos.io", in.Line, in.EndLine)
		}
	}
	return "", f.src.errorAt(line, column, "rootfs, patch (or addons) or application", err)
}

// TypeOf reads the type from an image's labels; an unknown one is an error.
func TypeOf(labels map[string]string) (Type, error) {
	key, value := "sealos.io.type", labels["sealos.io.type"]
	if value == "" {
		key, value = "apps.sealos.io/type", labels["apps.sealos.io/type"]
	}
	switch value {
	case "", "application":
		return Application, nil
	case "rootfs":
		return Rootfs, nil
	case "patch", "addons": // addons: the name before patch
		return Patch, nil
	}
	return "", fmt.Errorf("unknown image type %s=%q", key, value)
}

// Of makes a File of an image that was built before, from what its configuration says. It has no file to point at in errors.
func Of(name string, c Config) *File {
	f := &File{Name: name, src: newSource(name, nil), config: c}
	add := func(name string, args []string) {
		if len(args) > 0 {
			f.Instructions = append(f.Instructions, Instruction{Name: name, Args: args, JSON: true, Original: name + " " + strings.Join(args, " ")})
		}
	}
	add("FROM", []string{"scratch"})
	var env []string
	for _, key := range slices.Sorted(maps.Keys(c.Env)) {
		env = append(env, key+"="+c.Env[key])
	}
	add("ENV", env)
	add("ENTRYPOINT", c.Entrypoint)
	add("CMD", c.Cmd)
	f.Stages = []Stage{{Base: "scratch", Last: len(f.Instructions), below: -1}}
	return f
}
