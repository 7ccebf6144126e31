package pull

import (
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"

	"github.com/distribution/distribution/v3/registry/api/errcode"
)

// deniers are registries that refuse those who ask for a repository that they do not have, instead of saying that it is not there,
// so that nobody learns which private ones exist. A name that begins with a dot stands for all below it. As their answers show:
//
//   - Docker Hub's token server gives a token without the scope, and the registry says "insufficient_scope" and DENIED.
//   - ghcr.io's token server answers DENIED, quay.io's registry UNAUTHORIZED.
//   - Google's registries (gcr.io, pkg.dev) answer DENIED or UNAUTHENTICATED: "permission … or it may not exist".
//   - GitLab's token server answers 403, "access forbidden"; Alibaba's registries "insufficient_scope".
//
// registry.k8s.io, mcr.microsoft.com and public.ecr.aws answer 404 and need no place here.
func deniers() []string {
	return []string{
		"docker.io", "registry-1.docker.io", "ghcr.io", "quay.io", "gcr.io", ".gcr.io", ".pkg.dev", "registry.gitlab.com", ".aliyuncs.com",
	}
}

// denies tells whether a registry is known to refuse who asks for what is not there.
func denies(host string) bool {
	return slices.ContainsFunc(deniers(), func(known string) bool {
		return host == known || known[0] == '.' && strings.HasSuffix(host, known)
	})
}

// reserved tells whether a host's name is one that nobody may have (RFC 2606, RFC 6761): it stands in examples.
func reserved(host string) bool {
	name := strings.TrimSuffix(host, ".")
	for _, below := range []string{"example", "test", "invalid", "localhost", "example.com", "example.net", "example.org"} {
		if name == below || strings.HasSuffix(name, "."+below) {
			return true
		}
	}
	return false
}

// passable tells whether a suspected reference that failed so may be left out: the answer is that there is no such image, or what
// stands for that answer. A registry that wants a login, or whose name does not resolve here, may well have it.
func passable(err error) bool {
	if m := new(mirrorsError); errors.As(err, &m) {
		return NotFound(err) || passable(m.registry) && !slices.ContainsFunc(m.mirrors, func(err error) bool { return !passable(err) })
	}
	dns, status := new(net.DNSError), new(StatusError)
	switch {
	case errors.As(err, &dns):
		return reserved(dns.Name)
	case errors.As(err, &status) && denied(status):
		return denies(status.Registry)
	}
	return definite(err)
}

// denied tells whether a registry, or the server that gives its tokens, refuses who asks.
func denied(e *StatusError) bool {
	return e.Status == http.StatusUnauthorized || e.Status == http.StatusForbidden ||
		e.Token && says(e.Codes, errcode.ErrorCodeUnauthorized, errcode.ErrorCodeDenied)
}
