package apis

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
)

// maxRelease bounds what a release of Helm may be, unpacked, in bytes. It is stored in a Secret of at most 1 MiB.
const maxRelease = 32 << 20

// release is what is read of a release of Helm. Its chart and values are passed over.
type release struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	Version   int    `json:"version"`
	Manifest  string `json:"manifest"`
	Info      struct {
		Status string `json:"status"`
	} `json:"info"`
}

// decodeRelease reads a release as Helm stores it: JSON, packed by gzip, in base64.
func decodeRelease(stored []byte) (release, error) {
	packed := make([]byte, base64.StdEncoding.DecodedLen(len(stored)))
	n, err := base64.StdEncoding.Decode(packed, bytes.TrimSpace(stored))
	if err != nil {
		return release{}, err
	}
	var r io.Reader = bytes.NewReader(packed[:n])
	if bytes.HasPrefix(packed[:n], []byte{0x1f, 0x8b}) { // the first releases of Helm 3 were not packed
		if r, err = gzip.NewReader(r); err != nil {
			return release{}, err
		}
	}
	limited := &io.LimitedReader{R: r, N: maxRelease}
	var out release
	if err := json.NewDecoder(limited).Decode(&out); err != nil {
		if limited.N <= 0 {
			return release{}, fmt.Errorf("it is larger than %d MiB", maxRelease>>20)
		}
		return release{}, fmt.Errorf("it is no release: %T", err) // the text of the error may hold a part of it
	}
	return out, nil
}
