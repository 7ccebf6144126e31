package write

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/opencontainers/go-digest"
	v1 "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sealbuild/sealbuild/bundle"
	"github.com/sealbuild/sealbuild/bundle/assemble/report"
	"github.com/sealbuild/sealbuild/bundle/assemble/sbom"
	"github.com/sealbuild/sealbuild/bundle/assemble/store"
)

// Documents makes the lock and the bills of materials. Container images get theirs as referrers, too.
func Documents(
	ctx context.Context, tell report.Reporter, st *store.Store, epoch time.Time,
	records []store.Record, stubs []Installer, images []bundle.Image, when sbom.When,
) ([]Document, error) {
	lock := makeLock(records, images)
	text, err := json.MarshalIndent(lock, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the lock: %w", err)
	}
	bill, err := makeBill(ctx, tell, st, epoch, lock, stubs, when)
	if err != nil {
		return nil, fmt.Errorf("list what is in the images: %w", err)
	}
	for n := range images {
		bill.Images[n].Size = images[n].ManifestSize
		if images[n].Kind != bundle.KindImage {
			continue // no registry of a site serves it
		}
		if images[n].Referrers, err = bill.Attach(st, images[n].Name); err != nil {
			return nil, fmt.Errorf("attach the bill of materials of %s: %w", images[n].Name, err)
		}
	}
	cyclonedx, spdx, short, err := bill.Within(bundle.MaxDocument)
	if err != nil {
		return nil, fmt.Errorf("write the bill of materials: %w", err)
	}
	if short {
		tell.Note("the packages inside the images are too many for the bundle's bill of materials; those of container images have their own")
	}
	return []Document{{LockName, append(text, '\n')}, {SBOMName, cyclonedx}, {SPDXName, spdx}}, nil
}

// makeBill says what the bundle is made of, the packages in its images included.
func makeBill(
	ctx context.Context, tell report.Reporter, st *store.Store, epoch time.Time, lock Lock, stubs []Installer, when sbom.When,
) (sbom.Bill, error) {
	bill := sbom.Bill{Name: "bundle", Made: epoch}
	for _, i := range lock.Images {
		if i.Kind == bundle.KindCluster {
			bill.Name = i.Name // of the last
		}
		one := sbom.Image{Name: i.Name, Digest: i.Digest, MediaType: i.MediaType, Platforms: i.Platforms, Kind: string(i.Kind), Type: i.Type}
		one.Parts = sbom.Parts(st, v1.Descriptor{Digest: i.Digest, MediaType: i.MediaType}, i.Platforms)
		if len(one.Parts) > 0 {
			one.Labels = sbom.Labels(st, one.Parts[0].Digest)
		}
		for _, base := range i.Bases {
			one.Bases = append(one.Bases, sbom.Base{Name: base.Name, Digest: digest.Digest(base.Digest)})
		}
		if len(i.Bases) == 0 {
			one.Bases = sbom.LabelledBase(one.Labels)
		}
		for _, s := range i.Sources {
			one.NeededBy = append(one.NeededBy, s.Image)
		}
		bill.Images = append(bill.Images, one)
	}
	for _, s := range stubs {
		bill.Installers = append(bill.Installers, sbom.Installer{Platform: s.platform, Digest: s.digest})
	}
	searcher, err := newSearcher(ctx, tell, st, when)
	if err != nil || searcher == nil {
		return bill, err
	}
	tell.Phase("list the packages in the images", 0)
	return bill, bill.Search(ctx, searcher, func(image string, err error) error {
		if when == sbom.Always {
			return fmt.Errorf("image %s: %w", image, err)
		}
		tell.Note(fmt.Sprintf("the bill of materials does not list the packages in %s: %v", image, err))
		return nil
	})
}

// newSearcher returns nil where packages are not searched for.
func newSearcher(ctx context.Context, tell report.Reporter, st *store.Store, when sbom.When) (*sbom.Searcher, error) {
	if when == sbom.Never {
		return nil, nil
	}
	path, err := sbom.Find()
	if missing := new(sbom.MissingError); when != sbom.Always && errors.As(err, &missing) {
		tell.Note("the bill of materials does not list the packages inside the images: " + missing.Error())
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return sbom.NewSearcher(ctx, path, filepath.Join(st.Root(), "cache"), layouts{st})
}

// layouts are the images of the store for whoever searches them.
type layouts struct{ *store.Store }

func (l layouts) Layout(image v1.Descriptor) (string, func() error, error) {
	dir, err := l.TempDir("packages")
	if err != nil {
		return "", nil, err
	}
	remove := func() error { return os.RemoveAll(dir) }
	if err := l.ExportLayout(dir, image, v1.Platform{}); err != nil {
		return "", nil, errors.Join(err, remove())
	}
	return dir, remove, nil
}
