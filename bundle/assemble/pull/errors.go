package pull

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/distribution/distribution/v3/registry/api/errcode"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
	"github.com/sealbuild/sealbuild/ground/count"
)

// Failure is a reference that could not be had.
type Failure struct {
	Ref       string
	Places    []store.Found
	Err       error
	Suspected bool // it may be no image at all
}

// Error is every certain reference that failed, after the others were fetched.
type Error struct {
	Failures []Failure
	Fetched  int  // images that were gathered
	Kept     bool // they need not be fetched again
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d of %s could not be gathered", len(e.Failures), count.Of(len(e.Failures)+e.Fetched, "image"))
	if e.Kept {
		b.WriteString(" (what came is kept for the next run)")
	}
	b.WriteString(":")
	for _, f := range e.Failures {
		fmt.Fprintf(&b, "\n  %s", f)
	}
	return b.String()
}

// Unwrap gives the cause of each failure.
func (e *Error) Unwrap() []error {
	all := make([]error, len(e.Failures))
	for i, f := range e.Failures {
		all[i] = f.Err
	}
	return all
}

func (f Failure) String() string {
	var b strings.Builder
	b.WriteString(f.Ref)
	for i, p := range f.Places {
		if i == 3 {
			fmt.Fprintf(&b, " and %d more %s", len(f.Places)-i, count.Word(len(f.Places)-i, "place"))
			break
		}
		sep := ", "
		if i == 0 {
			sep = " from "
		}
		b.WriteString(sep + place(p))
	}
	fmt.Fprintf(&b, ": %v", f.Err)
	remedies := []string{remedy(f.Err)}
	if f.Suspected {
		remedies = append(remedies, "it is suspected only: if it is no image, list it in .sealignore, or go on with --ignore-scan-errors")
	}
	if r := strings.TrimPrefix(strings.Join(remedies, "; "), "; "); r != "" {
		fmt.Fprintf(&b, " (%s)", r)
	}
	return b.String()
}

func place(p store.Found) string {
	if p.Line > 0 {
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	}
	return p.File
}

// noManifest is an answer of a registry that is something else than a manifest: a page of a portal or a proxy, or the half of one.
type noManifest string

func (e noManifest) Error() string {
	return string(e) + " answers with something that is no manifest"
}

// notImage marks an error that no second try changes: the reference names no image that can be had from here.
type notImage struct{ error }

func (e notImage) Unwrap() error { return e.error }

// NotFound tells whether the registry itself says that it has no such image.
func NotFound(err error) bool {
	if m := new(mirrorsError); errors.As(err, &m) {
		missing := func(err error) bool { return !NotFound(err) }
		return NotFound(m.registry) || definite(m.registry) && !slices.ContainsFunc(m.mirrors, missing)
	}
	status := new(StatusError)
	return errors.As(err, &status) && !status.Token && (status.Status == http.StatusNotFound ||
		says(status.Codes, errcode.ErrorCodeManifestUnknown, errcode.ErrorCodeNameUnknown))
}

// definite tells whether a failure is an answer about the reference: asking
// another time, when network and registry are well, would not change it.
func definite(err error) bool {
	if m := new(mirrorsError); errors.As(err, &m) {
		trouble := func(err error) bool { return !definite(err) }
		return NotFound(err) || definite(m.registry) && !slices.ContainsFunc(m.mirrors, trouble)
	}
	var (
		none     notImage
		platform *PlatformError
		dns      *net.DNSError
		status   *StatusError
	)
	switch {
	case errors.As(err, &none), errors.As(err, &platform):
		return true
	case errors.As(err, &dns):
		return dns.IsNotFound
	case errors.As(err, &status):
		return NotFound(err) || denied(status) || says(status.Codes, errcode.ErrorCodeNameInvalid)
	}
	return false
}

// says tells whether a registry's answer has one of the codes.
func says(all errcode.Errors, codes ...errcode.ErrorCode) bool {
	return slices.ContainsFunc(all, func(err error) bool {
		var c errcode.ErrorCoder
		return errors.As(err, &c) && slices.Contains(codes, c.ErrorCode())
	})
}

// remedy is what the operator can do about a failure, by its kind.
func remedy(err error) string {
	var (
		status    *StatusError
		busy      *BusyError
		authority x509.UnknownAuthorityError
		dns       *net.DNSError
		platform  *PlatformError
		offline   *net.OpError
	)
	if blob := new(BlobError); errors.As(err, &blob) {
		switch {
		case len(blob.URLs) > 0:
			return "make the address reachable, or push the image with all of its layers into a registry"
		case NotFound(blob.Err):
			return "the registry has not all of the image: push it again, or use another tag"
		}
	}
	refused := func(statuses ...int) bool { return status != nil && slices.Contains(statuses, status.Status) }
	switch errors.As(err, &status); {
	case refused(http.StatusUnauthorized, http.StatusForbidden), status != nil && status.Token && !transient(err):
		return "the image does not exist or needs a login: check the name, or log in with sealbuild login " + status.Registry
	case refused(http.StatusNotFound):
		return "check the name and the tag; a reference that is no image can be listed in .sealignore"
	case errors.As(err, &busy):
		return "log in, which raises the limit of many registries, or run it again later: what came is kept"
	case errors.As(err, &platform):
		return "choose another --platform, name the image for its platform alone (COPY lists/$TARGETARCH images/shim/), or list it in .sealignore"
	case errors.As(err, &authority):
		return "put the registry's CA into /etc/containers/certs.d/HOST:PORT/ca.crt"
	case errors.Is(err, http.ErrSchemeMismatch), errors.As(err, new(tls.RecordHeaderError)):
		return "the registry speaks plain HTTP: mark it insecure = true in registries.conf, or give --tls-verify=false"
	case errors.As(err, new(noManifest)):
		return "check the registry's name, the proxy, and whether the network wants a login"
	case errors.Is(err, io.EOF) && errors.As(err, new(*reachError)):
		return "what listens there is no registry, or a proxy breaks connections to it"
	case refused(http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout):
		return "the registry, or a proxy before it, is out of order: run it again later"
	case errors.As(err, &dns), errors.As(err, &offline), errors.Is(err, errIdle):
		return "check the network, the proxy and the mirrors in registries.conf"
	}
	return ""
}
