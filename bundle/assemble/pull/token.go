package pull

import (
	"context"
	"net/http"
	"strings"

	"oras.land/oras-go/v2/registry/remote/auth"
)

// tokens is the cache of a repository's tokens. Requests that are refused at the same time share one renewal; a token that is gone
// before all of them have used it is renewed once more, by each that still needs one.
type tokens struct{ auth.Cache }

// renewal is what a request had to do with a token's renewal.
type renewal struct {
	asked bool // it was refused, and got another token
	own   bool // which was fetched for it, and not for another request
	alone bool // it shares none
}

type renewalKey struct{}

func (t tokens) Set(ctx context.Context, registry string, scheme auth.Scheme, key string, fetch func(context.Context) (string, error)) (string, error) {
	r, _ := ctx.Value(renewalKey{}).(*renewal)
	if r == nil {
		return t.Cache.Set(ctx, registry, scheme, key, fetch)
	}
	r.asked = true
	if r.alone {
		return fetch(ctx)
	}
	return t.Cache.Set(ctx, registry, scheme, key, func(ctx context.Context) (string, error) {
		r.own = true
		return fetch(ctx)
	})
}

// do sends a request with a token that the registry takes, if there is one.
func (r *repository) do(req *http.Request) (*http.Response, error) {
	var state renewal
	resp, err := r.client.Do(req.WithContext(context.WithValue(req.Context(), renewalKey{}, &state)))
	if err != nil || resp.StatusCode != http.StatusUnauthorized || !state.asked || state.own {
		return resp, err
	}
	drain(resp.Body)
	return r.client.Do(req.WithContext(context.WithValue(req.Context(), renewalKey{}, &renewal{alone: true})))
}

// expired tells whether a refusal is one of the token alone: the repository has served who asks before.
func (r *repository) expired(resp *http.Response) bool {
	scheme, _, _ := strings.Cut(resp.Header.Get("WWW-Authenticate"), " ")
	return resp.StatusCode == http.StatusUnauthorized && strings.EqualFold(scheme, "bearer") && r.served.Load()
}
