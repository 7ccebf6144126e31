package pull

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"time"

	"github.com/containers/common/pkg/retry"
	image5 "github.com/containers/image/v5/image"
	"github.com/containers/image/v5/pkg/blobinfocache/none"
	"github.com/containers/image/v5/signature"
	"github.com/containers/image/v5/types"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// errIdle ends a transfer that delivers nothing.
var errIdle = errors.New("the registry sent nothing")

// open asks the registry, or a configured mirror of it, for the manifest of a
// reference. The machine's signature policy decides whether it is taken.
func (g *gatherer) open(ctx context.Context, w Wanted, ref types.ImageReference) (types.ImageSource, []byte, string, error) {
	attempts := g.options.Attempts
	if w.Suspected {
		attempts = min(attempts, 2) // what is probably no image is not worth a long wait
	}
	var source types.ImageSource
	var raw []byte
	var mediaType string
	err := g.retry(ctx, w.Ref, attempts, func(ctx context.Context) error {
		s, err := ref.NewImageSource(ctx, g.options.System)
		if err != nil {
			return err
		}
		if err = g.allowed(ctx, s); err == nil {
			raw, mediaType, err = s.GetManifest(ctx, nil)
		}
		if err != nil {
			_ = s.Close()
			return err
		}
		source = s
		return nil
	})
	return source, raw, mediaType, err
}

// allowed applies the machine's policy.json, where it has one.
func (g *gatherer) allowed(ctx context.Context, s types.ImageSource) error {
	policy, err := signature.DefaultPolicy(g.options.System)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read signature policy: %w", err)
	}
	pc, err := signature.NewPolicyContext(policy)
	if err != nil {
		return fmt.Errorf("read signature policy: %w", err)
	}
	defer func() { _ = pc.Destroy() }()
	if ok, err := pc.IsRunningImageAllowed(ctx, image5.UnparsedInstance(s, nil)); !ok {
		return fmt.Errorf("refused by the signature policy: %w", err)
	}
	return nil
}

// fetch downloads one blob into the store.
func (g *gatherer) fetch(ctx context.Context, source types.ImageSource, d v1.Descriptor) error {
	what := "blob " + d.Digest.String()
	return g.retry(ctx, what, g.options.Attempts, func(ctx context.Context) error {
		body, size, err := source.GetBlob(ctx, types.BlobInfo{Digest: d.Digest, Size: d.Size, URLs: d.URLs}, none.NoCache)
		if err != nil {
			return err
		}
		defer func() { _ = body.Close() }()
		if size >= 0 && size != d.Size {
			return &store.SizeError{Want: d.Size, Got: size}
		}
		counted := &counter{r: body, advance: g.options.Progress.Advance, alive: aliveFrom(ctx)}
		if err := g.store.Put(ctx, d.Digest, d.Size, counted); err != nil {
			g.options.Progress.Advance(-counted.n)
			return err
		}
		return nil
	})
}

// retry runs fn until it succeeds, fails for good, or has had its attempts. Each
// attempt ends when nothing arrives for the idle time.
func (g *gatherer) retry(ctx context.Context, what string, attempts int, fn func(context.Context) error) error {
	wait := g.options.Backoff
	for n := 1; ; n++ {
		err := g.attempt(ctx, fn)
		if err == nil || ctx.Err() != nil || n >= attempts || !transient(err) {
			return err
		}
		g.options.Progress.Retry(what, err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
		wait *= 2
	}
}

type aliveKey struct{}

// aliveFrom is the function that restarts an attempt's idle time.
func aliveFrom(ctx context.Context) func() {
	return ctx.Value(aliveKey{}).(func())
}

func (g *gatherer) attempt(ctx context.Context, fn func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	idle := fmt.Errorf("%w for %v", errIdle, g.options.Idle)
	timer := time.AfterFunc(g.options.Idle, func() { cancel(idle) })
	defer timer.Stop()
	err := fn(context.WithValue(ctx, aliveKey{}, func() { timer.Reset(g.options.Idle) }))
	if err != nil && errors.Is(context.Cause(ctx), errIdle) {
		return idle
	}
	return err
}

// transient tells whether trying again may help.
func transient(err error) bool {
	var wrong *store.DigestError
	var size *store.SizeError
	return errors.Is(err, errIdle) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.As(err, &wrong) || errors.As(err, &size) || retry.IsErrorRetryable(err)
}

// counter reports what passes through it.
type counter struct {
	r       io.Reader
	n       int64
	advance func(int64)
	alive   func()
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	if n > 0 {
		c.n += int64(n)
		c.advance(int64(n))
		c.alive()
	}
	return n, err
}
