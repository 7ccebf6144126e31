package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/containers/image/v5/pkg/docker/config"
	"github.com/containers/image/v5/pkg/sysregistriesv2"
	"github.com/containers/image/v5/types"
	"github.com/distribution/reference"
	"oras.land/oras-go/v2/registry/remote/auth"
)

// remotes know every registry and repository that was asked.
type remotes struct {
	sys         *types.SystemContext
	connections int
	idle        time.Duration

	mu           sync.Mutex
	hosts        map[hostKey]*host
	repositories map[repositoryKey]*repository
}

// hostKey is what connections have in common. registries.conf may trust one
// prefix of a registry blindly and another not: they share no connection.
type hostKey struct {
	domain   string
	insecure bool
}

type repositoryKey struct {
	name string
	hostKey
}

func newRemotes(sys *types.SystemContext, connections int, idle time.Duration) *remotes {
	return &remotes{
		sys: sys, connections: connections, idle: idle,
		hosts: map[hostKey]*host{}, repositories: map[repositoryKey]*repository{},
	}
}

// remote is where one reference may be had: mirrors of registries.conf in their order, and its own registry last.
type remote []location

type location struct {
	*repository
	name reference.Named // as the reference is called there
}

// repository is one repository of a host, with a login of its own.
type repository struct {
	*host
	path   string
	client auth.Client
	idle   time.Duration
	served atomic.Bool // something, to who asks here
}

// locate reads registries.conf and the credentials for a reference.
func (r *remotes) locate(named reference.Named) (remote, error) {
	sources := []sysregistriesv2.PullSource{{Reference: named}}
	entry, err := r.configured(named)
	if err != nil {
		return nil, err
	}
	if entry != nil {
		if sources, err = entry.PullSourcesFromReference(named); err != nil {
			return nil, fmt.Errorf("read registries.conf: %w", err)
		}
	}
	var all remote
	for i, s := range sources {
		// A blocked registry is blocked as a mirror of others, too.
		if _, err := r.configured(s.Reference); err != nil {
			if i == len(sources)-1 && len(all) == 0 {
				return nil, err
			}
			continue
		}
		repo, err := r.repository(s.Reference, s.Endpoint.Insecure)
		if err != nil {
			return nil, err
		}
		all = append(all, location{repo, s.Reference})
	}
	return all, nil
}

// configured is what registries.conf says of a reference; nil is nothing. A blocked one is an error.
func (r *remotes) configured(named reference.Named) (*sysregistriesv2.Registry, error) {
	entry, err := sysregistriesv2.FindRegistry(r.sys, named.Name())
	if err != nil {
		return nil, fmt.Errorf("read registries.conf: %w", err)
	}
	if entry != nil && entry.Blocked {
		return nil, notImage{fmt.Errorf("registry %s is blocked in %s", entry.Prefix, sysregistriesv2.ConfigurationSourceDescription(r.sys))}
	}
	return entry, nil
}

func (r *remotes) repository(named reference.Named, insecure bool) (*repository, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch r.sys.DockerInsecureSkipTLSVerify {
	case types.OptionalBoolTrue:
		insecure = true
	case types.OptionalBoolFalse:
		insecure = false
	}
	at := hostKey{reference.Domain(named), insecure}
	if repo, ok := r.repositories[repositoryKey{named.Name(), at}]; ok {
		return repo, nil
	}
	h, err := r.hostLocked(at)
	if err != nil {
		return nil, err
	}
	login, err := credentials(r.sys, named)
	if err != nil {
		return nil, fmt.Errorf("read the credentials for %s: %w (mend that file, or remove it and log in anew with sealbuild login)", named.Name(), err)
	}
	repo := &repository{host: h, path: reference.Path(named), idle: r.idle, client: auth.Client{
		Client: &http.Client{Transport: h.transport}, ClientID: "sealbuild", Cache: tokens{auth.NewSingleContextCache()},
		Credential: func(context.Context, string) (auth.Credential, error) { return login, nil },
	}}
	if agent := r.sys.DockerRegistryUserAgent; agent != "" {
		repo.client.SetUserAgent(agent)
	}
	r.repositories[repositoryKey{named.Name(), at}] = repo
	return repo, nil
}

// host is who is spoken to under a name.
func (r *remotes) host(at hostKey) (*host, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hostLocked(at)
}

func (r *remotes) hostLocked(at hostKey) (*host, error) {
	if h, ok := r.hosts[at]; ok {
		return h, nil
	}
	h, err := newHost(r.sys, at.domain, at.insecure, r.connections)
	if err != nil {
		return nil, err
	}
	// The registry's wish to be left alone holds for all connections.
	if twin, ok := r.hosts[hostKey{at.domain, !at.insecure}]; ok {
		h.gate = twin.gate
	}
	r.hosts[at] = h
	return h, nil
}

// close gives up idle connections.
func (r *remotes) close() {
	for _, h := range r.hosts {
		h.transport.CloseIdleConnections()
	}
}

// credentials are what the auth file says for one repository.
func credentials(sys *types.SystemContext, named reference.Named) (auth.Credential, error) {
	c, err := config.GetCredentialsForRef(sys, named)
	login := auth.Credential{RefreshToken: c.IdentityToken}
	if c.Username != "" && c.Password != "" { // half of a login is none
		login.Username, login.Password = c.Username, c.Password
	}
	return login, err
}

// request asks the repository for what lies below its name. A refusal is a *StatusError or a *BusyError. The answer's body ends
// with errIdle when nothing comes for the idle time, and must be closed.
func (r *repository) request(ctx context.Context, method, below string, header http.Header) (*http.Response, error) {
	return r.watched(ctx, r.idle, func(ctx context.Context) (*http.Response, error) { return r.send(ctx, method, below, header) })
}

// watched sends a request when the host may be asked, and ends it when nothing comes.
func (h *host) watched(ctx context.Context, idle time.Duration, send func(context.Context) (*http.Response, error)) (*http.Response, error) {
	if err := h.open(); err != nil {
		return nil, err
	}
	ctx, watch := watchIdle(ctx, idle)
	resp, err := send(ctx)
	if err != nil {
		if busy := new(BusyError); errors.As(err, &busy) {
			h.pause(busy.Wait)
		}
		return nil, watch.end(err)
	}
	watch.alive()
	resp.Body = &watchedBody{resp.Body, watch}
	return resp, nil
}

// open refuses while the registry wants to be left alone.
func (h *host) open() error {
	if wait := h.closedFor(); wait > 0 {
		return &BusyError{Host: h.name, Wait: wait, known: true}
	}
	return nil
}

func (r *repository) send(ctx context.Context, method, below string, header http.Header) (*http.Response, error) {
	scheme, err := r.reach(ctx)
	if err != nil {
		return nil, err
	}
	ctx = auth.WithScopes(ctx, auth.ScopeRepository(r.path, auth.ActionPull))
	req, err := http.NewRequestWithContext(ctx, method, scheme+"://"+r.addr+"/v2/"+r.path+"/"+below, nil)
	if err != nil {
		return nil, err
	}
	maps.Copy(req.Header, header)
	resp, err := r.do(req)
	if err != nil {
		return nil, fmt.Errorf("ask %s: %w", r.host.name, tokenError(r.host.name, withoutQuery(err)))
	}
	expired := r.expired(resp)
	resp, err = r.accepted(resp)
	if refused, ok := errors.AsType[*StatusError](err); ok {
		refused.Expired = expired
	}
	r.served.CompareAndSwap(false, err == nil)
	return resp, err
}

// accepted turns every answer but what was asked for into an error.
func (h *host) accepted(resp *http.Response) (*http.Response, error) {
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent {
		return resp, nil
	}
	defer drain(resp.Body)
	if err := h.limited(resp); err != nil {
		return nil, err
	}
	return nil, statusError(h, resp)
}

// withoutQuery drops what may let others in: storage behind a registry is reached by addresses that are signed in their query.
// The error itself stays as it is: a login that failed is the same value for every request that waited for it.
func withoutQuery(err error) error {
	e, ok := errors.AsType[*url.Error](err)
	if !ok || !strings.Contains(e.URL, "?") {
		return err
	}
	bare, _, _ := strings.Cut(e.URL, "?")
	return &retold{err, strings.NewReplacer(strconv.Quote(e.URL), strconv.Quote(bare), e.URL, bare).Replace(err.Error())}
}

// retold is an error with another text.
type retold struct {
	error
	text string
}

func (e *retold) Error() string { return e.text }
func (e *retold) Unwrap() error { return e.error }

// errIdle ends a transfer that delivers nothing.
var errIdle = errors.New("the registry sent nothing")

// idleWatch cancels a request that delivers nothing.
type idleWatch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc
	timer  *time.Timer
	idle   time.Duration
}

func watchIdle(ctx context.Context, idle time.Duration) (context.Context, *idleWatch) {
	ctx, cancel := context.WithCancelCause(ctx)
	cause := fmt.Errorf("%w for %v", errIdle, idle)
	return ctx, &idleWatch{ctx, cancel, time.AfterFunc(idle, func() { cancel(cause) }), idle}
}

func (w *idleWatch) alive() { w.timer.Reset(w.idle) }

// end stops watching and returns what really ended the request.
func (w *idleWatch) end(err error) error {
	w.timer.Stop()
	cause := context.Cause(w.ctx)
	w.cancel(nil)
	if err != nil && errors.Is(cause, errIdle) {
		return cause
	}
	return err
}

type watchedBody struct {
	io.ReadCloser
	watch *idleWatch
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.watch.alive()
	}
	if err != nil && err != io.EOF && errors.Is(context.Cause(b.watch.ctx), errIdle) {
		err = context.Cause(b.watch.ctx)
	}
	return n, err
}

func (b *watchedBody) Close() error {
	_ = b.watch.end(nil)
	return b.ReadCloser.Close()
}
