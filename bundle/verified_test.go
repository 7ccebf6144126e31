package bundle

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestVerifiedBlobsGiveTheSameBytes(t *testing.T) {
	for _, size := range []int{0, 1, blockSize, chunkBlocks*blockSize + 1, unitSize, unitSize + 1, 2 * unitSize, 3*unitSize + 5} {
		data := prose(uint64(size), size)
		write := func(verified bool) ([]byte, Summary) {
			var file bytes.Buffer
			w, err := NewWriter(&file, WriterOptions{})
			if err != nil {
				t.Fatal(err)
			}
			if verified {
				u := NewUnitHash()
				for rest := data; len(rest) > 0; { // in pieces that fit no boundary
					k := min(len(rest), 100_003)
					_, _ = u.Write(rest[:k])
					rest = rest[k:]
				}
				states, err := u.States()
				if err != nil {
					t.Fatal(err)
				}
				err = w.AddVerified(t.Context(), u.Digest(), int64(size), states, bytes.NewReader(data))
				if err != nil {
					t.Fatal(err)
				}
			} else if err := w.AddBlob(t.Context(), sum(data), int64(size), false, bytes.NewReader(data)); err != nil {
				t.Fatal(err)
			}
			s, err := w.Close()
			if err != nil {
				t.Fatal(err)
			}
			return file.Bytes(), s
		}
		want, _ := write(false)
		got, _ := write(true)
		if !bytes.Equal(want, got) {
			t.Errorf("%d bytes: the bundles differ", size)
		}
	}
}

func TestAWrongWordIsFoundByVerify(t *testing.T) {
	data := prose(1, 2*unitSize)
	u := NewUnitHash()
	_, _ = u.Write(data)
	states, err := u.States()
	if err != nil {
		t.Fatal(err)
	}
	var file bytes.Buffer
	w, err := NewWriter(&file, WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	other := bytes.Clone(data)
	other[unitSize+9] ^= 1
	if err := w.AddVerified(t.Context(), u.Digest(), int64(len(data)), states, bytes.NewReader(other)); err != nil {
		t.Fatal(err)
	}
	s, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(bytes.NewReader(file.Bytes()), s.Size)
	if err != nil {
		t.Fatal(err)
	}
	damage, err := r.Verify(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(1, len(damage)); diff != "" {
		t.Errorf("damaged ranges (-want +got):\n%s\n%v", diff, damage)
	}
}

func TestVerifiedBlobOfAnotherShapeIsRefused(t *testing.T) {
	w, err := NewWriter(io.Discard, WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	data := prose(1, 10)
	if err := w.AddVerified(t.Context(), sum(data), 10, make([]HashState, 1), bytes.NewReader(data)); err == nil {
		t.Error("a state too many was taken")
	}
	if err := w.AddVerified(t.Context(), sum(data), 10, nil, bytes.NewReader(data[:9])); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("too short: error is %v", err)
	}
}

// smallDisk takes n bytes and no more.
type smallDisk struct{ n int }

var errSmallDisk = errors.New("the disk is full")

func (d *smallDisk) Write(p []byte) (int, error) {
	if d.n -= len(p); d.n < 0 {
		return 0, errSmallDisk
	}
	return len(p), nil
}

func TestVerifiedBlobOnAFullDisk(t *testing.T) {
	data := prose(1, 3*unitSize)
	u := NewUnitHash()
	_, _ = u.Write(data)
	states, err := u.States()
	if err != nil {
		t.Fatal(err)
	}
	w, err := NewWriter(&smallDisk{unitSize}, WriterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.AddVerified(t.Context(), u.Digest(), int64(len(data)), states, bytes.NewReader(data)); !errors.Is(err, errSmallDisk) {
		t.Errorf("error is %v, want that of the disk", err)
	}
}
