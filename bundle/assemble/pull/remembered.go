package pull

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// meaning is what a tag was found to mean: an image, or that there is none.
type meaning struct {
	Digest  digest.Digest `json:"digest,omitempty"`  // of what the registry has under it
	Unknown bool          `json:"unknown,omitempty"` // the registry has no such name or tag
	Absent  string        `json:"absent,omitempty"`  // why a suspected reference was left out
	When    time.Time     `json:"when"`
}

func (g *gatherer) memo(ref string) store.Memo { return g.store.Memo("tag", ref) }

// remember keeps what a tag means, for builds that cannot reach its registry. A digest means the same for ever.
func (g *gatherer) remember(ref string, m meaning) {
	named, err := reference.ParseNormalizedNamed(ref)
	if _, pinned := named.(reference.Digested); err != nil || pinned || !g.store.Keeps() {
		return
	}
	m.When = time.Now().UTC()
	g.memo(ref).Write(m)
}

// unreachable tells whether nobody answered at all, neither a registry nor one of its mirrors: an answer, whatever it is, counts
// for more than what was true before.
func unreachable(err error) bool {
	if m := new(mirrorsError); errors.As(err, &m) {
		return unreachable(m.registry) && !slices.ContainsFunc(m.mirrors, func(err error) bool { return !unreachable(err) })
	}
	dns, op := new(net.DNSError), new(net.OpError)
	return errors.As(err, &dns) || errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect")
}

// before is what a reference meant when its registry was last reached, if that may count now.
func (g *gatherer) before(ref string, err error) (m meaning, ok bool) {
	return m, g.options.Offline && unreachable(err) && g.memo(ref).Read(&m)
}

// asBefore describes a reference of a registry that cannot be reached by what it meant before, if all of that is in the store. Else
// the error is that of the registry.
func (d *describing) asBefore(ctx context.Context, named reference.Named, failed error) error {
	g, ref := d.gatherer, d.img.wanted.Ref
	was, ok := g.before(ref, failed)
	if !ok {
		return failed
	}
	if was.Digest == "" {
		if !d.img.wanted.Suspected {
			return failed
		}
		g.tell(ref, "is left out", was.When)
		if was.Unknown {
			host := reference.Domain(named)
			return asItWas{&StatusError{Host: host, Registry: host, Status: http.StatusNotFound}, was.Absent}
		}
		return asItWas{notImage{errors.New(was.Absent)}, was.Absent}
	}
	leaves, err := d.below(ctx, v1.Descriptor{Digest: was.Digest})
	if err != nil || !d.allStored(leaves) {
		return failed
	}
	if err := g.allowed(ctx, withoutTag(named), was.Digest); err != nil {
		return err
	}
	d.img.before = true
	g.tell(ref, "is taken", was.When)
	return nil
}

// asItWas is an answer that a registry gave when it could be reached.
type asItWas struct {
	error
	text string
}

func (e asItWas) Error() string { return e.text + ", when it was last reached" }
func (e asItWas) Unwrap() error { return e.error }

// tell notes what is taken to be as it was.
func (g *gatherer) tell(ref, what string, when time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.told = append(g.told, fmt.Sprintf("%s %s as it was on %s", ref, what, when.Format(time.DateOnly)))
}

// tellAll says once what was taken without asking.
func (g *gatherer) tellAll() {
	if len(g.told) > 0 {
		slices.Sort(g.told)
		g.options.Progress.Note("registry unreachable: " + strings.Join(g.told, ", "))
	}
}
