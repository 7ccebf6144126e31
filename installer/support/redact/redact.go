// Package redact takes secrets out of what others have written: logs, documents, objects of the API. It knows them in two ways: by
// value, those that the installer has made or was given, and by kind, whatever a reader can tell is a secret: a private key, a
// token, what stands behind a name such as password.
//
// A text is looked at in pieces of whole lines, so what is found does not depend on how a stream was cut on its way.
package redact

import (
	"slices"
	"strings"
	"sync"

	"github.com/sealbuild/sealbuild/installer"
)

// Masked is what stands in place of a secret.
const Masked = "******"

// Redactor takes secrets out. Its methods may be called from several goroutines at once.
type Redactor struct {
	known *installer.Reporter // secrets by value: short ones, with all the forms in which others write them
	long  windows             // keys by value
	names sync.Map            // of names that were judged: string to kind
}

// New makes a Redactor that finds by value what known hides, now and later.
func New(known *installer.Reporter) *Redactor { return &Redactor{known: known} }

// span is a part of a text that is to be replaced.
type span struct{ from, to int }

// Text replaces the secrets in a whole text.
func (r *Redactor) Text(s string) string {
	s = replace(s, r.long.find(s))
	s = replace(s, privateKeys(s))
	s = r.known.Mask(s)
	return replace(s, r.kinds(s))
}

// kinds finds what a reader can tell is a secret.
func (r *Redactor) kinds(s string) []span {
	return slices.Concat(r.assignments(s), r.arguments(s), urls(s), headers(s), tokens(s))
}

// Learn takes the secrets of a file that is known to hold some: private keys, and what stands behind names such as password.
func (r *Redactor) Learn(text string) {
	for _, at := range privateKeys(text) {
		r.long.add(text[at.from:at.to])
	}
	for _, at := range r.assignments(text) {
		r.Hide(strings.Trim(text[at.from:at.to], `"'`))
	}
}

// Hide has a secret found by its value from now on.
func (r *Redactor) Hide(secret string) {
	secret = strings.TrimSpace(secret)
	if plain, ok := decoded(secret); ok && strings.Contains(plain, keyLabel) {
		r.long.add(plain)
		return
	}
	if len(secret) > longest {
		r.long.add(secret)
		return
	}
	r.known.Hide(secret)
}

// longest is up to how many characters a secret is looked for with every escape that there is: it takes its time.
const longest = 256

// replace puts [Masked] in place of parts of a text. They may overlap and come in any order.
func replace(s string, parts []span) string {
	if len(parts) == 0 {
		return s
	}
	slices.SortFunc(parts, func(a, b span) int { return a.from - b.from })
	var out strings.Builder
	done := 0
	for i := 0; i < len(parts); {
		part := parts[i]
		for i++; i < len(parts) && parts[i].from <= part.to; i++ {
			part.to = max(part.to, parts[i].to)
		}
		out.WriteString(s[done:part.from] + Masked)
		done = part.to
	}
	return out.String() + s[done:]
}
