package registry

import (
	"context"
	"io"
	"os"

	"golang.org/x/sync/errgroup"
)

// Fill makes the store hold the catalog, like [Push] and [Store.Receive] on one machine. Bytes go from the source into the store's
// files; there is no copy between.
func (s *Store) Fill(ctx context.Context, c Catalog, src Source, o PushOptions) (Receipt, error) {
	toStore, fromSender, err := os.Pipe()
	if err != nil {
		return Receipt{}, err
	}
	toSender, fromStore := io.Pipe()
	var receipt Receipt
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error {
		defer fromStore.CloseWithError(io.ErrUnexpectedEOF)
		defer toStore.Close()
		_, err := s.Receive(ctx, toStore, fromStore)
		return err
	})
	g.Go(func() (err error) {
		defer fromSender.Close()
		receipt, err = Push(ctx, fromSender, toSender, c, src, o)
		return err
	})
	return receipt, g.Wait()
}
