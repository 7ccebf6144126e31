package storesync

import (
	"context"
	"io"
	"os"

	"golang.org/x/sync/errgroup"

	"github.com/sealbuild/sealbuild/registry/catalog"
	"github.com/sealbuild/sealbuild/registry/disk"
)

// Fill makes a store of this machine hold the catalog, like [Push] and [Receive]. Bytes go from the source into the store's
// files; there is no copy between.
func Fill(ctx context.Context, s *disk.Store, c catalog.Catalog, src catalog.Source, o PushOptions) (Receipt, error) {
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
		_, err := Receive(ctx, s, toStore, fromStore, ReceiveOptions{})
		return err
	})
	g.Go(func() (err error) {
		defer fromSender.Close()
		receipt, err = Push(ctx, fromSender, toSender, c, src, o)
		return err
	})
	return receipt, g.Wait()
}
