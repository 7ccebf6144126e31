package kubeadm

import (
	"errors"
	"strings"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrUnknownKind: a document is of a kind that kubeadm would ignore.
	ErrUnknownKind = errors.New("unknown kind")
	// ErrVersion: an API version or Kubernetes version is not supported.
	ErrVersion = errors.New("version not supported")
	// ErrNotExpressible: the target version of the API lacks a field.
	ErrNotExpressible = errors.New("cannot be expressed")
	// ErrInvalid: a value cannot work.
	ErrInvalid = errors.New("invalid value")
)

// ConfigError says which document, kind and field is wrong, and what to do. Empty parts are left out of the message.
type ConfigError struct {
	Source string // "image document 1", "user document 2"
	Kind   string
	Field  string // dotted path, "apiServer.extraArgs"
	Err    error
	Remedy string
}

func (e *ConfigError) Error() string {
	var b strings.Builder
	for _, part := range []string{e.Source, e.Kind, e.Field} {
		if part != "" {
			b.WriteString(part + ": ")
		}
	}
	b.WriteString(e.Err.Error())
	if e.Remedy != "" {
		b.WriteString(" (" + e.Remedy + ")")
	}
	return b.String()
}

func (e *ConfigError) Unwrap() error { return e.Err }
