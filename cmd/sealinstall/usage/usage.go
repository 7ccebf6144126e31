// Package usage marks errors of the command line: the program ends with a status of its own for them.
package usage

import "fmt"

// Error is an error of the command line.
type Error struct{ Err error }

func (e Error) Error() string { return e.Err.Error() }

func (e Error) Unwrap() error { return e.Err }

// Errorf is [fmt.Errorf] for an [Error].
func Errorf(format string, args ...any) error { return Error{fmt.Errorf(format, args...)} }
