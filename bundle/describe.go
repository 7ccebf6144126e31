package bundle

import (
	"cmp"
	"slices"

	"github.com/opencontainers/go-digest"
	"golang.org/x/crypto/ssh"
)

// Description is what a bundle says of itself. The JSON names are a promise.
type Description struct {
	FormatVersion int            `json:"formatVersion"`
	PayloadOffset int64          `json:"payloadOffset"` // bytes before the payload
	Size          int64          `json:"size"`          // bytes of all files
	IndexDigest   digest.Digest  `json:"indexDigest"`   // covers every byte
	Index         Range          `json:"index"`         // the bytes that a signature signs
	Signature     *SignatureInfo `json:"signature,omitempty"`
	Platforms     []string       `json:"platforms,omitempty"` // that there is an installer for
	PartSize      int64          `json:"partSize,omitempty"`
	TrustKeys     []string       `json:"trustKeys,omitempty"`
	Documents     []string       `json:"documents,omitempty"`
	Blobs         BlobTotals     `json:"blobs"`
	Expected      *ExpectedTotal `json:"expected,omitempty"`
	Usage         []Usage        `json:"usage,omitempty"` // the largest first
}

// SignatureInfo says where the signature lies and which key made it. Whether the key is trusted is not in the file.
type SignatureInfo struct {
	Range
	Namespace   string `json:"namespace"`
	KeyType     string `json:"keyType,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
	Error       string `json:"error,omitempty"` // it is not one of this bundle
}

// BlobTotals say where the bytes go. Each blob counts once.
type BlobTotals struct {
	Count           int   `json:"count"`
	Size            int64 `json:"size"`                      // as registries know them
	StoredSize      int64 `json:"storedSize"`                // in the file
	AsIs            int   `json:"asIs"`                      // blobs kept as they are, compressed before
	AsIsSize        int64 `json:"asIsSize"`                  // their bytes
	CompressedCount int   `json:"compressedCount,omitempty"` // the others
	CompressedSize  int64 `json:"compressedSize,omitempty"`  // their bytes in the file
	SharedSize      int64 `json:"sharedSize"`                // bytes in the file that several images have in common
}

// ExpectedTotal is what the site is to have already.
type ExpectedTotal struct {
	Count int   `json:"count"`
	Size  int64 `json:"size"`
}

// Usage is how many bytes of the file an image takes.
type Usage struct {
	Name   string `json:"name"`
	Stored int64  `json:"stored"` // of all blobs it reaches
	Own    int64  `json:"own"`    // of those that no other image reaches
}

// Describe reads the manifests of all images, and the signature.
func (r *Reader) Describe() (Description, error) {
	d := Description{
		FormatVersion: r.FormatVersion(), PayloadOffset: r.PayloadOffset(), Size: r.Size(), IndexDigest: r.IndexDigest(),
		Index: r.IndexRange(), Platforms: r.Platforms(), PartSize: r.index.PartSize, TrustKeys: r.TrustKeys(), Documents: r.Documents(),
	}
	if at, ok := r.SignatureRange(); ok {
		d.Signature = &SignatureInfo{Range: at, Namespace: SignatureNamespace}
		if key, err := r.SignedBy(); err != nil {
			d.Signature.Error = err.Error()
		} else {
			d.Signature.KeyType, d.Signature.Fingerprint = key.Type(), ssh.FingerprintSHA256(key)
		}
	}
	for _, b := range r.Blobs() {
		d.Blobs.add(b)
	}
	for _, e := range r.Expected() {
		if d.Expected == nil {
			d.Expected = &ExpectedTotal{}
		}
		d.Expected.Count++
		d.Expected.Size += e.Size
	}
	err := d.usage(r)
	return d, err
}

func (t *BlobTotals) add(b BlobInfo) {
	t.Count++
	t.Size += b.Size
	t.StoredSize += b.StoredSize
	if b.Stored {
		t.AsIs++
		t.AsIsSize += b.Size
	} else {
		t.CompressedCount++
		t.CompressedSize += b.StoredSize
	}
}

func (d *Description) usage(r *Reader) error {
	users := map[digest.Digest]int{}
	var reached [][]Expected
	for _, i := range r.Images() {
		blobs, err := r.Reach(i)
		if err != nil {
			return err
		}
		for _, b := range blobs {
			users[b.Digest]++
		}
		reached = append(reached, blobs)
	}
	for n, i := range r.Images() {
		u := Usage{Name: i.Name}
		for _, b := range reached[n] {
			info, _ := r.Stat(b.Digest)
			u.Stored += info.StoredSize
			if users[b.Digest] == 1 {
				u.Own += info.StoredSize
			}
		}
		d.Usage = append(d.Usage, u)
	}
	for b, n := range users {
		if info, ok := r.Stat(b); ok && n > 1 {
			d.Blobs.SharedSize += info.StoredSize
		}
	}
	slices.SortStableFunc(d.Usage, func(a, b Usage) int { return cmp.Compare(b.Stored, a.Stored) })
	return nil
}
