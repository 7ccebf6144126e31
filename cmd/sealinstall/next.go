package main

import (
	"errors"

	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/installer"
	"github.com/sealbuild/sealbuild/installer/agent"
	"github.com/sealbuild/sealbuild/installer/fleet"
	"github.com/sealbuild/sealbuild/installer/host"
	"github.com/sealbuild/sealbuild/installer/kube"
	"github.com/sealbuild/sealbuild/installer/preflight"
)

// nextStep is what the operator does about a failure. The same command again is only named where it can help.
func nextStep(err error) string {
	var called usage.Error
	var preflight *preflight.Error
	var corrupt *bundle.CorruptError
	var truncated *bundle.TruncatedError
	var answered *agent.Error
	switch {
	case errors.Is(err, errNotReady):
		return "mend what is named above; the same command tells when it is mended"
	case errors.Is(err, fleet.ErrLockLost):
		return "wait for the other sealinstall, look at what it made with `sealinstall status`, then decide"
	case errors.Is(err, installer.ErrInterrupted):
		return "run the same command again: it goes on where it stopped"
	case errors.As(err, &called):
		return "correct the command; the same one will be refused again"
	case errors.As(err, &preflight):
		return "mend the cause and run the same command again, or the command that a remedy names; no host was changed"
	case errors.As(err, &corrupt), errors.As(err, &truncated):
		return "copy the bundle here again from where it was built, check it with `sealinstall verify`, then run the command"
	case errors.Is(err, host.ErrAuth), errors.Is(err, host.ErrHostKey), errors.Is(err, host.ErrSudo):
		return "give access to the host as named above, then run the same command again"
	case errors.Is(err, kube.ErrNotReady):
		return "mend the cause; `sealinstall status` tells what is still missing, and the same command finishes the rest"
	case errors.As(err, &answered) && answered.Code == agent.CodeRefused:
		return "the host's agent will refuse this again: change what was asked for as the message says"
	}
	return "mend the cause and run the same command again: it goes on where it stopped"
}
