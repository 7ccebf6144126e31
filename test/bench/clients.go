package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
)

// pullAll lets every client pull everything, each from another place in the
// list on, as nodes that start at different times do.
func (s *server) pullAll(ctx context.Context, all []pull) (time.Duration, error) {
	start := time.Now()
	g, ctx := errgroup.WithContext(ctx)
	for i := range clients {
		g.Go(func() error {
			c := newClient()
			defer c.CloseIdleConnections()
			for j := range all {
				// The first client checks digests; in all of them that would
				// measure the hashing of this program.
				if err := s.fetch(ctx, c, all[(j+i*len(all)/clients)%len(all)], i == 0); err != nil {
					return fmt.Errorf("client %d: %w", i, err)
				}
			}
			return nil
		})
	}
	err := g.Wait()
	return time.Since(start), err
}

// fetch pulls one thing, and fails unless it is as long as it must be.
func (s *server) fetch(ctx context.Context, c *http.Client, p pull, check bool) error {
	resp, err := s.get(ctx, c, p)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	verifier := p.digest.Verifier()
	var to io.Writer = io.Discard
	if check {
		to = verifier
	}
	n, err := io.Copy(to, resp.Body)
	switch {
	case err != nil:
		return fmt.Errorf("GET %s: %w", p.path, err)
	case n != p.size:
		return fmt.Errorf("GET %s: %d bytes instead of %d", p.path, n, p.size)
	case check && !verifier.Verified():
		return fmt.Errorf("GET %s: other bytes than its digest says", p.path)
	}
	return nil
}
